//! The connections of a network namespace that no program saw begin, with what shows who opened them.

use std::{collections::BTreeSet, fs, fs::File, io, ops::RangeInclusive, path::Path};

use mesh_common::addr::Protocol;

use super::removed::Connection;
use crate::{
    model::policy::{Begun, Ports},
    sys::{
        netns,
        sock_diag::{self, Family, Socket, States},
    },
};

/// Of the calling thread's network namespace; for IPv6, too.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// What the kernel has there if nobody changes it.
const USUAL: RangeInclusive<u16> = 32_768..=60_999;

/// The TCP and UDP connections of these sockets; none where the handle is another's.
///
/// # Errors
/// Where the namespace can't be entered or asked.
pub fn list(netns: u64, handle: &Path, cookies: &BTreeSet<u64>) -> io::Result<Vec<(Connection, Begun)>> {
    netns::run_in(File::open(handle)?, || {
        let mut found = Vec::new();
        if netns::own_cookie()? == netns {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                found.extend(of_protocol(netns, protocol, cookies)?);
            }
        }
        Ok(found)
    })
}

fn of_protocol(
    netns: u64,
    protocol: Protocol,
    cookies: &BTreeSet<u64>,
) -> io::Result<Vec<(Connection, Begun)>> {
    let (kind, waits) = match protocol {
        Protocol::Tcp => (sock_diag::Protocol::Tcp, States::LISTEN),
        Protocol::Udp => (sock_diag::Protocol::Udp, States::CLOSE),
    };
    let mut sockets = Vec::new();
    for family in [Family::V4, Family::V6] {
        sockets.extend(sock_diag::list(family, kind, States::ALL)?);
    }
    let (waiting, talking): (Vec<Socket>, Vec<Socket>) =
        sockets.into_iter().partition(|it| waits.contain(it.state));
    let ports = Ports {
        served: waiting.iter().map(|it| it.local.port()).collect(),
        ephemeral: ephemeral(),
    };
    let meant = talking.iter().filter(|it| cookies.contains(&it.cookie));
    let connections = meant.map(|socket| {
        let (local, remote) = socket.ends();
        let begun = if protocol == Protocol::Tcp && States::SYN_SENT.contain(socket.state) {
            Begun::ByPod
        } else {
            ports.begun(local.port(), remote.port())
        };
        let connection = Connection {
            protocol,
            netns,
            cookie: socket.cookie,
            local,
            remote,
        };
        (connection, begun)
    });
    Ok(connections.collect())
}

fn ephemeral() -> RangeInclusive<u16> {
    let read = fs::read_to_string(EPHEMERAL).ok();
    read.and_then(|text| range(&text)).unwrap_or(USUAL)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut bounds = text.split_whitespace().map(str::parse);
    Some(bounds.next()?.ok()?..=bounds.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_read_as_the_kernel_writes_it() {
        assert_eq!(range("32768\t60999\n"), Some(USUAL));
        assert_eq!(range("1024\n"), None);
        assert_eq!(range("low\thigh\n"), None);
    }
}
