//! Archives as the kernel unpacks them at boot: cpio, format `newc` (Documentation/driver-api/early-userspace).

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
}

impl Archive {
    /// Adds an empty directory; those above it have to be there.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, &[]);
    }

    /// Adds a file that may be run.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, content);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.inodes += 1;
        let (size, name) = (content.len(), path.len() + 1);
        self.bytes.extend_from_slice(b"070701");
        // Inode, mode, user, group, links, time, size, devices (two numbers each), length of the name, checksum.
        let [inode, mode, size, name] = [self.inodes as usize, mode as usize, size, name];
        for field in [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Names and contents end at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and content of every entry.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |number: usize| {
                let start = 6 + number * 8;
                let text = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name) = (field(1), field(6) as usize, field(11) as usize);
            let content = (110 + name).next_multiple_of(4);
            let text = std::str::from_utf8(&bytes[110..110 + name - 1]).unwrap();
            entries.push((text.to_owned(), mode, bytes[content..content + size].to_vec()));
            bytes = &bytes[(content + size).next_multiple_of(4)..];
        }
        entries
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut archive = Archive::default();
        archive.directory("bin");
        archive.file("bin/odd", b"12345");
        archive.file("init", b"#!");
        assert_eq!(
            read(&archive.finish()),
            [
                ("bin".to_owned(), DIRECTORY, Vec::new()),
                ("bin/odd".to_owned(), PROGRAM, b"12345".to_vec()),
                ("init".to_owned(), PROGRAM, b"#!".to_vec()),
                (TRAILER.to_owned(), 0, Vec::new()),
            ]
        );
    }
}
