//! Before, during and after: connections that are older than the mesh or a policy, races with a change, addresses that
//! change hands, and answers that nobody asked for.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::craft;
use harness::manifest;
use harness::probe::{Number, Outcome, Protocol, heard};
use harness::traffic::Conversation;
use harness::{Pod, eventually, require_root, until};
use serde_json::json;

use crate::town::{SOON, Town, at, confine, got_through, guard, station};

fn open(pod: &Pod, to: SocketAddr) -> Result<Conversation> {
    let talk = pod.run(|| Conversation::open(to));
    talk.with_context(|| format!("{} to {to}", pod.name()))
}

/// Servers of [`Conversation`]s in the server's pod.
fn serve(town: &Town) -> Result<([SocketAddr; 2], [harness::traffic::TcpServer; 2])> {
    let to = at(&town.server, 8080);
    let [v4, v6] = to.map(|addr| town.server.serve_tcp(addr, "server"));
    Ok((to, [v4?, v6?]))
}

/// As [`guard`], for the port of [`serve`].
fn guard_talks() -> serde_json::Value {
    let mut guard = guard();
    guard["ingress"][0]["ports"] = json!([{"port": 8080}, {"port": 80, "protocol": "UDP"}]);
    guard
}

/// A policy, with nothing allowed in the direction that it says nothing of.
fn both_ways(mut policy: serde_json::Value) -> serde_json::Value {
    policy["policyTypes"] = json!(["Ingress", "Egress"]);
    policy
}

/// Waits until a connection is over, though nobody of its ends closes it.
fn ends(talk: &mut Conversation) -> Result<()> {
    let over = until(SOON, || talk.echo(b"still there?").is_err());
    ensure!(over, "the connection goes on");
    Ok(())
}

#[test]
fn connections_from_before_the_policy() -> Result<()> {
    require_root!();
    let mut town = Town::build("older")?;
    town.start()?;
    let (to, _servers) = serve(&town)?;
    for (policy, name) in [(guard_talks(), "shop/guard"), (confine(), "shop/confine")] {
        town.enforce(&[])?;
        for to in to {
            let mut friend = eventually(SOON, || open(&town.friend, to))?;
            let mut client = open(&town.client, to)?;
            client.echo(b"1")?;
            let outside = town.stranger.unenrolled();
            let mut stranger = outside.run(|| Conversation::open(to))?;
            friend.echo(b"1")?;
            town.counted(|| {
                town.enforce(&[(name, &policy)])?;
                ends(&mut client)
            })?;
            // Of the others only those go that are forbidden now.
            friend.echo(b"2").context("the friend's connection")?;
            if name == "shop/guard" {
                ends(&mut stranger).context("from outside")?;
            } else {
                stranger.echo(b"2").context("from outside")?;
            }
            town.enforce(&[])?;
            friend.echo(b"3").context("the friend's connection")?;
        }
    }
    Ok(())
}

#[test]
fn datagram_sockets_from_before_the_policy() -> Result<()> {
    require_root!();
    let mut town = Town::build("older-udp")?;
    town.start()?;
    for (policy, name) in [(guard(), "shop/guard"), (confine(), "shop/confine")] {
        for family in [0, 1] {
            town.enforce(&[])?;
            let (any, to) = (["0.0.0.0:0", "[::]:0"][family], at(&town.server, 80)[family]);
            let sockets = town.client.run(|| -> Result<_> {
                let sockets = [UdpSocket::bind(any)?, UdpSocket::bind(any)?];
                sockets[0].connect(to)?;
                Ok(sockets)
            })?;
            let say = |at: usize| {
                let number = Number::next();
                let sent = match at {
                    0 => sockets[0].send(&number.bytes()),
                    _ => sockets[1].send_to(&number.bytes(), to),
                };
                (sent, number)
            };
            for at in [0, 1] {
                let (sent, number) = say(at);
                sent?;
                ensure!(until(SOON, || heard(number)), "not heard while nobody denies");
            }
            town.enforce(&[(name, &policy)])?;
            for at in [0, 1] {
                let (_, number) = town.counted(|| Ok(say(at)))?;
                ensure!(!town.hears(number), "{name}: socket {at} is heard");
            }
        }
    }
    Ok(())
}

