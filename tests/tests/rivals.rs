//! A socket load balancer of another tool that runs before ours is named, with the setting that changes it.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::foreign::{self, Verdict};
use harness::{Market, eventually, require_root};

/// The agent looks every ten seconds.
const SOON: Duration = Duration::from_secs(30);
const SETTING: &str = "socketLB.hostNamespaceOnly=true";

/// What a command prints, also where it says that something is wrong.
fn shown(market: &Market, line: &str) -> Result<String> {
    Ok(String::from_utf8(market.sandbox.meshctl([line])?.stdout)?)
}

#[test]
fn who_runs_before_ours_is_named_with_the_setting() -> Result<()> {
    require_root!();
    let (market, _backends) = Market::with_web("rivals")?;
    let cilium = foreign::connect4(market.sandbox.cgroup(), "cil_sock4_connect", Verdict::Allow)?;
    let _other = foreign::connect4(market.sandbox.cgroup(), "somebody", Verdict::Allow)?;
    let agent = market.sandbox.agent().start()?;
    let seen = "the socket load balancer of Cilium (cil_sock4_conne) runs before ours";
    eventually(SOON, || {
        let ready = agent.ready()?;
        ensure!(ready.status == 200, "it keeps nobody from being ready: {ready:?}");
        let said = ready
            .body
            .lines()
            .find(|line| line.starts_with("socket load balancers: "));
        ensure!(
            said.is_some_and(|it| it.contains(seen) && it.contains(SETTING)),
            "{ready:?}"
        );
        Ok(())
    })?;
    let log = agent.log();
    ensure!(log.contains(seen) && log.contains(SETTING), "{log}");
    let status = shown(&market, "status")?;
    ensure!(
        status.contains("Services may not come to the mesh:\n"),
        "{status}"
    );
    ensure!(status.contains(&format!("{seen}: set {SETTING}")), "{status}");
    let check = shown(&market, "check")?;
    ensure!(
        check.contains("FAIL  services come to the mesh: none did yet"),
        "{check}"
    );
    // It leaves the pods to us, as it would with that setting.
    market.ask(10)?;
    let check = shown(&market, "check")?;
    ensure!(
        check.contains("ok    services come to the mesh: 1 did, although"),
        "{check}"
    );

    drop(cilium);
    eventually(SOON, || {
        let ready = agent.ready()?;
        ensure!(!ready.body.contains("socket load balancers"), "{ready:?}");
        Ok(())
    })?;
    let check = shown(&market, "check")?;
    ensure!(
        check.contains("ok    services come to the mesh: no other"),
        "{check}"
    );
    Ok(())
}

#[test]
fn who_runs_after_ours_takes_nothing() -> Result<()> {
    require_root!();
    let (market, _backends) = Market::with_web("rivals-after")?;
    let _agent = market.sandbox.agent().start()?;
    let _calico = foreign::connect4(market.sandbox.cgroup(), "calico_connect_v4", Verdict::Allow)?;
    let check = shown(&market, "check")?;
    ensure!(
        check.contains("ok    services come to the mesh: no other"),
        "{check}"
    );
    ensure!(!shown(&market, "status")?.contains("Calico"));
    Ok(())
}
