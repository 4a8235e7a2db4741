//! The broker: it looks after the agent, as process 1 of its container does.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::background::under_traffic;
use harness::{Agent, Market, eventually, patient, require, require_root, until};
use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(5);

/// Children of a process.
fn children(pid: u32) -> Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?)
}

/// The agent that a broker looks after.
fn child(broker: &Agent) -> Result<u32> {
    match children(broker.program().pid())?[..] {
        [child] => Ok(child),
        ref others => anyhow::bail!("not one child: {others:?}"),
    }
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid.try_into()?).context("no process")?;
    Ok(kill_process(pid, signal)?)
}

/// A line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name}"))?.trim().to_owned())
}

/// Waits for another child than this; how long that took.
fn replaced(broker: &Agent, before: u32) -> Result<(u32, Duration)> {
    let started = Instant::now();
    let next = || child(broker).ok().filter(|next| *next != before).ok_or(());
    let next = eventually(SOON, next).map_err(|()| anyhow::anyhow!("not started again: {}", broker.log()))?;
    Ok((next, started.elapsed()))
}

#[test]
fn an_agent_that_crashed_is_back_at_once() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("broker")?;
    let broker = market.sandbox.agent().supervised(&[]).start()?;
    let before = market.installed()?;
    let first = child(&broker)?;
    let (spread, _) = under_traffic(&market, |traffic| {
        traffic.wait(300)?;
        signal(first, Signal::KILL)?;
        let (second, took) = replaced(&broker, first)?;
        println!("started again after {took:?}");
        ensure!(took < patient(Duration::from_millis(200)), "{took:?}");
        let pid = || -> Result<()> {
            let status: serde_json::Value = serde_json::from_str(&market.sandbox.admin("/v1/status")?.body)?;
            ensure!(
                status["pid"] == second && status["pending"] == serde_json::json!([]),
                "{status}"
            );
            Ok(())
        };
        eventually(SOON, pid)?;
        traffic.wait(300)
    })?;
    spread.assert_even(&["web-1", "web-2"]);
    assert_eq!(market.installed()?, before);
    let log = broker.log();
    assert!(
        log.contains("the agent crashed") && log.contains("signal 9"),
        "{log}"
    );
    Ok(())
}

/// Takes a few seconds: that is what is measured.
#[test]
fn slow_crashes_in_a_row_take_longer_and_longer() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("back-off")?;
    let broker = market.sandbox.agent().supervised(&[]).start()?;
    let mut current = child(&broker)?;
    let mut pauses = Vec::new();
    for _ in 0..3 {
        signal(current, Signal::KILL)?;
        let (next, took) = replaced(&broker, current)?;
        pauses.push(took.as_secs_f64());
        current = next;
    }
    assert!(pauses[0] < 0.9, "{pauses:?}");
    assert!((0.9..1.9).contains(&pauses[1]), "{pauses:?}");
    assert!(pauses[2] >= 1.9, "{pauses:?}");
    // Told to end in a pause, it ends.
    signal(current, Signal::KILL)?;
    assert!(until(SOON, || child(&broker).is_err()));
    let status = broker.terminate()?;
    assert_eq!(status.code(), Some(0), "{}", broker.log());
    assert_eq!(market.ask(10)?.get(..4), Some("web-"));
    Ok(())
}

#[test]
fn both_end_when_told_to() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("told")?;
    for told in [Signal::TERM, Signal::INT] {
        let broker = market.sandbox.agent().supervised(&[]).start()?;
        let agent = child(&broker)?;
        broker.program().signal(told)?;
        let status = broker.program().wait(patient(SOON))?;
        assert_eq!(status.code(), Some(0), "{}", broker.log());
        assert!(!fs::exists(format!("/proc/{agent}"))?);
        assert!(broker.log().contains("the kernel goes on"), "{}", broker.log());
    }
    Ok(())
}

#[test]
fn an_agent_that_does_not_end_in_time_is_killed() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("stuck")?;
    let broker = market
        .sandbox
        .agent()
        .supervised(&["--grace-period", "0.5"])
        .start()?;
    let agent = child(&broker)?;
    signal(agent, Signal::STOP)?;
    let started = Instant::now();
    let status = broker.terminate()?;
    let took = started.elapsed();
    assert_eq!(status.code(), Some(137), "{}", broker.log());
    assert!(
        took >= Duration::from_millis(450) && took < patient(SOON),
        "{took:?}"
    );
    assert!(broker.log().contains("did not end in time"), "{}", broker.log());
    Ok(())
}

