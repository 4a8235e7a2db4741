//! Archives without a trace of who made them, when and in which order.

use std::io::Write as _;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::blob::{Blob, sha256};
use super::root::{Entry, Root};

/// A layer of an image.
#[derive(Debug)]
pub struct Layer {
    /// Compressed.
    pub blob: Blob,
    /// Digest of what it is uncompressed.
    pub diff_id: String,
}

/// Packs a root file system; all times in it are `time`, in seconds since 1970.
pub fn pack(root: &Root, time: u64, compression: Compression) -> Result<Layer> {
    let archive = archive(root, time)?;
    let diff_id = format!("sha256:{}", sha256(&archive));
    // Neither the time nor the name of a file is in the header, and the operating system is "unknown".
    let mut gzip = GzBuilder::new()
        .operating_system(255)
        .write(Vec::new(), compression);
    gzip.write_all(&archive)?;
    Ok(Layer {
        blob: Blob::new(gzip.finish()?),
        diff_id,
    })
}

/// Archives in order of the paths; everything is root's.
pub fn archive(root: &Root, time: u64) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for (path, entry) in root.entries() {
        let mut header = Header::new_ustar();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(time);
        header.set_size(0);
        match entry {
            Entry::Directory => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                builder.append_data(&mut header, format!("{path}/"), &[][..])?;
            }
            Entry::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                builder.append_link(&mut header, path, target)?;
            }
            Entry::File(bytes, mode) => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, &bytes[..])?;
            }
        }
    }
    Ok(builder.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn root(order: &[&str]) -> Root {
        let mut root = Root::default();
        for path in order {
            root.insert(path, Entry::File(path.as_bytes().to_vec(), 0o644));
        }
        root.insert("usr/bin/c", Entry::Link("a".to_owned()));
        root
    }

    #[test]
    fn the_order_of_coming_does_not_matter() {
        let one = pack(&root(&["usr/bin/a", "etc/b"]), 7, Compression::fast()).unwrap();
        let other = pack(&root(&["etc/b", "usr/bin/a"]), 7, Compression::fast()).unwrap();
        assert_eq!(one.blob.bytes, other.blob.bytes);
        assert_ne!(
            one.diff_id,
            pack(&root(&["etc/b"]), 7, Compression::fast()).unwrap().diff_id
        );
    }

    #[test]
    fn everything_is_roots_and_of_one_time() {
        let layer = pack(&root(&["usr/bin/a"]), 7, Compression::fast()).unwrap();
        let mut plain = Vec::new();
        let mut gzip = flate2::read::GzDecoder::new(&layer.blob.bytes[..]);
        gzip.read_to_end(&mut plain).unwrap();
        assert_eq!(layer.diff_id, format!("sha256:{}", sha256(&plain)));
        assert_eq!(gzip.header().unwrap().mtime(), 0);
        let mut archive = tar::Archive::new(&plain[..]);
        let mut paths = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, 7)
            );
            paths.push(entry.path().unwrap().display().to_string());
        }
        assert_eq!(paths, ["usr/", "usr/bin/", "usr/bin/a", "usr/bin/c"]);
    }
}
