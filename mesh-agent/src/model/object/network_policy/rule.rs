//! Rules: peers and ports that pass.

use k8s_openapi::api::networking::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_common::policy::Transport;

use super::super::field;
use super::super::invalid::{At, Fault, Misfit};
use super::{Cidr, IpBlock, Selector};

/// What passes: flows with one of the peers over one of the ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Its place in the object.
    pub index: usize,
    /// The peers; empty is everybody.
    pub peers: Vec<Peer>,
    /// The ports; empty is all of all protocols.
    pub ports: Vec<PortRule>,
}

/// Others that a rule is about.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Peer {
    /// Pods.
    Pods {
        /// The labels of their namespaces; `None` for the policy's own namespace.
        namespaces: Option<Selector>,
        /// Their own labels.
        pods: Selector,
    },
    /// Addresses, whoever has them.
    Block(IpBlock),
}

/// Ports of a protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PortRule {
    /// The protocol.
    pub transport: Transport,
    /// Which ports.
    pub range: PortRange,
}

/// Destination ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PortRange {
    /// All.
    All,
    /// From the first to the last.
    Numbers {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The one to which a container of the destination pod gives this name.
    Named(String),
}

impl Rule {
    pub(super) fn of(
        index: usize,
        peers: Option<Vec<api::NetworkPolicyPeer>>,
        ports: Option<Vec<api::NetworkPolicyPort>>,
        path: &str,
        peers_field: &str,
    ) -> Result<Self, Misfit> {
        let peers = peers.into_iter().flatten().enumerate();
        let peers = peers.map(|(at, it)| peer(it, &format!("{path}.{peers_field}[{at}]")));
        let ports = ports.into_iter().flatten().enumerate();
        let ports = ports.map(|(at, it)| port_rule(&it, |field| format!("{path}.ports[{at}].{field}")));
        Ok(Self {
            index,
            peers: peers.collect::<Result<_, _>>()?,
            ports: ports.collect::<Result<_, _>>()?,
        })
    }
}

fn peer(peer: api::NetworkPolicyPeer, path: &str) -> Result<Peer, Misfit> {
    let select = |selector: Option<_>, field: &str| {
        let path = || format!("{path}.{field}");
        selector.map(|selector| Selector::of(selector, path)).transpose()
    };
    let pods = select(peer.pod_selector, "podSelector")?;
    let namespaces = select(peer.namespace_selector, "namespaceSelector")?;
    match (peer.ip_block, pods, namespaces) {
        (Some(block), None, None) => ip_block(&block, path).map(Peer::Block),
        (Some(_), ..) => Err(Fault::OutOfPlace("selectors stand beside it")).at(|| format!("{path}.ipBlock")),
        // A kind of peer that is not known yet looks like this, too: the API wants it to match nobody.
        (None, None, None) => Err(Fault::Missing).at(|| path),
        (None, pods, namespaces) => Ok(Peer::Pods {
            namespaces,
            pods: pods.unwrap_or_default(),
        }),
    }
}

fn ip_block(block: &api::IPBlock, path: &str) -> Result<IpBlock, Misfit> {
    let cidr = Cidr::parse(&block.cidr).at(|| format!("{path}.ipBlock.cidr"))?;
    let mut except = Vec::new();
    for (index, text) in block.except.iter().flatten().enumerate() {
        let hole = Cidr::parse(text).and_then(|hole| {
            let fault = || Fault::NotAPart {
                cidr: text.clone(),
                block: block.cidr.clone(),
            };
            let strict = cidr.contains(&hole) && hole != cidr;
            strict.then_some(hole).ok_or_else(fault)
        });
        except.push(hole.at(|| format!("{path}.ipBlock.except[{index}]"))?);
    }
    except.sort_unstable();
    except.dedup();
    Ok(IpBlock { cidr, except })
}

fn port_rule(port: &api::NetworkPolicyPort, path: impl Fn(&str) -> String) -> Result<PortRule, Misfit> {
    let transport = field::transport(port.protocol.as_deref()).at(|| path("protocol"))?;
    let no_end = |fault| match port.end_port {
        None => Ok(()),
        Some(_) => Err(Fault::OutOfPlace(fault)).at(|| path("endPort")),
    };
    let range = match &port.port {
        None => {
            no_end("there is no port")?;
            PortRange::All
        }
        Some(IntOrString::String(name)) => {
            no_end("the port is a name")?;
            PortRange::Named(port_name(name).at(|| path("port"))?)
        }
        Some(IntOrString::Int(first)) => {
            let number = field::port(*first).at(|| path("port"))?;
            let last = port.end_port.map_or(Ok(number), |last| end_port(number, last));
            PortRange::Numbers {
                first: number,
                last: last.at(|| path("endPort"))?,
            }
        }
    };
    Ok(PortRule { transport, range })
}

fn end_port(first: u16, last: i32) -> Result<u16, Fault> {
    let fits = u16::try_from(last).ok().filter(|&last| last >= first);
    fits.ok_or_else(|| Fault::OutOfRange {
        value: last.into(),
        min: first.into(),
        max: u16::MAX.into(),
    })
}

fn port_name(name: &str) -> Result<String, Fault> {
    if name.contains(|c: char| c.is_ascii_alphabetic()) {
        Ok(name.to_owned())
    } else {
        Err(Fault::NotAPortName(name.to_owned()))
    }
}
