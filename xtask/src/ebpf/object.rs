//! The finished kernel object, at a path that others may rely on.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// `EM_BPF` of the ELF header.
const MACHINE_BPF: u16 = 247;

/// Puts the object where it is embedded from: at once, and only when it changed, so that nothing is rebuilt
/// for nothing.
pub fn publish(built: &Path, published: &Path) -> Result<()> {
    let object = fs::read(built).with_context(|| built.display().to_string())?;
    if !is_kernel_object(&object) {
        bail!("{} is not a kernel object", built.display());
    }
    if fs::read(published).is_ok_and(|present| present == object) {
        eprintln!("kernel object: {} (unchanged)", published.display());
        return Ok(());
    }
    let directory = published
        .parent()
        .context("the published object has no directory")?;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    write(&object, directory, published).with_context(|| published.display().to_string())?;
    eprintln!(
        "kernel object: {} ({} KiB)",
        published.display(),
        object.len().div_ceil(1024)
    );
    Ok(())
}

fn write(object: &[u8], directory: &Path, published: &Path) -> Result<()> {
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(object)?;
    file.persist(published)?;
    Ok(())
}

/// A little-endian 64-bit ELF file for BPF, with the type information that maps and hooks need.
fn is_kernel_object(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF\x02\x01")
        && bytes.get(18..20) == Some(&MACHINE_BPF.to_le_bytes())
        && bytes.windows(5).any(|name| name == b".BTF\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Vec<u8> {
        let mut object = vec![0; 64];
        object[..6].copy_from_slice(b"\x7fELF\x02\x01");
        object[18..20].copy_from_slice(&MACHINE_BPF.to_le_bytes());
        object.extend_from_slice(b"\0.BTF\0");
        object
    }

    #[test]
    fn an_object_is_published_once() {
        let dir = tempfile::tempdir().unwrap();
        let (built, published) = (dir.path().join("mesh-ebpf"), dir.path().join("bpf/mesh-ebpf.o"));
        fs::write(&built, object()).unwrap();
        publish(&built, &published).unwrap();
        let first = fs::metadata(&published).unwrap().modified().unwrap();
        publish(&built, &published).unwrap();
        assert_eq!(fs::read(&published).unwrap(), object());
        assert_eq!(fs::metadata(&published).unwrap().modified().unwrap(), first);
    }

    #[test]
    fn anything_else_is_refused() {
        let mut foreign = object();
        foreign[18] = 62;
        assert!(!is_kernel_object(&foreign));
        assert!(!is_kernel_object(&object()[..64]));
        assert!(!is_kernel_object(b""));
    }
}
