//! `--packets off`: no program sees the packets of pods.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Market, require_root, until};

const SOON: Duration = Duration::from_secs(5);
const PROGRAMS: [&str; 2] = ["mesh_from_pod_", "mesh_to_pod_"];

/// Whether both packet programs are attached somewhere; an error where only one is.
fn attached(market: &Market) -> Result<bool> {
    let pins = market.sandbox.census()?.pins;
    let has = |program: &str| pins.iter().any(|pin| pin.to_string_lossy().contains(program));
    let [from, to] = PROGRAMS.map(has);
    ensure!(from == to, "{pins:?}");
    Ok(from)
}

#[test]
fn an_agent_that_counts_no_packets_removes_the_programs_of_one_that_did() -> Result<()> {
    require_root!();
    let market = Market::open("packets-off", true)?;
    let agent = market.sandbox.agent().start()?;
    ensure!(
        until(SOON, || attached(&market).is_ok_and(|attached| attached)),
        "packets are not counted"
    );
    agent.terminate()?;
    ensure!(attached(&market)?, "the programs went with their agent");

    let without = market.sandbox.agent().arg("--packets").arg("off").start()?;
    ensure!(
        until(SOON, || attached(&market).is_ok_and(|attached| !attached)),
        "packets are still counted"
    );
    without.terminate()?;

    let _again = market.sandbox.agent().start()?;
    ensure!(
        until(SOON, || attached(&market).is_ok_and(|attached| attached)),
        "packets are not counted again"
    );
    Ok(())
}
