//! Which Debian package a file of this machine is from.

use std::path::Path;
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
    let mut fields = line.split('\t');
    let name = fields.next()?.split(':').next()?.to_owned();
    Some(Installed {
        name,
        version: fields.next()?.to_owned(),
        architecture: fields.next()?.to_owned(),
    })
}

/// Since /lib is a link to /usr/lib, the list may have either.
fn owner(file: &Path) -> Option<String> {
    let moved = match file.strip_prefix("/usr") {
        Ok(rest) => Path::new("/").join(rest),
        Err(_) => Path::new("/usr").join(file.strip_prefix("/").ok()?),
    };
    let answer = [file, &moved]
        .into_iter()
        .find_map(|path| ask(Command::new("dpkg-query").arg("-S").arg(path)))?;
    let (package, _) = answer.lines().next()?.split_once(": ")?;
    Some(package.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search;

    #[test]
    fn libc_is_from_libc6() {
        if !search::has_program("dpkg-query") {
            return;
        }
        let paths = super::super::library::of(&std::env::current_exe().unwrap()).unwrap();
        let libc = paths.iter().find(|path| path.ends_with("libc.so.6")).unwrap();
        assert_eq!(of(libc).unwrap().name, "libc6");
        assert_eq!(of(Path::new("/nonexistent")), None);
    }
}
