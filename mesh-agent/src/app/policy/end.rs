//! The ends of a flow, as users write them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use thiserror::Error;

use crate::model::desired::ObjectName;

/// Who opens a flow.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum From {
    /// A pod.
    Pod(ObjectName),
    /// An address, whoever has it.
    Address(IpAddr),
}

/// Who is asked, and over which port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// A pod.
    Pod(ObjectName, u16),
    /// An address, whoever has it.
    Address(SocketAddr),
    /// A Service.
    Service(ObjectName, u16),
}

/// Why a text is no end of a flow.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum WrongEnd {
    /// It is no source.
    #[error("{0} is nobody who could open a flow: expected NS/POD or an address")]
    From(String),
    /// It is no destination.
    #[error(
        "{0} is no destination: expected NS/POD:PORT, ADDR:PORT ([ADDR]:PORT for IPv6) or service/NS/NAME:PORT"
    )]
    To(String),
}

impl FromStr for From {
    type Err = WrongEnd;

    fn from_str(text: &str) -> Result<Self, WrongEnd> {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(Self::Address(address));
        }
        let pod = object(text).ok_or_else(|| WrongEnd::From(text.to_owned()));
        pod.map(Self::Pod)
    }
}

impl FromStr for Destination {
    type Err = WrongEnd;

    fn from_str(text: &str) -> Result<Self, WrongEnd> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let named = || {
            let (name, port) = text.rsplit_once(':')?;
            let port = port.parse().ok()?;
            match name.strip_prefix(SERVICE) {
                Some(service) => Some(Self::Service(object(service)?, port)),
                None => Some(Self::Pod(object(name)?, port)),
            }
        };
        named().ok_or_else(|| WrongEnd::To(text.to_owned()))
    }
}

/// What stands before the name of a Service.
const SERVICE: &str = "service/";

/// `NS/NAME`, of letters that names of objects have.
fn object(text: &str) -> Option<ObjectName> {
    let is_name = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        !name.is_empty() && name.bytes().all(known)
    };
    let (namespace, name) = text.split_once('/')?;
    (is_name(namespace) && is_name(name)).then(|| ObjectName::new(namespace, name))
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(pod) => write!(f, "{pod}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(pod, port) => write!(f, "{pod}:{port}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Service(service, port) => write!(f, "{SERVICE}{service}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_as_they_are_written() {
        for text in ["shop/web-0", "10.0.0.1", "fd00::1"] {
            assert_eq!(text.parse::<From>().unwrap().to_string(), text);
        }
        for text in [
            "shop/web-0:8080",
            "10.0.0.1:80",
            "[fd00::1]:80",
            "service/shop/web:80",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        assert_eq!("[fd00::1]".parse::<From>().unwrap().to_string(), "fd00::1");
    }

    #[test]
    fn what_is_none_says_what_is_expected() {
        for text in [
            "",
            "web",
            "shop/",
            "/web",
            "shop/web/0",
            "shop/web&x=1",
            "10.0.0.1:80",
        ] {
            let said = text.parse::<From>().unwrap_err().to_string();
            assert!(said.contains("expected NS/POD or an address"), "{said}");
        }
        for text in [
            "shop/web",
            "shop/web:http",
            "shop/web:70000",
            "10.0.0.1",
            "fd00::1:",
            "service/web:80",
            "shop/we b:80",
        ] {
            let said = text.parse::<Destination>().unwrap_err().to_string();
            assert!(said.contains("service/NS/NAME:PORT"), "{said}");
        }
    }
}
