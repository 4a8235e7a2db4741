//! Packets that no `connect()` and no `sendmsg()` announces: raw sockets and packet sockets.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use harness::craft::{self, EXPERIMENT, SYN};
use harness::probe::{Number, Protocol};
use harness::{require_root, until};

use crate::town::{Town, Version, at, confine, ear, got_through, guard, run, station};

fn both(town: Town, ways: &[crate::town::Way]) -> Result<()> {
    let (guard, confine) = (guard(), confine());
    let versions: [Version<'_>; 2] = [&[("shop/guard", &guard)], &[("shop/confine", &confine)]];
    town.closes(&versions, ways)
}

/// A datagram from the client by a raw socket.
fn raw_udp(town: &Town, family: usize) -> Result<bool> {
    let number = Number::next();
    let (from, to) = (
        at(&town.client, number.port())[family],
        at(&town.server, 80)[family],
    );
    let packet = craft::udp(from, to, &number.bytes());
    town.client.run(|| craft::send(&packet, to.ip()))?;
    Ok(town.hears(number))
}

/// A SYN from the client by a raw socket; whether a SYN-ACK comes back.
fn raw_syn(town: &Town, family: usize) -> Result<bool> {
    const SYN_ACK: u8 = craft::SYN | craft::ACK;
    let number = Number::next();
    let (from, to) = (
        at(&town.client, number.port())[family],
        at(&town.server, 80)[family],
    );
    let ear = ear(&town.client, to.ip(), craft::TCP)?;
    let packet = craft::tcp(from, to, SYN, b"");
    town.client.run(|| craft::send(&packet, to.ip()))?;
    let header = if family == 0 { 20 } else { 0 };
    let ours = number.port().to_be_bytes();
    Ok(ear.hears_any(town.limit(), |packet| {
        packet.get(header + 2..header + 4) == Some(&ours) && packet.get(header + 13) == Some(&SYN_ACK)
    }))
}

/// A protocol without ports.
fn experiment(town: &Town, family: usize) -> Result<bool> {
    let number = Number::next();
    let (from, to) = (at(&town.client, 0)[family].ip(), at(&town.server, 0)[family].ip());
    let ear = ear(&town.server, to, EXPERIMENT)?;
    let packet = craft::ip(EXPERIMENT, from, to, &number.bytes());
    town.client.run(|| craft::send(&packet, to))?;
    Ok(ear.hears(town.limit(), number))
}

#[test]
fn raw_sockets() -> Result<()> {
    require_root!();
    both(
        Town::build("raw")?,
        &[
            ("UDP", |town| raw_udp(town, 0)),
            ("UDP over IPv6", |town| raw_udp(town, 1)),
            ("SYN", |town| raw_syn(town, 0)),
            ("SYN over IPv6", |town| raw_syn(town, 1)),
            ("another protocol", |town| experiment(town, 0)),
            ("another protocol over IPv6", |town| experiment(town, 1)),
            ("SCTP", |town| {
                let to = at(&town.server, 80)[0];
                Ok(got_through(&town.attempt(
                    town.client.place(),
                    Protocol::Sctp,
                    to,
                )))
            }),
            ("SCTP over IPv6", |town| {
                let to = at(&town.server, 80)[1];
                Ok(got_through(&town.attempt(
                    town.client.place(),
                    Protocol::Sctp,
                    to,
                )))
            }),
        ],
    )
}

/// A datagram from the client by a packet socket, straight to the server's station.
fn frame(town: &Town, family: usize, bypass: bool) -> Result<bool> {
    let number = Number::next();
    let (from, to) = (
        at(&town.client, number.port())[family],
        at(&town.server, 80)[family],
    );
    let packet = craft::udp(from, to, &number.bytes());
    let station = station(&town.server)?;
    town.client.run(|| craft::send_frame(&packet, station, bypass))?;
    Ok(town.hears(number))
}

/// With options before the ports.
fn optioned(town: &Town, family: usize) -> Result<bool> {
    let number = Number::next();
    let (from, to) = (
        at(&town.client, number.port())[family],
        at(&town.server, 80)[family],
    );
    let packet = craft::with_options(&craft::udp(from, to, &number.bytes()));
    let station = station(&town.server)?;
    town.client.run(|| craft::send_frame(&packet, station, true))?;
    Ok(town.hears(number))
}

/// What follows is in the second fragment, where no ports are.
fn in_fragments(town: &Town, family: usize, bypass: bool) -> Result<bool> {
    let number = Number::next();
    let (from, to) = (
        at(&town.client, number.port())[family],
        at(&town.server, 80)[family],
    );
    let packet = craft::udp(from, to, &[&number.bytes()[..], &[0; 60]].concat());
    let station = station(&town.server)?;
    let cut = [craft::fragments, craft::fragments6][family];
    for fragment in cut(&packet, 8) {
        town.client
            .run(|| craft::send_frame(&fragment, station, bypass))?;
    }
    Ok(town.hears(number))
}

/// To everybody on the bridge; port 90 is that of a socket at any address.
fn to_all(town: &Town) -> Result<bool> {
    let number = Number::next();
    let from = at(&town.client, number.port())[0];
    let IpAddr::V4(ip) = town.server.v4() else {
        unreachable!("an IPv4 address")
    };
    let to = SocketAddr::from((craft::broadcast(ip), 90));
    let packet = craft::udp(from, to, &number.bytes());
    town.client.run(|| craft::send_frame(&packet, [0xff; 6], false))?;
    Ok(town.hears(number))
}

#[test]
fn packet_sockets() -> Result<()> {
    require_root!();
    both(
        Town::build("packet")?,
        &[
            ("IPv4", |town| frame(town, 0, false)),
            ("IPv6", |town| frame(town, 1, false)),
            ("IPv4 past the queue", |town| frame(town, 0, true)),
            ("IPv6 past the queue", |town| frame(town, 1, true)),
            ("IPv4 with options", |town| optioned(town, 0)),
            ("IPv6 with options", |town| optioned(town, 1)),
            ("fragments", |town| in_fragments(town, 0, false)),
            ("fragments past the queue", |town| in_fragments(town, 0, true)),
            ("fragments of IPv6", |town| in_fragments(town, 1, false)),
            ("broadcast", to_all),
        ],
    )
}

/// The server's pod takes packets for its loopback from outside, as with `route_localnet`.
#[test]
fn the_loopback_of_another_pod() -> Result<()> {
    fn to_loopback(town: &Town, bypass: bool) -> Result<bool> {
        let number = Number::next();
        let from = at(&town.client, number.port())[0];
        let packet = craft::udp(from, "127.0.0.1:90".parse()?, &number.bytes());
        let station = station(&town.server)?;
        town.client.run(|| craft::send_frame(&packet, station, bypass))?;
        Ok(town.hears(number))
    }
    require_root!();
    let town = Town::build("loopback")?;
    town.server.run(|| {
        let set = |name: &str, value| std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}"), value);
        set("all/route_localnet", "1").and(set("all/rp_filter", "0"))
    })?;
    both(
        town,
        &[
            ("by the queue", |town| to_loopback(town, false)),
            ("past the queue", |town| to_loopback(town, true)),
        ],
    )
}

