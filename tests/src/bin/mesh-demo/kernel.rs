//! What the kernel holds, and what it tells while it happens.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::until;

use crate::narrator::Narrator;
use crate::town::Town;

const SOON: Duration = Duration::from_secs(5);

/// Status, services, live connections and rates, under load.
pub fn show(town: &Town, narrator: &mut Narrator) -> Result<()> {
    narrator.step("What the kernel holds, read by meshctl while wrk keeps connections open")?;
    let load = town
        .terminal("client-1")
        .start("wrk -t1 -c8 -d3s http://10.96.0.10/", narrator)?;
    let node = town.node();
    node.run("meshctl status", narrator)?;
    node.run("meshctl service list", narrator)?;
    let service = "meshctl connection list --service shop/web";
    let listed = || {
        node.run_quietly(service)
            .is_ok_and(|list| list.contains("client-1"))
    };
    ensure!(until(SOON, listed), "no connection of wrk is listed");
    node.run(service, narrator)?;
    node.run("meshctl top --once", narrator)?;
    load.wait(SOON)?;
    narrator.say("meanwhile wrk in client-1:")?;
    let log = load.log();
    ensure!(log.contains("Requests/sec"), "wrk failed: {log}");
    ensure!(
        !log.contains("Socket errors") && !log.contains("Non-2xx"),
        "wrk met errors: {log}"
    );
    narrator.output(&log)?;
    Ok(())
}

/// The flow log.
pub fn show_flows(town: &Town, narrator: &mut Narrator) -> Result<()> {
    narrator.step("The flow log: connections as they open and close")?;
    let node = town.node();
    let flows = node.start("meshctl flows -f --last 0", narrator)?;
    let client = town.terminal("client-2");
    // It follows once it shows something.
    let follows = || {
        // What fails here shows in what is missing.
        let _ = client.run_quietly("curl -sS http://10.96.0.10/");
        !flows.log().is_empty()
    };
    ensure!(until(SOON, follows), "no flow is shown: {}", flows.log());
    client.run("curl -sS http://10.96.0.10/", narrator)?;
    client.run("redis-cli -h 10.96.0.20 incr visits", narrator)?;
    let both = || flows.log().contains("shop/web") && flows.log().contains("shop/cache");
    ensure!(until(SOON, both), "flows are missing: {}", flows.log());
    flows.terminate()?;
    narrator.say("what meshctl printed meanwhile:")?;
    narrator.output(&flows.log())?;
    Ok(())
}
