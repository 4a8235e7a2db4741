//! What did not make it into the kernel, why, and what to do about it.

use std::fmt;

use mesh_common::addr::{Protocol, socket_addr};
use mesh_common::service::Frontend;
use thiserror::Error;

use super::capacity::{Grouped, Table};
use crate::model::desired::{Family, ObjectName, PodKey, PortKey, Traffic};

/// Something desired that the kernel tables do not hold. Only this is left out; everything else goes on.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{object} {part}: {reason}{}", if *.keeps { "; until then it keeps what it had" } else { "" })]
pub struct Refusal {
    /// Whose it is.
    pub object: Object,
    /// Which part of the object.
    pub part: Part,
    /// Why, and the next step.
    pub reason: Reason,
    /// Whether the kernel goes on with what it held for this part before.
    pub keeps: bool,
}

/// A Kubernetes object.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Object {
    /// A Service.
    Service(ObjectName),
    /// A Pod.
    Pod(PodKey),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "Service {name}"),
            Self::Pod(pod) => write!(f, "Pod {pod}"),
        }
    }
}

/// Part of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The endpoints and settings of a port.
    Port(PortKey),
    /// One address that clients of a port dial.
    Frontend(PortKey, Frontend),
    /// The addresses of a pod.
    Addresses,
    /// A pod's network namespace, by its cookie: what makes its sockets part of the mesh.
    Netns(u64),
    /// A pending pod's cgroup, by its id.
    Cgroup(u64),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port_text(f, *port),
            Self::Frontend(port, frontend) => {
                port_text(f, *port)?;
                write!(f, " frontend {}", frontend_text(frontend))
            }
            Self::Addresses => f.write_str("addresses"),
            Self::Netns(cookie) => write!(f, "network namespace {cookie}"),
            Self::Cgroup(id) => write!(f, "cgroup {id}"),
        }
    }
}

/// Why something is refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Reason {
    /// A table has no room.
    #[error(
        "no room for {} in {} ({}, {} free); {}",
        .table.amount(*.needed), .table.name(), .table.amount(*.capacity), Grouped(*.free), next_step(*.table, *.resting)
    )]
    Full {
        /// The table.
        table: Table,
        /// Entries that are needed in addition.
        needed: u32,
        /// Entries the table has.
        capacity: u32,
        /// Entries that can be had now.
        free: u32,
        /// Whether there is room once what was freed a moment ago has rested.
        resting: bool,
    },
    /// Another service has the frontend.
    #[error(
        "{} is held by Service {holder} {}; remove it from one of the two",
        frontend_text(.frontend), Part::Port(*.port)
    )]
    Held {
        /// The frontend.
        frontend: Frontend,
        /// Who has it.
        holder: ObjectName,
        /// The holder's port.
        port: PortKey,
    },
    /// A previous agent gave the frontend to a service that differs from this one.
    #[error(
        "{} was another service's before the agent started; it is handed over once all Services are known",
        frontend_text(.0)
    )]
    Inherited(Frontend),
    /// Every workload id is in use or rests.
    #[error("no workload id can be had yet; it is planned again as soon as one has rested")]
    NoWorkloadId,
}

fn next_step(table: Table, resting: bool) -> String {
    if resting {
        format!(
            "enough was freed less than {} s ago and must rest: it is planned again by itself",
            super::REST.as_secs()
        )
    } else {
        format!(
            "start the agent with --map-size {}=ENTRIES, more than now",
            table.name()
        )
    }
}

fn port_text(f: &mut fmt::Formatter<'_>, key: PortKey) -> fmt::Result {
    write!(f, "port {}/{}", key.port, key.protocol.name())?;
    f.write_str(match key.family {
        Family::V4 => "",
        Family::V6 => " (IPv6)",
    })?;
    f.write_str(match key.traffic {
        Traffic::Internal => "",
        Traffic::External => " (external traffic)",
    })
}

/// What a client dials.
pub(super) fn frontend_text(frontend: &Frontend) -> String {
    let protocol = Protocol::from_number(frontend.protocol.into()).map_or("?", Protocol::name);
    format!("{}/{protocol}", socket_addr(frontend.addr, frontend.port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_common::addr::Port;
    use std::net::Ipv4Addr;

    const PORT: PortKey = PortKey {
        port: 80,
        protocol: Protocol::Tcp,
        family: Family::V4,
        traffic: Traffic::Internal,
    };

    fn refusal(part: Part, reason: Reason, keeps: bool) -> String {
        let object = Object::Service(ObjectName::new("shop", "web"));
        Refusal {
            object,
            part,
            reason,
            keeps,
        }
        .to_string()
    }

    #[test]
    fn a_full_table_is_told_with_numbers_and_the_option() {
        let full = |resting| Reason::Full {
            table: Table::LbTable,
            needed: 251,
            capacity: 1_048_576,
            free: 12,
            resting,
        };
        assert_eq!(
            refusal(Part::Port(PORT), full(false), false),
            "Service shop/web port 80/TCP: no room for 251 slots in LB_TABLE (1,048,576 slots, 12 free); start \
             the agent with --map-size LB_TABLE=ENTRIES, more than now"
        );
        assert_eq!(
            refusal(Part::Port(PORT), full(true), true),
            "Service shop/web port 80/TCP: no room for 251 slots in LB_TABLE (1,048,576 slots, 12 free); enough \
             was freed less than 10 s ago and must rest: it is planned again by itself; until then it keeps what \
             it had"
        );
    }

    #[test]
    fn a_held_frontend_names_its_holder() {
        let frontend = Frontend::new(Ipv4Addr::new(10, 0, 0, 1).into(), Port::new(80), Protocol::Tcp);
        let reason = Reason::Held {
            frontend,
            holder: ObjectName::new("shop", "old"),
            port: PORT,
        };
        assert_eq!(
            refusal(Part::Port(PORT), reason, false),
            "Service shop/web port 80/TCP: 10.0.0.1:80/TCP is held by Service shop/old port 80/TCP; remove it from \
             one of the two"
        );
    }
}
