//! What machine a program is for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The part of `Elf64_Ehdr` up to the machine.
const LEN: usize = 20;

/// An error unless the file is a program for 64-bit little-endian Arm.
pub fn require_arm64(file: &Path) -> Result<()> {
    let mut header = [0; LEN];
    File::open(file)
        .and_then(|mut file| file.read_exact(&mut header))
        .context("cannot read it")?;
    ensure!(is_arm64(&header), "not a program for arm64: {header:02x?}");
    Ok(())
}

/// `ELFCLASS64`, `ELFDATA2LSB` and `EM_AARCH64` of the ELF specification.
fn is_arm64(header: &[u8; LEN]) -> bool {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    const AARCH64: u16 = 183;
    header.starts_with(b"\x7fELF")
        && [header[4], header[5]] == [CLASS_64, LITTLE_ENDIAN]
        && u16::from_le_bytes([header[18], header[19]]) == AARCH64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_stands_in_the_header() {
        let mut header = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0";
        assert!(is_arm64(&header));
        header[18] = 62;
        assert!(!is_arm64(&header), "x86-64");
        header[18] = 183;
        header[4] = 1;
        assert!(!is_arm64(&header), "32 bits");
        assert!(!is_arm64(&[0; LEN]));
    }

    #[test]
    fn this_very_program_is_for_this_machine() {
        let this = std::env::current_exe().unwrap();
        assert_eq!(require_arm64(&this).is_ok(), cfg!(target_arch = "aarch64"));
    }
}
