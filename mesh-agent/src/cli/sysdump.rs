//! `sysdump`: one archive with everything a maintainer needs to see.

mod afar;
mod archive;
mod bare;
mod parts;

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use self::archive::Archive;
use super::{answer::Answer, failure::Failure, node::Node, remote::Cluster};

/// Stands for standard output.
const STDOUT: &str = "-";

/// Of this node.
///
/// # Errors
/// Where nothing can be written.
pub fn here(node: &Node, file: Option<&Path>) -> Result<Answer, Failure> {
    let noted = Some(node.names().node).filter(|name| !name.is_empty());
    let name = noted.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let place = Place::new(file, &name);
    let mut archive = Archive::new(place.open()?, &name);
    for (name, part) in parts::parts(node) {
        archive
            .add(&name, part())
            .map_err(|error| archive_failed(&error))?;
    }
    place.finish(archive)
}

/// Of nodes of a cluster. Good where one of them made a dump at least.
///
/// # Errors
/// Where nothing can be written, or the agents can't be listed.
pub async fn afar(cluster: &Cluster, nodes: &[String], file: Option<&Path>) -> Result<Answer, Failure> {
    let name = match nodes {
        [node] => node,
        _ => "all-nodes",
    };
    let place = Place::new(file, name);
    let mut archive = Archive::new(place.open()?, "mesh-sysdump");
    let any = afar::write(cluster, nodes, &mut archive).await?;
    let written = place.finish(archive)?;
    if !any {
        eprintln!("meshctl: no node made a dump: see the reasons above, they are in the archive, too");
    }
    Ok(Answer::of(written.text, any))
}

fn archive_failed(error: &io::Error) -> Failure {
    Failure::failed(format!(
        "writing the archive: {error}: name another place with --file"
    ))
}

/// Where the archive goes.
struct Place(PathBuf);

impl Place {
    fn new(file: Option<&Path>, name: &str) -> Self {
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        Self(file.map_or_else(|| format!("mesh-sysdump-{name}-{time}.tar.gz").into(), Into::into))
    }

    fn open(&self) -> Result<Box<dyn Write>, Failure> {
        if self.0.as_os_str() == STDOUT {
            return Ok(Box::new(io::stdout()));
        }
        let file = File::create(&self.0).map_err(|error| {
            Failure::failed(format!(
                "{}: {error}: name another place with --file",
                self.0.display()
            ))
        })?;
        Ok(Box::new(file))
    }

    /// Ends the archive; the answer is where it is.
    fn finish(&self, archive: Archive<Box<dyn Write>>) -> Result<Answer, Failure> {
        let mut out = archive.finish().map_err(|error| archive_failed(&error))?;
        out.flush().map_err(|error| archive_failed(&error))?;
        let written = self.0.as_os_str() != STDOUT;
        Ok(Answer::good(if written {
            format!("{}\n", self.0.display())
        } else {
            String::new()
        }))
    }
}
