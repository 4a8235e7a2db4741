//! What the kernel says of an open object: `/proc/self/fdinfo/FD`, lines of `name:` and a value.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use crate::sys::bpf;

/// A map or link as the kernel describes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FdInfo(BTreeMap<String, String>);

impl FdInfo {
    /// Of a pinned object, which is opened for it.
    ///
    /// # Errors
    /// Where the pin can't be opened.
    pub fn of_pin(path: &Path) -> io::Result<(Self, OwnedFd)> {
        let object = bpf::open_pin(path)?;
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_fd().as_raw_fd()))?;
        Ok((Self::parse(&text), object))
    }

    /// From the text of the file.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(
            pairs
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    /// A value as it stands.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number, decimal or hexadecimal.
    pub fn number(&self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name() {
        let info =
            FdInfo::parse("pos:\t0\nflags:\t02000000\nmap_id:\t12\nmap_flags:\t0x81\nlink_type:\tcgroup\n");
        assert_eq!(info.number("map_id"), Some(12));
        assert_eq!(info.number("map_flags"), Some(0x81));
        assert_eq!(info.text("link_type"), Some("cgroup"));
        assert_eq!((info.number("link_type"), info.number("frozen")), (None, None));
    }
}
