//! What a client and a server do with each other.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error};

/// Bytes of a request, and of its answer.
pub const MESSAGE: usize = 64;
/// Bytes of one write of a stream.
pub const BLOCK: usize = 64 * 1024;

/// One kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A request and its answer, one at a time, on one connection.
    Requests,
    /// A connection for each request; the server closes it, as in HTTP/1.0, so that the client's ports do not
    /// rest for a minute each.
    Connects,
    /// One connection, written to as fast as it goes until the last byte has arrived.
    Streams,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Connects, Self::Streams];

    /// Where it is served.
    pub fn port(self) -> u16 {
        match self {
            Self::Requests => 8080,
            Self::Connects => 8081,
            Self::Streams => 8082,
        }
    }

    /// What is counted.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Requests => "request of 64 bytes and its answer",
            Self::Connects => "connect, request, close",
            Self::Streams => "64 KiB written",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Connects => "connects",
            Self::Streams => "streams",
        })
    }
}

impl FromStr for Workload {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL
            .into_iter()
            .find(|workload| workload.to_string() == text);
        found.with_context(|| format!("no workload {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for workload in Workload::ALL {
            assert_eq!(workload.to_string().parse::<Workload>().unwrap(), workload);
        }
        assert!("other".parse::<Workload>().is_err());
    }
}
