//! What lies behind an error: libraries say where something failed, and only their causes say why.

use std::{error::Error, io};

/// An error with its causes: the first says where, the last why. What an error repeats of its cause is said once.
#[must_use]
pub fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// The first error of the system in a chain of causes.
#[must_use]
pub fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    enum Failure {
        #[error("opening the map")]
        Silent(#[source] io::Error),
        #[error("opening the map: {0}")]
        Repeating(#[source] io::Error),
        #[error("loading")]
        Outer(#[source] Box<Failure>),
    }

    fn denied() -> io::Error {
        io::ErrorKind::PermissionDenied.into()
    }

    #[test]
    fn each_cause_is_said_once() {
        let outer = |inner| Failure::Outer(Box::new(inner));
        let table = [
            (Failure::Silent(denied()), "opening the map: permission denied"),
            (Failure::Repeating(denied()), "opening the map: permission denied"),
            (
                outer(Failure::Silent(denied())),
                "loading: opening the map: permission denied",
            ),
            (
                outer(Failure::Repeating(denied())),
                "loading: opening the map: permission denied",
            ),
        ];
        for (error, said) in table {
            assert_eq!(reasons(&error), said);
        }
    }

    #[test]
    fn the_systems_error_is_found_however_deep() {
        let kind = |error: &(dyn Error + 'static)| io_error(error).map(io::Error::kind);
        let deep = Failure::Outer(Box::new(Failure::Silent(denied())));
        assert_eq!(kind(&deep), Some(io::ErrorKind::PermissionDenied));
        assert_eq!(kind(&denied()), Some(io::ErrorKind::PermissionDenied));
        assert_eq!(kind(&std::fmt::Error), None);
    }
}
