//! What a client and a server do with each other.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error};

const KIB: usize = 1024;

/// Connections of [`Workload::Crowd`].
pub const CROWD: usize = 16;
/// Connections of [`Workload::Http`].
pub const VISITORS: usize = 32;

/// One kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A request and its answer, one at a time, on one connection.
    Requests,
    /// The same with more bytes.
    MediumRequests,
    /// The same with as many bytes as a segment can have.
    LargeRequests,
    /// Requests on many connections at once, of one client and one server with a thread each.
    Crowd,
    /// HTTP requests on many connections that are kept, each sent as soon as the one before is answered, as wrk does it; the
    /// server is nginx.
    Http,
    /// A connection for each request; the server closes it, as in HTTP/1.0, so that the client's ports do not
    /// rest for a minute each.
    Connects,
    /// One connection, written to as fast as it goes until the last byte has arrived.
    Streams,
    /// The same with small writes.
    SmallStreams,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Requests,
        Self::MediumRequests,
        Self::LargeRequests,
        Self::Crowd,
        Self::Http,
        Self::Connects,
        Self::Streams,
        Self::SmallStreams,
    ];
    /// Those that tell what the mesh costs without acceleration.
    pub const BASIC: [Self; 3] = [Self::Requests, Self::Connects, Self::Streams];

    /// Where it is served.
    pub fn port(self) -> u16 {
        match self {
            Self::Requests => 8080,
            Self::Connects => 8081,
            Self::Streams => 8082,
            Self::MediumRequests => 8083,
            Self::LargeRequests => 8084,
            Self::Crowd => 8085,
            Self::SmallStreams => 8086,
            Self::Http => 8087,
        }
    }

    /// Bytes of a request, and of its answer; of a stream, of one write; of HTTP, of an answer's body.
    pub fn bytes(self) -> usize {
        match self {
            Self::Requests | Self::Crowd | Self::Connects => 64,
            Self::Http | Self::SmallStreams => KIB,
            Self::MediumRequests => 16 * KIB,
            Self::LargeRequests | Self::Streams => 64 * KIB,
        }
    }

    /// What is counted.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Requests => "request of 64 bytes and its answer",
            Self::MediumRequests => "request of 16 KiB and its answer",
            Self::LargeRequests => "request of 64 KiB and its answer",
            Self::Crowd => "request of 64 bytes and its answer on 16 connections",
            Self::Http => "HTTP request and its answer of 1 KiB on 32 connections",
            Self::Connects => "connect, request, close",
            Self::Streams => "64 KiB written",
            Self::SmallStreams => "1 KiB written",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::MediumRequests => "requests-16k",
            Self::LargeRequests => "requests-64k",
            Self::Crowd => "crowd",
            Self::Http => "http",
            Self::Connects => "connects",
            Self::Streams => "streams",
            Self::SmallStreams => "streams-1k",
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