/// The pod is no pod of the mesh's yet when it connects: nobody knows which end opened the connection. So it is over where
/// the pod may neither open it nor take it.
#[test]
fn connections_from_before_the_mesh() -> Result<()> {
    require_root!();
    let mut town = Town::build("before")?;
    town.sandbox
        .manifests()
        .apply(&manifest::namespace("shop", false))?;
    town.start()?;
    let (guard, confine) = (both_ways(guard_talks()), both_ways(confine()));
    for policy in [("shop/guard", &guard), ("shop/confine", &confine)] {
        town.enforce(&[policy])?;
        let (to, _servers) = serve(&town)?;
        let mut talks = Vec::new();
        for to in to {
            talks.push(open(&town.client, to).context("nothing is enforced out of the mesh")?);
        }
        let mut friend = open(&town.friend, to[0])?;
        town.counted(|| {
            town.sandbox
                .manifests()
                .apply(&manifest::namespace("shop", true))?;
            talks.iter_mut().try_for_each(ends)
        })?;
        friend.echo(b"still there?").context("the friend's connection")?;
        drop(friend);
        town.sandbox
            .manifests()
            .apply(&manifest::namespace("shop", false))?;
        let out = until(SOON, || open(&town.client, to[0]).is_ok());
        ensure!(out, "the namespace does not leave the mesh");
    }
    Ok(())
}