/// With the addresses of somebody who may.
#[test]
fn forged_sources() -> Result<()> {
    fn as_friend(town: &Town, family: usize, by_frame: bool) -> Result<bool> {
        let number = Number::next();
        let (from, to) = (
            at(&town.friend, number.port())[family],
            at(&town.server, 80)[family],
        );
        let packet = craft::udp(from, to, &number.bytes());
        let station = station(&town.server)?;
        town.client.run(|| {
            if by_frame {
                craft::send_frame(&packet, station, true)
            } else {
                craft::send(&packet, to.ip())
            }
        })?;
        Ok(town.hears(number))
    }
    fn as_node(town: &Town, family: usize) -> Result<bool> {
        let number = Number::next();
        let node: IpAddr = ["10.0.0.1", "fd00::1"][family].parse()?;
        let to = at(&town.server, 80)[family];
        let packet = craft::udp(SocketAddr::new(node, number.port()), to, &number.bytes());
        let station = station(&town.server)?;
        town.client.run(|| craft::send_frame(&packet, station, true))?;
        Ok(town.hears(number))
    }
    require_root!();
    both(
        Town::build("forged")?,
        &[
            ("the friend's", |town| as_friend(town, 0, false)),
            ("the friend's, IPv6", |town| as_friend(town, 1, false)),
            ("the friend's, by a packet socket", |town| {
                as_friend(town, 0, true)
            }),
            ("the friend's, by a packet socket, IPv6", |town| {
                as_friend(town, 1, true)
            }),
            ("the node's", |town| as_node(town, 0)),
            ("the node's, IPv6", |town| as_node(town, 1)),
        ],
    )
}

/// A tap beside the pod shows frames, but a macvlan on its interface has an address and a station of its own.
#[test]
fn addresses_and_interfaces_that_a_pod_gives_itself() -> Result<()> {
    fn from(town: &Town, ip: &str) -> Result<bool> {
        let to = at(&town.server, 80);
        let from = SocketAddr::new(ip.parse()?, 0);
        let to = if from.is_ipv4() { to[0] } else { to[1] };
        let number = Number::next();
        town.client.run(|| -> Result<()> {
            let socket = std::net::UdpSocket::bind(from)?;
            match socket.send_to(&number.bytes(), to) {
                Err(error) if error.raw_os_error() != Some(libc::ECONNREFUSED) => Err(error.into()),
                _ => Ok(()),
            }
        })?;
        Ok(town.hears(number))
    }
    require_root!();
    let town = Town::build("net-admin")?;
    let client = town.client.unenrolled();
    for line in [
        "ip addr add 10.0.1.2/32 dev eth0",
        "ip addr add fd00::1:2/128 dev eth0 nodad",
        "ip addr add 10.0.1.77/32 dev eth0",
    ] {
        run(&client, line)?;
    }
    let macvlan = run(
        &client,
        "ip link add link eth0 name extra type macvlan mode bridge",
    );
    let mut ways: Vec<crate::town::Way> = vec![
        ("the friend's address", |town| from(town, "10.0.1.2")),
        ("the friend's address, IPv6", |town| from(town, "fd00::1:2")),
        ("an address of nobody", |town| from(town, "10.0.1.77")),
    ];
    match macvlan {
        Ok(_) => {
            run(&client, "ip addr add 10.7.0.5/32 dev extra")?;
            run(&client, "ip link set extra up")?;
            // All there is goes by the new interface.
            run(&client, "ip route add 10.0.1.1/32 dev extra")?;
            ways.push(("an interface of its own", |town| from(town, "10.7.0.5")));
        }
        Err(error) => harness::skip("an interface that a pod gives itself", &error.to_string()),
    }
    // The server's answers would go elsewhere, so only what arrives counts.
    assert!(until(crate::town::SOON, || from(&town, "10.0.1.77").is_ok_and(|it| it)));
    both(town, &ways)
}
