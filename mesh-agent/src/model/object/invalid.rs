//! What is wrong with a field of an object.

use mesh_common::addr::Protocol;

use super::ObjectRef;
use crate::model::desired::Family;

/// A field that does not say what it should.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{object}: {field}: {fault}")]
pub struct Invalid {
    /// The object.
    pub object: ObjectRef,
    /// Path of the field, as in `spec.ports[1].port`.
    pub field: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A required field is absent or empty.
    #[error("is missing")]
    Missing,
    /// No name that Kubernetes would take.
    #[error("{0:?} is not a name")]
    NotAName(String),
    /// Outside 1 to 65535.
    #[error("{0} is not a port")]
    NotAPort(i64),
    /// A number in quotes, where Kubernetes expects the name of a container's port.
    #[error("{0:?} is not the name of a port (a number stands without quotes)")]
    NotAPortName(String),
    /// No IP address.
    #[error("{0:?} is not an IP address")]
    NotAnAddress(String),
    /// No prefix of addresses.
    #[error("{0:?} is not a CIDR (as in 10.0.0.0/8 or fd00::/8)")]
    NotACidr(String),
    /// A prefix that is not a part of another, or is all of it.
    #[error("{cidr} is not a strict part of {block}")]
    NotAPart {
        /// The prefix.
        cidr: String,
        /// The other one.
        block: String,
    },
    /// A field that what stands beside it rules out.
    #[error("cannot be set: {0}")]
    OutOfPlace(&'static str),
    /// An IP address that no host can have (unspecified, multicast, broadcast).
    #[error("{0} is not the address of a host")]
    NotAHost(String),
    /// An address of the other family.
    #[error("{address} is not an {} address", family_name(*.family))]
    OtherFamily {
        /// The address.
        address: String,
        /// The family it should have.
        family: Family,
    },
    /// Not one of the values Kubernetes or the mesh defines.
    #[error("{value:?} is not one of {allowed}")]
    NotOneOf {
        /// The value.
        value: String,
        /// The values there are.
        allowed: &'static str,
    },
    /// A number outside its range.
    #[error("{value} is not between {min} and {max}")]
    OutOfRange {
        /// The value.
        value: i64,
        /// The least allowed.
        min: i64,
        /// The most allowed.
        max: i64,
    },
    /// Two ports of the same number and protocol.
    #[error("port {port}/{} is there twice", .protocol.name())]
    PortTwice {
        /// The number.
        port: u16,
        /// The protocol.
        protocol: Protocol,
    },
    /// Two ports of the same name.
    #[error("the name {0:?} is there twice")]
    NameTwice(String),
    /// A Service that no address was given to, outside a cluster that would do so.
    #[error("is not set, so nobody can dial this Service (only a cluster hands out addresses)")]
    NoClusterIp,
    /// A pod's word against the mesh, in a namespace that fails closed.
    #[error(
        "does not count: the namespace fails closed, so only the namespace's own label takes pods out of the mesh"
    )]
    Overruled,
    /// Another pod claims the same address, and gets it.
    #[error("{address} belongs to pod {by} now")]
    AddressTaken {
        /// The address.
        address: String,
        /// Namespace and name of the other pod.
        by: String,
    },
}

const fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// A fault and where it is, before it is known of which object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Misfit {
    field: String,
    fault: Fault,
}

impl Misfit {
    pub(super) fn of(self, object: &ObjectRef) -> Invalid {
        Invalid {
            object: object.clone(),
            field: self.field,
            fault: self.fault,
        }
    }
}

/// Says where a fault is.
pub(super) trait At<T> {
    /// `field` is called for faults only, so paths cost nothing where all is well.
    fn at<S: Into<String>>(self, field: impl FnOnce() -> S) -> Result<T, Misfit>;
}

impl<T> At<T> for Result<T, Fault> {
    fn at<S: Into<String>>(self, field: impl FnOnce() -> S) -> Result<T, Misfit> {
        self.map_err(|fault| Misfit {
            field: field().into(),
            fault,
        })
    }
}
