//! What the agent leaves in its runtime directory for `meshctl`, with or without an agent.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use serde::{Serialize, de::DeserializeOwned};

/// Writes a note; a reader sees the old one or the new one.
///
/// # Errors
/// Where the directory can't be written.
pub fn store(run_dir: &Path, name: &str, note: &impl Serialize) -> io::Result<()> {
    let fresh = run_dir.join(format!("{name}.new"));
    let mut file = BufWriter::new(File::create(&fresh)?);
    serde_json::to_writer(&mut file, note)?;
    file.flush()?;
    fs::rename(&fresh, run_dir.join(name))
}

/// Reads a note; `None` where there is none.
///
/// # Errors
/// Where the file is there and can't be read or understood.
pub fn load<T: DeserializeOwned>(run_dir: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(run_dir.join(name)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
