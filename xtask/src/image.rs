//! `cargo xtask image`: a container image of the agent and meshctl, from nothing but their files.
//!
//! The archive is an OCI image layout that also has what `docker save` writes, so `ctr images import`, `docker load`
//! and `podman load` all take it. The same binaries at the same commit give the same archive, byte for byte.

mod about;
mod blob;
mod layer;
mod layout;
mod library;
mod package;
mod root;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use flate2::Compression;

use crate::build;
use crate::setup::{self, Group};
use crate::workspace::Workspace;
use about::About;
use root::{Entry, Root};

/// Where the list of what is inside is, inside.
const SBOM: &str = "usr/share/doc/mesh-agent/sbom.spdx.json";
/// The certificate authorities of the web; a kubeconfig may count on them.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What `image` is asked to do.
#[derive(clap::Args)]
pub struct Args {
    /// Where the archive goes, and beside it the list of what is inside [default: target/image/mesh-agent-VERSION.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Name and tag of the image [default: localhost/mesh-agent:VERSION]
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,

    /// Of binaries that are not optimised
    #[arg(long)]
    debug: bool,

    /// Of the binaries that were built before
    #[arg(long)]
    no_build: bool,

    /// Lay the root file system out in this new directory instead of archiving it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "tag"])]
    root: Option<PathBuf>,
}

/// Builds, collects and writes.
pub fn run(args: &Args, workspace: &Workspace) -> Result<ExitCode> {
    let profile = if args.debug { "debug" } else { "release" };
    if !args.no_build {
        setup::ensure(&[Group::Toolchain], workspace)?;
        build::build(!args.debug, workspace)?;
    }
    let about = About::look(workspace)?;
    let tag = args.tag.clone().unwrap_or_else(|| about.default_tag());
    ensure!(
        is_tagged(&tag),
        "{tag:?} is not NAME:TAG: as latest, it is another image tomorrow"
    );
    let (root, sbom) = collect(&workspace.target().join(profile), &about)?;
    if let Some(directory) = &args.root {
        root.lay_out(directory)?;
        println!("{}", directory.display());
        return Ok(ExitCode::SUCCESS);
    }
    let output = match &args.output {
        Some(output) => output.clone(),
        None => workspace
            .target()
            .join(format!("image/mesh-agent-{}.tar", about.version)),
    };
    // Nobody ships those that are not optimised, and they are large.
    let compression = if args.debug {
        Compression::fast()
    } else {
        Compression::default()
    };
    let layer = layer::pack(&root, about.created, compression)?;
    let (archive, digest) = layout::archive(&layer, &tag, &about)?;
    write(&output, &archive)?;
    write(&output.with_extension("spdx.json"), &sbom)?;
    println!("{} ({} bytes)", output.display(), archive.len());
    println!("{tag} {digest}");
    Ok(ExitCode::SUCCESS)
}

/// All files of the image, and the list of what they are made of.
fn collect(binaries: &Path, about: &About) -> Result<(Root, Vec<u8>)> {
    let mut root = Root::default();
    let mut sources = vec![PathBuf::from(AUTHORITIES)];
    for name in ["mesh-agent", "meshctl"] {
        let binary = binaries.join(name);
        root.copy(&binary, &format!("usr/bin/{name}"), 0o755)?;
        sources.extend(library::of(&binary)?);
    }
    root.insert("usr/bin/kubectl-mesh", Entry::Link("meshctl".to_owned()));
    sources.sort();
    sources.dedup();
    for source in &sources {
        let inside = source
            .strip_prefix("/")?
            .to_str()
            .context("a path that is not UTF-8")?;
        let mode = if source == Path::new(AUTHORITIES) {
            0o644
        } else {
            0o755
        };
        root.copy(source, inside, mode)?;
    }
    let sbom = sbom::write(about, &sources)?;
    root.insert(SBOM, Entry::File(sbom.clone(), 0o644));
    Ok((root, sbom))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, bytes))
        .with_context(|| path.display().to_string())
}

/// `NAME:TAG`, where a colon before the last slash belongs to the registry's port.
fn is_tagged(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split_once(':')
        .is_some_and(|(name, tag)| !name.is_empty() && !tag.is_empty() && tag != "latest")
}

#[cfg(test)]
mod tests {
    use super::is_tagged;

    #[test]
    fn a_name_has_a_tag_that_stays() {
        assert!(is_tagged("localhost/mesh-agent:0.1.0") && is_tagged("r.example:5000/a/b:1"));
        for name in ["mesh-agent", "r.example:5000/mesh-agent", "a:latest", "a:", ":1"] {
            assert!(!is_tagged(name), "{name}");
        }
    }
}
