//! Packets that were made outside: no socket of a pod ever asked for them.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use harness::craft::{self, ACK, EXPERIMENT, PUSH, SYN};
use harness::probe::{Number, Protocol};
use harness::require_root;
use serde_json::{Value, json};

use crate::town::{Town, at, ear, got_through, guard, station};

/// A segment with a number, of no connection, or one that opens one; whether the number arrives.
fn segment(town: &Town, family: usize, flags: u8) -> Result<bool> {
    let number = Number::next();
    let (from, to) = (
        at(&town.stranger, number.port())[family],
        at(&town.server, 80)[family],
    );
    let ear = ear(&town.server, to.ip(), craft::TCP)?;
    let packet = craft::tcp(from, to, flags, &number.bytes());
    town.stranger.unenrolled().run(|| craft::send(&packet, to.ip()))?;
    Ok(ear.hears(town.limit(), number))
}

fn datagram(town: &Town, family: usize, from: IpAddr) -> Result<bool> {
    let number = Number::next();
    let to = at(&town.server, 80)[family];
    let packet = craft::udp(SocketAddr::new(from, number.port()), to, &number.bytes());
    let station = station(&town.server)?;
    town.stranger
        .unenrolled()
        .run(|| craft::send_frame(&packet, station, false))?;
    Ok(town.hears(number))
}

fn experiment(town: &Town, family: usize) -> Result<bool> {
    let number = Number::next();
    let (from, to) = (
        at(&town.stranger, 0)[family].ip(),
        at(&town.server, 0)[family].ip(),
    );
    let ear = ear(&town.server, to, EXPERIMENT)?;
    let packet = craft::ip(EXPERIMENT, from, to, &number.bytes());
    town.stranger.unenrolled().run(|| craft::send(&packet, to))?;
    Ok(ear.hears(town.limit(), number))
}

fn in_fragments(town: &Town) -> Result<bool> {
    let number = Number::next();
    let (from, to) = (at(&town.stranger, number.port())[0], at(&town.server, 80)[0]);
    let packet = craft::udp(from, to, &[&number.bytes()[..], &[0; 60]].concat());
    let station = station(&town.server)?;
    for fragment in craft::fragments(&packet, 8) {
        town.stranger
            .unenrolled()
            .run(|| craft::send_frame(&fragment, station, false))?;
    }
    Ok(town.hears(number))
}

fn socket(town: &Town, protocol: Protocol) -> bool {
    let mut to = at(&town.server, 80).into_iter();
    to.any(|to| got_through(&town.attempt(&town.stranger.unenrolled(), protocol, to)))
}

/// The server may open no connections, either: else a segment might be of one that it opened.
fn seal() -> Value {
    let mut guard = guard();
    guard["policyTypes"] = json!(["Ingress", "Egress"]);
    guard
}

#[test]
fn packets_from_outside() -> Result<()> {
    require_root!();
    let seal = seal();
    Town::build("outside")?.closes(
        &[&[("shop/seal", &seal)]],
        &[
            ("TCP", |town| Ok(socket(town, Protocol::Tcp))),
            ("UDP", |town| Ok(socket(town, Protocol::Udp))),
            ("SCTP", |town| Ok(socket(town, Protocol::Sctp))),
            ("a segment of no connection", |town| segment(town, 0, ACK | PUSH)),
            ("a segment of no connection, IPv6", |town| {
                segment(town, 1, ACK | PUSH)
            }),
            ("a SYN with data", |town| segment(town, 0, SYN)),
            ("a SYN with data, IPv6", |town| segment(town, 1, SYN)),
            ("another protocol", |town| experiment(town, 0)),
            ("another protocol, IPv6", |town| experiment(town, 1)),
            ("fragments", in_fragments),
        ],
    )
}

/// The node's address is no word that opens doors: only this host's own sockets are the node.
#[test]
fn the_nodes_address_from_outside() -> Result<()> {
    require_root!();
    let guard = guard();
    Town::build("outside-node")?.closes(
        &[&[("shop/guard", &guard)]],
        &[
            ("IPv4", |town| datagram(town, 0, "10.0.0.1".parse()?)),
            ("IPv6", |town| datagram(town, 1, "fd00::1".parse()?)),
        ],
    )
}
