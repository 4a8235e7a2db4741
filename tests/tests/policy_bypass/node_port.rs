//! Connections to a port of the node that are forwarded with the node's address: they come from outside all the same.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use harness::probe::{Outcome, Protocol};
use harness::{require, require_root};

use crate::town::{Town, at, got_through, guard, nft};

const RULES: &str = "table ip node_port {
    chain in {
        type nat hook prerouting priority -100
        tcp dport 30080 dnat to 10.0.1.1:80
        udp dport 30080 dnat to 10.0.1.1:80
    }
    chain out {
        type nat hook postrouting priority 100
        ct status dnat masquerade
    }
}
table ip6 node_port {
    chain in {
        type nat hook prerouting priority -100
        tcp dport 30080 dnat to [fd00::1:1]:80
        udp dport 30080 dnat to [fd00::1:1]:80
    }
    chain out {
        type nat hook postrouting priority 100
        ct status dnat masquerade
    }
}
";

/// Somebody outside asks the node's port.
fn ask(town: &Town, protocol: Protocol, family: usize) -> Result<bool> {
    let node = ["10.0.0.1", "fd00::1"][family].parse()?;
    let outcome = town.attempt(
        &town.stranger.unenrolled(),
        protocol,
        SocketAddr::new(node, 30_080),
    );
    Ok(got_through(&outcome))
}

#[test]
fn what_the_node_forwards_with_its_own_address() -> Result<()> {
    require_root!();
    require!(harness::require::program("nft"));
    let town = Town::build("node-port")?;
    let loaded = nft(&town.sandbox.node(), &town.sandbox.run_dir(), RULES);
    require!(loaded.map_err(|error| format!("masquerading on the node: {error:#}")));
    let guard = guard();
    town.closes(
        &[&[("shop/guard", &guard)]],
        &[
            ("TCP", |town| ask(town, Protocol::Tcp, 0)),
            ("UDP", |town| ask(town, Protocol::Udp, 0)),
            ("TCP over IPv6", |town| ask(town, Protocol::Tcp, 1)),
            ("UDP over IPv6", |town| ask(town, Protocol::Udp, 1)),
        ],
    )
}

/// The node's own sockets have the same address, and always pass; also between two attempts from outside.
#[test]
fn the_node_itself_beside_what_it_forwards() -> Result<()> {
    require_root!();
    require!(harness::require::program("nft"));
    let guard = guard();
    let town = Town::guarded("node-port-own", &[("shop/guard", &guard)])?;
    let loaded = nft(&town.sandbox.node(), &town.sandbox.run_dir(), RULES);
    require!(loaded.map_err(|error| format!("masquerading on the node: {error:#}")));
    for family in [0, 1] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for _ in 0..10 {
                Town::passes(town.sandbox.outside_pod(), protocol, at(&town.server, 80)[family])?;
                ensure!(
                    !town.counted(|| ask(&town, protocol, family))?,
                    "forwarded {}",
                    protocol.name()
                );
            }
        }
    }
    let from_friend = town.attempt(town.friend.place(), Protocol::Tcp, at(&town.server, 80)[0]);
    ensure!(from_friend == Outcome::Answered, "the friend: {from_friend}");
    Ok(())
}
