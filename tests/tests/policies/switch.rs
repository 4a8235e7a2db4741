//! Switches between policies while traffic goes on: at no moment is anything judged by half of a change.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::probe::Protocol;
use harness::traffic::{Conversation, ask_udp_connected};
use harness::{Pod, require_root, scaled};
use serde_json::{Value, json};

use crate::town::Town;

type Version<'a> = &'a [(&'a str, &'a Value)];
/// Whether somebody answers.
type Ask = fn(SocketAddr) -> bool;

/// Tries that ended well, and others.
#[derive(Debug, Default)]
struct Counts {
    passed: AtomicU32,
    failed: AtomicU32,
}

impl Counts {
    fn add(&self, passed: bool) {
        let count = if passed { &self.passed } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> (u32, u32) {
        (
            self.passed.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }
}

/// Flips between two versions, and counts what the clients of `x/b` meet at `x/a` meanwhile: by TCP, by UDP.
fn flip(test_name: &str, versions: [Version<'_>; 2]) -> Result<[(u32, u32); 2]> {
    let town = Town::build(test_name)?;
    let _agent = town.sandbox.agent().start()?;
    town.policies.switch(&town.sandbox, versions[0])?;
    let (client, server) = (town.pod("x/b"), town.pod("x/a"));
    let to = SocketAddr::new(server.v4(), 9000);
    let _servers = (server.serve_tcp(to, "a")?, server.serve_udp(to, "a")?);
    let (over, counts) = (AtomicBool::new(false), [Counts::default(), Counts::default()]);
    let clients: [(_, Ask); 2] = [(&counts[0], tcp), (&counts[1], udp)];
    std::thread::scope(|scope| {
        for (count, attempt) in clients {
            let over = &over;
            scope.spawn(move || work(client, to, over, count, attempt));
        }
        let flips = scaled(200, 30);
        let flipped = (0..flips).try_for_each(|round| {
            let version = versions[(round + 1) % 2];
            town.policies.switch(&town.sandbox, version)
        });
        over.store(true, Ordering::Release);
        flipped
    })?;
    let counts = counts.each_ref().map(Counts::read);
    println!(
        "{test_name}: {} (passed, failed) {counts:?}",
        Protocol::ALL[..2]
            .iter()
            .map(|it| it.name())
            .collect::<Vec<_>>()
            .join(", ")
    );
    Ok(counts)
}

fn work(client: &Pod, to: SocketAddr, over: &AtomicBool, counts: &Counts, attempt: Ask) {
    client.run(|| {
        while !over.load(Ordering::Acquire) {
            counts.add(attempt(to));
        }
    });
}

fn tcp(to: SocketAddr) -> bool {
    let talk = Conversation::open_within(Duration::from_secs(3), to);
    talk.and_then(|mut talk| talk.echo(b"still there?").map(drop))
        .is_ok()
}

fn udp(to: SocketAddr) -> bool {
    let ask = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(to)?;
        ask_udp_connected(&socket)
    };
    ask().is_ok()
}

#[test]
fn between_policies_that_both_allow_nothing_fails() -> Result<()> {
    require_root!();
    let everywhere = [json!({"port": 9000}), json!({"port": 9000, "protocol": "UDP"})];
    let by_pod = json!({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}], "ports": everywhere}]});
    // Other labels, so other classes; and an egress side that comes and goes.
    let by_tier = json!({"podSelector": {"matchLabels": {"tier": "front"}},
        "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "red"}},
                               "podSelector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["back"]}]}}]}]});
    let out = json!({"podSelector": {"matchLabels": {"pod": "b"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"tier": "front"}}}]}]});
    let versions: [Version<'_>; 2] = [&[("x/p", &by_pod)], &[("x/q", &by_tier), ("x/out", &out)]];
    for (passed, failed) in flip("both-allow", versions)? {
        ensure!(failed == 0 && passed > 100, "{passed} passed, {failed} failed");
    }
    Ok(())
}

#[test]
fn between_policies_that_both_deny_nothing_passes() -> Result<()> {
    require_root!();
    let nobody = json!({"podSelector": {"matchLabels": {"pod": "a"}}});
    let others = json!({"podSelector": {"matchLabels": {"tier": "front"}}, "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}]}, {"ports": [{"port": 9001}]}]});
    let out = json!({"podSelector": {"matchLabels": {"tier": "back"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"pod": "c"}}}]}]});
    let versions: [Version<'_>; 2] = [&[("x/p", &nobody)], &[("x/p", &others), ("x/out", &out)]];
    for (passed, failed) in flip("both-deny", versions)? {
        ensure!(passed == 0 && failed > 100, "{passed} passed, {failed} failed");
    }
    Ok(())
}

/// One denies where the caller is, the other where it goes: in between there is no moment without either.
#[test]
fn from_one_end_to_the_other_nothing_passes() -> Result<()> {
    require_root!();
    let at_server = json!({"podSelector": {"matchLabels": {"pod": "a"}}});
    let at_client = json!({"podSelector": {"matchLabels": {"pod": "b"}}, "policyTypes": ["Egress"]});
    let versions: [Version<'_>; 2] = [
        &[("x/a", &at_server)],
        &[("x/a", &at_server), ("x/b", &at_client)],
    ];
    for (passed, failed) in flip("both-ends", versions)? {
        ensure!(passed == 0 && failed > 100, "{passed} passed, {failed} failed");
    }
    Ok(())
}