#[test]
fn the_agent_ends_with_a_broker_that_is_killed() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("orphaned")?;
    let broker = market.sandbox.agent().supervised(&[]).start()?;
    let agent = child(&broker)?;
    broker.kill9()?;
    // It ends by itself, and so somebody else gets what it held.
    let elsewhere = market.sandbox.pod("agent", &["10.0.1.99"])?;
    let next = market.sandbox.agent().inside(elsewhere.unenrolled());
    let next = next.env("MESH_HOST_NETNS", market.sandbox.netns_dir().join("node"));
    let next = next.arg("--wait-for-handover").start()?;
    let has = || -> Result<()> {
        let status: serde_json::Value = serde_json::from_str(&market.sandbox.admin("/v1/status")?.body)?;
        ensure!(status["pid"] == next.program().pid(), "{status}");
        Ok(())
    };
    eventually(SOON, has)?;
    assert!(
        broker.log().contains("the kernel goes on"),
        "{agent}: {}",
        broker.log()
    );
    Ok(())
}

#[test]
fn what_the_agent_refuses_reaches_whoever_started_it() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("refuses")?;
    let usage = market
        .sandbox
        .agent()
        .supervised(&[])
        .arg("--no-such-option")
        .launch()?;
    let status = usage.program().wait(patient(SOON))?;
    assert_eq!(status.code(), Some(2), "{}", usage.log());
    assert!(usage.log().contains("--no-such-option"), "{}", usage.log());

    let nowhere = "/nowhere/bpf";
    let refused = market
        .sandbox
        .agent()
        .supervised(&[])
        .arg("--bpffs")
        .arg(nowhere)
        .launch()?;
    let status = refused.program().wait(patient(SOON))?;
    let said = refused.log();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(nowhere), "{said}");
    assert_eq!(said.matches("the agent is started").count(), 1, "{said}");
    Ok(())
}

#[test]
fn is_small_and_may_do_nothing_special() -> Result<()> {
    require!(harness::require::root(), harness::require::program("setpriv"));
    let (market, _web) = Market::with_web("small")?;
    // Where no process may gain privileges, the agent still gets what the broker does without.
    let nobody_gains = ["setpriv", "--no-new-privs"];
    let broker = market
        .sandbox
        .agent()
        .supervised(&[])
        .under(&nobody_gains)
        .start()?;
    let (pid, agent) = (broker.program().pid(), child(&broker)?);
    assert_eq!(status(pid, "CapEff")?, "0000000000000000");
    assert_ne!(status(agent, "CapEff")?, "0000000000000000");
    // While it starts a thread all signals are blocked, for a moment.
    let hears = || status(agent, "SigBlk").is_ok_and(|blocked| blocked == "0000000000000000");
    assert!(until(SOON, hears), "{:?}", status(agent, "SigBlk"));
    assert_eq!(status(agent, "Name")?, "mesh-agent");
    assert_eq!(status(pid, "Threads")?, "1");
    println!(
        "broker: {} resident, {} of it its own",
        status(pid, "VmRSS")?,
        status(pid, "RssAnon")?
    );
    let own: u64 = status(pid, "RssAnon")?.trim_end_matches(" kB").parse()?;
    assert!(own < 4_096, "{own} kB");
    Ok(())
}

/// In a process namespace of its own, orphans come to the broker, and signals have no default action.
#[test]
fn reaps_orphans_as_process_1() -> Result<()> {
    require!(
        harness::require::root(),
        harness::require::programs(&["unshare", "nsenter"])
    );
    let (market, _web) = Market::with_web("process-1")?;
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let outer = market.sandbox.agent().supervised(&[]).under(&unshare).start()?;
    let [broker] = children(outer.program().pid())?[..] else {
        anyhow::bail!("no broker");
    };
    assert!(
        status(broker, "NSpid")?.ends_with("\t1"),
        "{}",
        status(broker, "NSpid")?
    );
    let [agent] = children(broker)?[..] else {
        anyhow::bail!("no agent");
    };
    // The shell ends at once and leaves `sleep` to process 1.
    let enter = Command::new("nsenter")
        .args([
            "--pid",
            "--target",
            &broker.to_string(),
            "sh",
            "-c",
            "sleep 0.5 &",
        ])
        .status()?;
    ensure!(enter.success(), "{enter}");
    let orphan = || children(broker).is_ok_and(|children| children.len() == 2);
    assert!(until(SOON, orphan), "{:?}", children(broker)?);
    let reaped = || children(broker).is_ok_and(|children| children == [agent]);
    assert!(until(SOON, reaped), "{:?}", children(broker)?);
    signal(agent, Signal::KILL)?;
    let back = || children(broker).is_ok_and(|children| matches!(children[..], [next] if next != agent));
    assert!(until(SOON, back), "{}", outer.log());
    sleep(Duration::from_millis(300));
    assert_eq!(eventually(SOON, || market.ask(10))?.get(..4), Some("web-"));
    signal(broker, Signal::TERM)?;
    let status = outer.program().wait(patient(SOON))?;
    assert_eq!(status.code(), Some(0), "{}", outer.log());
    Ok(())
}
