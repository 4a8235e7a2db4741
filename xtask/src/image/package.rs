//! Which Debian package a file of this machine is from.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::ask;

/// A package as installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
}

/// The package of a file; `None` where there is no dpkg, or the file is from no package.
pub fn of(file: &Path) -> Option<Installed> {
    // What the package makes when it is installed is not in its list of files.
    let name = if file.starts_with("/etc/ssl/certs") {
        "ca-certificates".to_owned()
    } else {
        owner(file)?
    };
    let format = "${binary:Package}\t${Version}\t${Architecture}";
    let line = ask(Command::new("dpkg-query").args(["-W", "-f", format]).arg(name))?;
    parse(&line)
}

/// `binary:Package` carries the architecture where several may be installed.
fn parse(line: &str) -> Option<Installed> {
    let mut fields = line.split('\t');
    let name = fields.next()?.split(':').next()?.to_owned();
    Some(Installed {
        name,
        version: fields.next()?.to_owned(),
        architecture: fields.next()?.to_owned(),
    })
}

fn owner(file: &Path) -> Option<String> {
    let answer = [file, &other_name(file)?]
        .into_iter()
        .find_map(|path| ask(Command::new("dpkg-query").arg("-S").arg(path)))?;
    let (package, _) = answer.lines().next()?.split_once(": ")?;
    Some(package.to_owned())
}

/// Since /lib is a link to /usr/lib, a package's list may have either.
fn other_name(file: &Path) -> Option<PathBuf> {
    match file.strip_prefix("/usr") {
        Ok(rest) => Some(Path::new("/").join(rest)),
        Err(_) => Some(Path::new("/usr").join(file.strip_prefix("/").ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_says_is_read() {
        let installed = parse("libc6:amd64\t2.36-9+deb12u14\tamd64").unwrap();
        assert_eq!((&*installed.name, &*installed.architecture), ("libc6", "amd64"));
        assert_eq!(installed.version, "2.36-9+deb12u14");
        assert_eq!(parse("libc6"), None);
        assert_eq!(of(Path::new("/nonexistent")), None);
    }

    #[test]
    fn a_file_has_two_names() {
        let pair = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
        ]
        .map(PathBuf::from);
        let [short, long] = pair;
        assert_eq!(other_name(&short), Some(long.clone()));
        assert_eq!(other_name(&long), Some(short));
    }
}