/// Connects all the time while a policy comes: what got in by the old policy is over soon after, and nothing gets in
/// once the new one is in force.
#[test]
fn connections_that_race_a_change() -> Result<()> {
    const ROUNDS: usize = 10;
    require_root!();
    let mut town = Town::build("race")?;
    town.start()?;
    let (to, _servers) = serve(&town)?;
    let (guard, confine) = (guard_talks(), confine());
    for round in 0..ROUNDS {
        let version = [("shop/guard", &guard), ("shop/confine", &confine)][round % 2];
        let to = to[round / 2 % 2];
        town.enforce(&[])?;
        let (begins, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let (enforced, talks) = std::thread::scope(|scope| -> Result<_> {
            let connecting = scope.spawn(|| {
                town.client.run(|| {
                    let mut talks = Vec::new();
                    while !over.load(Ordering::Acquire) {
                        let begun = Instant::now();
                        if let Ok(talk) = Conversation::open_within(Duration::from_millis(500), to) {
                            talks.push((begun, talk));
                            begins.store(true, Ordering::Release);
                            // The kernel lists a connection for each of them.
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                    talks
                })
            });
            let _begun = until(SOON, || begins.load(Ordering::Acquire));
            let enforced = town.enforce(&[version]).map(|()| Instant::now());
            std::thread::sleep(Duration::from_millis(50));
            over.store(true, Ordering::Release);
            let talks = connecting.join().expect("the client panicked");
            Ok((enforced?, talks))
        })?;
        ensure!(
            !talks.is_empty(),
            "round {round}: nobody connected before the change"
        );
        for (begun, mut talk) in talks {
            ensure!(
                begun < enforced,
                "round {round}: connected {:?} after the change",
                begun - enforced
            );
            ends(&mut talk).with_context(|| format!("round {round}"))?;
        }
    }
    ensure!(town.denials()? > 0, "nothing was counted");
    Ok(())
}

/// Whoever has an address after somebody who was allowed is not allowed for that.
#[test]
fn an_address_that_changes_hands() -> Result<()> {
    require_root!();
    let guard = guard();
    let mut town = Town::guarded("reuse", &[("shop/guard", &guard)])?;
    let manifests = town.sandbox.manifests();
    let object = manifest::pod_of("shop", &town.friend, &[("app", "friend")]);
    for (family, protocol) in [
        (0, Protocol::Tcp),
        (1, Protocol::Tcp),
        (0, Protocol::Udp),
        (1, Protocol::Udp),
    ] {
        Town::passes(town.friend.place(), protocol, at(&town.server, 80)[family])?;
    }
    town.probers.remove("friend");
    town.friend.delete()?;
    manifests.delete(&object)?;
    let ips = town.friend.ips().iter().map(ToString::to_string);
    let ips: Vec<_> = ips.collect();
    let heir = town
        .sandbox
        .pod("heir", &ips.iter().map(String::as_str).collect::<Vec<_>>())?;
    manifests.apply(&manifest::pod_of("shop", &heir, &[("app", "heir")]))?;
    // From the moment that the agent knows of the heir, however it is known yet.
    let knows = || {
        let output = town.sandbox.meshctl(["pod", "list"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.contains("heir"), "{text}");
        Ok(())
    };
    eventually(SOON, knows)?;
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        for (family, protocol) in [
            (0, Protocol::Tcp),
            (1, Protocol::Tcp),
            (0, Protocol::Udp),
            (1, Protocol::Udp),
        ] {
            let to = at(&town.server, 80)[family];
            let outcome = town.counted(|| Ok(town.attempt(heir.place(), protocol, to)))?;
            ensure!(!got_through(&outcome), "{to} by {}: {outcome}", protocol.name());
        }
    }
    // And the other way round: the heir of somebody who was not allowed is no outcast.
    manifests.apply(&manifest::pod_of("shop", &heir, &[("app", "friend")]))?;
    eventually(SOON, || {
        Town::passes(heir.place(), Protocol::Tcp, at(&town.server, 80)[0])
    })
}

/// The server asks somebody outside; only that one may answer, and only from where it was asked.
#[test]
fn answers_that_nobody_asked_for() -> Result<()> {
    require_root!();
    let guard = guard();
    let town = Town::guarded("no-reply", &[("shop/guard", &guard)])?;
    for family in [0, 1] {
        let (asks, from) = (at(&town.server, 5555)[family], at(&town.stranger, 53)[family]);
        let socket = town.server.run(|| UdpSocket::bind(asks))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let hears = |wait: bool| -> Result<Option<SocketAddr>> {
            let mut buffer = [0; 64];
            socket.set_read_timeout(Some(Duration::from_millis(if wait { 2_000 } else { 50 })))?;
            Ok(socket.recv_from(&mut buffer).ok().map(|(_, from)| from))
        };
        let answer = |pod: &Pod, port: u16| -> Result<()> {
            let packet = craft::udp(at(pod, port)[family], asks, b"12345678");
            let station = station(&town.server)?;
            pod.unenrolled()
                .run(|| craft::send_frame(&packet, station, false))?;
            Ok(())
        };
        town.counted(|| answer(&town.stranger, 53))?;
        ensure!(hears(false)?.is_none(), "before anything was asked");
        socket.send_to(b"12345678", from)?;
        ensure!(hears(true)? == Some(from), "the answer does not come");
        answer(&town.stranger, 53)?;
        ensure!(hears(true)? == Some(from), "nor one more of whom was asked");
        for (pod, port) in [(&town.stranger, 54), (&town.client, 53)] {
            town.counted(|| answer(pod, port))?;
            ensure!(hears(false)?.is_none(), "{} answers from {port}", pod.name());
        }
    }
    Ok(())
}

/// Nobody is allowed by an address that two pods claim.
#[test]
fn an_address_that_two_pods_claim() -> Result<()> {
    require_root!();
    let guard = guard();
    let town = Town::guarded("claimed", &[("shop/guard", &guard)])?;
    let claim = manifest::pod("shop", "claimant", &[("app", "friend")], &[town.client.v4()]);
    town.sandbox.manifests().apply(&claim)?;
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        let outcome = town.attempt(town.client.place(), Protocol::Tcp, at(&town.server, 80)[0]);
        ensure!(outcome == Outcome::Refused, "{outcome}");
    }
    ensure!(town.denials()? > 0, "nothing was counted");
    Ok(())
}
