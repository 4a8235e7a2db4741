//! Fields that several kinds share.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_common::addr::{Addr, Protocol};
use mesh_common::policy::Transport;

use super::invalid::{At, Fault, Misfit};
use crate::model::desired::{Family, ObjectName};

/// The namespace `kubectl` assumes.
const DEFAULT_NAMESPACE: &str = "default";
/// The protocols a port may have.
const PROTOCOLS: &str = "TCP, UDP, SCTP";

/// Namespace and name out of the metadata, unchecked: good enough to say whose field is wrong.
pub(super) fn object_name(metadata: &ObjectMeta) -> ObjectName {
    let namespace = metadata.namespace.as_deref().filter(|it| !it.is_empty());
    ObjectName::new(
        namespace.unwrap_or(DEFAULT_NAMESPACE),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// Checks what [`object_name`] took.
pub(super) fn check_object_name(object: &ObjectName) -> Result<(), Misfit> {
    check_name(&object.name).at(|| "metadata.name")?;
    check_name(&object.namespace).at(|| "metadata.namespace")
}

/// A name as the API server takes it for any kind (a segment of a path), without white space.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    let wrong = |c: char| c == '/' || c == '%' || c.is_whitespace() || c.is_control();
    match name {
        "" => Err(Fault::Missing),
        "." | ".." => Err(Fault::NotAName(name.to_owned())),
        name if name.contains(wrong) => Err(Fault::NotAName(name.to_owned())),
        _ => Ok(()),
    }
}

/// A port number.
pub(super) fn port(number: i32) -> Result<u16, Fault> {
    u16::try_from(number)
        .ok()
        .filter(|&port| port != 0)
        .ok_or(Fault::NotAPort(number.into()))
}

/// A protocol, TCP where none is given; `None` for SCTP, which the mesh leaves alone.
pub(super) fn protocol(name: Option<&str>) -> Result<Option<Protocol>, Fault> {
    one_of(
        name.unwrap_or_default(),
        &[
            ("", Some(Protocol::Tcp)),
            ("TCP", Some(Protocol::Tcp)),
            ("UDP", Some(Protocol::Udp)),
            ("SCTP", None),
        ],
        PROTOCOLS,
    )
}

/// A protocol that policies can name, TCP where none is given.
pub(super) fn transport(name: Option<&str>) -> Result<Transport, Fault> {
    let known = Transport::ALL.map(|transport| (transport.name(), transport));
    let name = name
        .filter(|name| !name.is_empty())
        .unwrap_or(Transport::Tcp.name());
    one_of(name, &known, PROTOCOLS)
}

/// The meaning of an enumerated value.
pub(super) fn one_of<T: Copy>(value: &str, known: &[(&str, T)], allowed: &'static str) -> Result<T, Fault> {
    known
        .iter()
        .find(|(name, _)| *name == value)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| Fault::NotOneOf {
            value: value.to_owned(),
            allowed,
        })
}

/// An address a host may have.
pub(super) fn address(text: &str) -> Result<Addr, Fault> {
    let ip: IpAddr = text.parse().map_err(|_| Fault::NotAnAddress(text.to_owned()))?;
    let canonical = ip.to_canonical();
    let broadcast = matches!(canonical, IpAddr::V4(v4) if v4.is_broadcast());
    if canonical.is_unspecified() || canonical.is_multicast() || broadcast {
        return Err(Fault::NotAHost(text.to_owned()));
    }
    Ok(ip.into())
}

/// An address a host of that family may have.
pub(super) fn address_of(text: &str, family: Family) -> Result<Addr, Fault> {
    let addr = address(text)?;
    // A v4-mapped address is the same host in either spelling, so it is IPv4 to the kernel and to us.
    if Family::of(&addr) == family {
        Ok(addr)
    } else {
        Err(Fault::OtherFamily {
            address: text.to_owned(),
            family,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_ports() {
        assert_eq!([port(1), port(65_535)], [Ok(1), Ok(65_535)]);
        for wrong in [0, -1, 65_536, 70_000, i32::MAX, i32::MIN] {
            assert_eq!(port(wrong), Err(Fault::NotAPort(wrong.into())));
        }
    }

    #[test]
    fn protocols_are_those_of_kubernetes() {
        assert_eq!(protocol(None), Ok(Some(Protocol::Tcp)));
        assert_eq!(protocol(Some("TCP")), Ok(Some(Protocol::Tcp)));
        assert_eq!(protocol(Some("UDP")), Ok(Some(Protocol::Udp)));
        assert_eq!(protocol(Some("SCTP")), Ok(None));
        assert!(protocol(Some("tcp")).is_err());
        assert!(protocol(Some("QUIC")).is_err());
        assert_eq!(
            [None, Some("")].map(transport),
            [Ok(Transport::Tcp), Ok(Transport::Tcp)]
        );
        assert_eq!(transport(Some("SCTP")), Ok(Transport::Sctp));
        assert!(transport(Some("sctp")).is_err());
    }

    #[test]
    fn addresses_are_of_hosts() {
        for good in ["10.0.0.1", "fd00::1", "127.0.0.1", "::1", "169.254.1.1"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "10.0.0",
            "10.0.0.1/32",
            "10.0.0.01",
            "fe80::1%eth0",
            "web",
            "10.0.0.1:80",
        ] {
            assert_eq!(address(wrong), Err(Fault::NotAnAddress(wrong.to_owned())));
        }
        for nobody in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:0.0.0.0",
        ] {
            assert_eq!(address(nobody), Err(Fault::NotAHost(nobody.to_owned())));
        }
    }

    #[test]
    fn addresses_have_the_family_that_was_promised() {
        assert!(address_of("10.0.0.1", Family::V4).is_ok());
        assert!(address_of("fd00::1", Family::V6).is_ok());
        assert!(address_of("fd00::1", Family::V4).is_err());
        assert!(address_of("10.0.0.1", Family::V6).is_err());
        assert!(address_of("::ffff:10.0.0.1", Family::V6).is_err());
    }

    #[test]
    fn names_are_segments_of_a_path() {
        for good in ["web", "web.v1", "a-b_c:d", "10-0-0-1"] {
            assert_eq!(check_name(good), Ok(()));
        }
        assert_eq!(check_name(""), Err(Fault::Missing));
        for wrong in [".", "..", "a/b", "a b", "a%b", "a\n"] {
            assert_eq!(check_name(wrong), Err(Fault::NotAName(wrong.to_owned())));
        }
    }
}
