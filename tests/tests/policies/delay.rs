//! How soon a denial is known: to the caller, and to the operator.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::{Program, require_root, until};
use serde_json::json;

use crate::town::Town;

/// Tries of each kind.
const TRIES: usize = 200;
/// It takes tens of microseconds; a machine that does other things, too, now and then takes longer.
const SOON: Duration = Duration::from_millis(20);
const OPERATOR: Duration = Duration::from_millis(100);

/// The median of the times until an attempt is refused; every one must be.
fn median(mut attempt: impl FnMut() -> std::io::Result<()>) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..TRIES {
        let start = Instant::now();
        let error = attempt().err().context("it was not denied")?;
        times.push(start.elapsed());
        ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
    }
    times.sort_unstable();
    Ok(times[TRIES / 2])
}

fn unconnected(to: SocketAddr) -> Result<Duration> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    median(|| socket.send_to(b"1", to).map(drop))
}

#[test]
fn a_caller_knows_at_once() -> Result<()> {
    require_root!();
    let town = Town::build("caller")?;
    let _agent = town.sandbox.agent().start()?;
    let out = json!({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"]});
    let into = json!({"podSelector": {"matchLabels": {"pod": "b"}}, "policyTypes": ["Ingress"]});
    town.policies
        .switch(&town.sandbox, &[("x/out", &out), ("x/in", &into)])?;
    // Its own rules; those of the destination; those of the destination, where the caller is no pod of ours.
    let ways = [
        ("x/a", "x/c", true),
        ("x/c", "x/b", true),
        ("world", "x/b", false),
    ];
    for (from, to, is_ours) in ways {
        for family in [0, 1] {
            let to = town.parties.iter().find(|it| it.name == to).context("a party")?;
            let to = SocketAddr::new(to.ips[family], 80);
            let pod = town.pod(from);
            let place = if is_ours {
                pod.place().clone()
            } else {
                pod.unenrolled()
            };
            let tcp = place.run(|| median(|| TcpStream::connect(to).map(drop)));
            let tcp = tcp.with_context(|| format!("{from} to {to} by TCP"))?;
            println!("{from} to {to}: TCP refused after {tcp:?} (median of {TRIES})");
            ensure!(tcp < harness::patient(SOON), "{from} to {to}: {tcp:?}");
            if is_ours {
                let udp = place.run(|| unconnected(to));
                let udp = udp.with_context(|| format!("{from} to {to} by UDP"))?;
                println!("{from} to {to}: UDP refused after {udp:?} (median of {TRIES})");
                ensure!(udp < harness::patient(SOON), "{from} to {to}: {udp:?}");
            }
        }
    }
    Ok(())
}

/// The line about a denial towards a port, once there is one.
fn line(follower: &Program, port: u16) -> Option<String> {
    let port = format!(":{port}");
    let log = follower.log();
    let fits = |line: &&str| line.split_whitespace().any(|word| word.ends_with(&port));
    log.lines().find(fits).map(str::to_owned)
}

#[test]
fn an_operator_who_looks_on_knows_soon_and_by_whose_rule() -> Result<()> {
    require_root!();
    let town = Town::build("operator")?;
    let _agent = town.sandbox.agent().start()?;
    let into = json!({"podSelector": {"matchLabels": {"pod": "b"}}, "policyTypes": ["Ingress"]});
    town.policies.switch(&town.sandbox, &[("x/nobody-in", &into)])?;
    let follow = town.sandbox.node().command(harness::meshctl()?);
    let follow = follow.args(["flows", "--verdict", "denied", "-f"]);
    let follow = follow.arg("--bpffs").arg(town.sandbox.bpffs());
    let follower = follow.arg("--run-dir").arg(town.sandbox.run_dir()).start()?;
    let to = |port| SocketAddr::new(town.pod("x/b").v4(), port);
    let deny = |port| {
        let answer = town.pod("x/a").run(|| TcpStream::connect(to(port)));
        let refused = answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        ensure!(refused, "it was not refused");
        Ok(())
    };
    // It takes a moment until somebody looks on.
    let mut ports = 20_000..;
    let follows = until(Duration::from_secs(5), || {
        let port = ports.next().unwrap_or_default();
        deny(port).is_ok() && until(Duration::from_millis(50), || line(&follower, port).is_some())
    });
    ensure!(follows, "nothing is shown: {}", follower.tail());
    let mut times = Vec::new();
    for port in 30_000..30_020 {
        let start = Instant::now();
        deny(port)?;
        let shown = until(Duration::from_secs(2), || line(&follower, port).is_some());
        let took = start.elapsed();
        let line = line(&follower, port).unwrap_or_default();
        ensure!(
            shown && line.contains("nobody-in"),
            "{line:?} in {}",
            follower.log()
        );
        times.push(took);
    }
    times.sort_unstable();
    let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "shown after {median:?} (median of {}), {last:?} at most",
        times.len()
    );
    ensure!(median < harness::patient(OPERATOR), "{times:?}");
    Ok(())
}
