//! Where the programs under test are.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// A program of the mesh.
#[derive(Clone, Copy, Debug)]
pub enum Binary {
    /// The node agent.
    Agent,
    /// The inspector.
    Meshctl,
}

impl Binary {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Agent => ("mesh-agent", "MESH_AGENT_BIN"),
            Self::Meshctl => ("meshctl", "MESHCTL_BIN"),
        }
    }
}

/// Where `meshctl` is.
pub fn meshctl() -> Result<PathBuf> {
    find(Binary::Meshctl)
}

/// The file that the environment names, else the one built beside the test, in its profile or the other.
pub fn find(binary: Binary) -> Result<PathBuf> {
    let (name, variable) = binary.names();
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        if path.is_file() {
            return Ok(path);
        }
        bail!("{variable} names {}, which is no file", path.display());
    }
    // target/<profile>/deps/<test>
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).unwrap_or(&test);
    let profiles = [
        profile.to_owned(),
        profile.with_file_name("release"),
        profile.with_file_name("debug"),
    ];
    match profiles
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
    {
        Some(path) => Ok(path),
        None => bail!(
            "no {name} beside {}: run `cargo xtask build` or set {variable}",
            test.display()
        ),
    }
}
