//! A compressed archive of parts. One that could not be had is a file that says why.

use std::io::{self, Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::Timestamp;
use tar::{Builder, Header};

/// What a part's name gets where the part could not be had.
const FAILED: &str = "error.txt";

/// An archive that is being written.
pub struct Archive<W: Write> {
    tar: Builder<GzEncoder<W>>,
    dir: String,
}

impl<W: Write> Archive<W> {
    /// Everything goes below a directory.
    pub fn new(out: W, dir: &str) -> Self {
        Self {
            tar: Builder::new(GzEncoder::new(out, Compression::default())),
            dir: dir.to_owned(),
        }
    }

    /// Writes a part, or why there is none.
    ///
    /// # Errors
    /// Where nothing more can be written.
    pub fn add(&mut self, name: &str, part: Result<impl AsRef<[u8]>, String>) -> io::Result<()> {
        match part {
            Ok(bytes) => {
                eprintln!("meshctl: {name}");
                self.write(name, bytes.as_ref())
            }
            Err(why) => {
                eprintln!("meshctl: {name}: {why}");
                self.write(&format!("{name}.{FAILED}"), format!("{why}\n").as_bytes())
            }
        }
    }

    /// Takes in what another archive holds, all of it below a directory.
    ///
    /// # Errors
    /// Where nothing more can be written. What can't be read of the other is said in a part.
    pub fn take_in(&mut self, dir: &str, other: &[u8]) -> io::Result<()> {
        let mut other = tar::Archive::new(GzDecoder::new(other));
        let mut parts = match other.entries() {
            Ok(parts) => parts,
            Err(error) => return self.add(dir, Err::<&[u8], _>(error.to_string())),
        };
        let mut read = || -> io::Result<Option<(String, Vec<u8>)>> {
            let Some(mut part) = parts.next().transpose()? else {
                return Ok(None);
            };
            let name = part.path()?.display().to_string();
            let mut bytes = Vec::new();
            part.read_to_end(&mut bytes)?;
            Ok(Some((name, bytes)))
        };
        loop {
            match read() {
                Ok(None) => return Ok(()),
                Ok(Some((name, bytes))) => {
                    let below = name.split_once('/').map_or(&*name, |(_, below)| below);
                    self.write(&format!("{dir}/{below}"), &bytes)?;
                }
                Err(error) => {
                    let why = format!("what came of it is not whole: {error}");
                    return self.add(&format!("{dir}/sysdump"), Err::<&[u8], _>(why));
                }
            }
        }
    }

    /// Ends it; gives back where it went.
    ///
    /// # Errors
    /// Where the end can't be written.
    pub fn finish(self) -> io::Result<W> {
        self.tar.into_inner()?.finish()
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(Timestamp::now().as_second()).unwrap_or_default());
        self.tar
            .append_data(&mut header, format!("{}/{name}", self.dir), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(archive: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(GzDecoder::new(archive));
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn parts_and_reasons_are_taken_in_below_another_directory() {
        let mut inner = Archive::new(Vec::new(), "n1");
        inner.add("status.txt", Ok("well")).unwrap();
        inner
            .add("maps/PODS.json", Err::<&str, _>("no such file".into()))
            .unwrap();
        let inner = inner.finish().unwrap();
        assert_eq!(names(&inner), ["n1/status.txt", "n1/maps/PODS.json.error.txt"]);
        let mut outer = Archive::new(Vec::new(), "mesh-sysdump");
        outer.take_in("node-1", &inner).unwrap();
        outer.take_in("node-2", &inner[..inner.len() / 2]).unwrap();
        let names = names(&outer.finish().unwrap());
        assert_eq!(
            names[..2],
            [
                "mesh-sysdump/node-1/status.txt",
                "mesh-sysdump/node-1/maps/PODS.json.error.txt"
            ]
        );
        assert_eq!(names.last().unwrap(), "mesh-sysdump/node-2/sysdump.error.txt");
    }
}
