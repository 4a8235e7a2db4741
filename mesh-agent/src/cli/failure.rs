//! Why a command could not answer: one line that names the object and the next step.

use std::{error::Error, fmt::Display, io, path::Path};

use mesh_common::names::exit;
use thiserror::Error;

use crate::{
    causes::io_error,
    datapath::{listing::ListingError, tables::TableError},
};

/// Why a command could not answer.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Failure {
    /// The question was wrong.
    #[error("{0}")]
    Usage(String),
    /// The answer can't be had, or there is none.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// A wrong question.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// No answer.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// An object that was asked for and is not there.
    pub fn missing(kind: &str, name: impl Display) -> Self {
        Self::Failed(format!("{kind} {name} is not in the kernel"))
    }

    /// A map that can't be read; `pins` is the directory of the pins.
    pub fn table(error: &TableError, pins: &Path) -> Self {
        Self::Failed(pins_message(error, error, pins))
    }

    /// The list of connections can't be read.
    pub fn listing(error: &ListingError, pins: &Path) -> Self {
        let message = match io_error(error).map(io::Error::kind) {
            Some(io::ErrorKind::NotFound) if pins.exists() => {
                format!("live connections can't be listed: {error}")
            }
            _ => pins_message(error, error, pins),
        };
        Self::Failed(message)
    }

    /// A pin, or the directory of pins, that can't be read.
    pub fn pin(what: impl Display, error: &io::Error, pins: &Path) -> Self {
        Self::Failed(pins_message(format_args!("{what}: {error}"), error, pins))
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::Failed(_) => exit::FAILURE,
        }
    }
}

fn pins_message(shown: impl Display, error: &(dyn Error + 'static), pins: &Path) -> String {
    let dir = pins.display();
    match io_error(error).map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) if pins.exists() => {
            format!("{shown}: {dir} is not complete; restart mesh-agent to make what is missing")
        }
        Some(io::ErrorKind::NotFound) => format!(
            "no mesh tables under {dir}: is mesh-agent installed on this node? \
             (start it, or point --bpffs at its BPF filesystem)"
        ),
        Some(io::ErrorKind::PermissionDenied) => {
            format!("no permission to read the mesh tables under {dir}: run meshctl as root")
        }
        _ => shown.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(kind: io::ErrorKind) -> ListingError {
        ListingError::Io {
            path: "/b/mesh/v1/links/mesh_list".into(),
            source: kind.into(),
        }
    }

    #[test]
    fn missing_pins_name_the_place_and_the_next_step() {
        let failure = Failure::pin(
            "links",
            &io::ErrorKind::NotFound.into(),
            Path::new("/sys/fs/none/mesh/v1"),
        );
        assert_eq!(
            failure.to_string(),
            "no mesh tables under /sys/fs/none/mesh/v1: is mesh-agent installed on this node? \
             (start it, or point --bpffs at its BPF filesystem)"
        );
        assert_eq!(failure.exit(), 1);
    }

    #[test]
    fn a_single_missing_pin_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Failure::pin("map PODS", &io::ErrorKind::NotFound.into(), dir.path());
        assert!(failure.to_string().contains("map PODS"), "{failure}");
        assert!(failure.to_string().contains("restart mesh-agent"), "{failure}");
        let failure = Failure::listing(&listing(io::ErrorKind::NotFound), dir.path());
        assert!(failure.to_string().contains("live connections"), "{failure}");
    }

    #[test]
    fn without_permission_root_is_asked_for() {
        let failure = Failure::listing(&listing(io::ErrorKind::PermissionDenied), Path::new("/b/mesh/v1"));
        assert_eq!(
            failure.to_string(),
            "no permission to read the mesh tables under /b/mesh/v1: run meshctl as root"
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        let failure = Failure::missing("service", "shop/web");
        assert_eq!(failure.to_string(), "service shop/web is not in the kernel");
        assert_eq!((failure.exit(), Failure::usage("x").exit()), (1, 2));
    }
}
