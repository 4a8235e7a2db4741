//! The network of a node: a namespace with a bridge, and cables to pods.

use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::ip;
use crate::netns::Netns;

/// The bridge's name.
const BRIDGE: &str = "br0";
/// The longest name of an interface.
const NAME_MAX: usize = 15;

/// The settings of the node's namespace: it forwards like a node, and says what it cannot reach.
/// Its addresses work at once: it cannot look for neighbours from one that is still being checked.
const SETTINGS: [(&str, &str); 5] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

/// The node's side of the network.
#[derive(Clone, Debug)]
pub struct Node {
    netns: Arc<Netns>,
    gateways: Vec<IpAddr>,
}

impl Node {
    /// Builds the bridge with these addresses, which are the pods' gateways.
    pub fn build(netns: Arc<Netns>, gateways: &[IpAddr]) -> Result<Self> {
        set(&netns).context("writing settings of the node's network namespace")?;
        let mut lines = format!(
            "link set lo up\n\
             link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n"
        );
        for gateway in gateways {
            writeln!(lines, "{}", address(*gateway, BRIDGE))?;
        }
        write!(
            lines,
            "link set {BRIDGE} up\n\
             route add unreachable 0.0.0.0/0 metric 4000\n\
             route add unreachable ::/0 metric 4000\n"
        )?;
        ip::batch(&netns, &lines)?;
        Ok(Self {
            netns,
            gateways: gateways.to_vec(),
        })
    }

    /// Lays the cable of a pod: `eth0` inside, `host_link` on the bridge.
    pub fn connect(&self, pod: &Netns, host_link: &str, ips: &[IpAddr]) -> Result<()> {
        let peer = format!("eth0 address {} netns {}", mac(ips), pod.handle().display());
        ip::batch(
            &self.netns,
            &format!(
                "link add {host_link} type veth peer name {peer}\n\
                 link set {host_link} master {BRIDGE} up\n"
            ),
        )?;
        let mut lines = String::from("link set lo up\n");
        for ip in ips {
            writeln!(lines, "{}", address(*ip, "eth0"))?;
        }
        lines.push_str("link set eth0 up\n");
        for gateway in &self.gateways {
            if ips.iter().any(|ip| ip.is_ipv4() == gateway.is_ipv4()) {
                writeln!(lines, "route add default via {gateway} dev eth0")?;
            }
        }
        ip::batch(pod, &lines)
    }

    /// Takes the cable away, with both its ends.
    pub fn disconnect(&self, host_link: &str) -> Result<()> {
        ip::batch(&self.netns, &format!("link del {host_link}\n"))
    }
}

/// Name of the host's end of a pod's cable: told by the pod's name, unique in the node.
pub fn host_link(pod: &str) -> String {
    let plain = format!("veth-{pod}");
    if plain.len() <= NAME_MAX {
        return plain;
    }
    let mut hasher = DefaultHasher::new();
    pod.hash(&mut hasher);
    let prefix: String = plain.chars().take(NAME_MAX - 7).collect();
    format!("{prefix}-{:06x}", hasher.finish() & 0xff_ffff)
}

/// Told by the address, so that neighbours of a recreated pod need not learn it again.
fn mac(ips: &[IpAddr]) -> String {
    let mut hasher = DefaultHasher::new();
    ips.first().hash(&mut hasher);
    let tail = hasher.finish().to_be_bytes();
    tail[..5]
        .iter()
        .fold(String::from("02"), |mac, byte| format!("{mac}:{byte:02x}"))
}

fn address(ip: IpAddr, link: &str) -> String {
    match ip {
        IpAddr::V4(ip) => format!("addr add {ip}/16 dev {link}"),
        IpAddr::V6(ip) => format!("addr add {ip}/64 dev {link} nodad"),
    }
}

/// `/proc/sys/net` shows the namespace of the thread that looks.
fn set(netns: &Netns) -> Result<()> {
    let write = || -> io::Result<()> {
        netns.enter()?;
        SETTINGS
            .iter()
            .try_for_each(|(name, value)| fs::write(format!("/proc/sys/net/{name}"), value))
    };
    let done = std::thread::scope(|scope| scope.spawn(write).join());
    Ok(done.map_err(|_| io::Error::other("the thread panicked"))??)
}

#[cfg(test)]
mod tests {
    use super::{NAME_MAX, host_link};

    #[test]
    fn names_of_links_fit_and_differ() {
        assert_eq!(host_link("web-1"), "veth-web-1");
        let long = ["payments-backend-1", "payments-backend-2"].map(host_link);
        assert!(long.iter().all(|name| name.len() == NAME_MAX), "{long:?}");
        assert_ne!(long[0], long[1]);
    }
}
