//! Bytes between two pods of one node that ask for it go past TCP.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::until;

use crate::latency::Way;
use crate::narrator::Narrator;
use crate::ratio::{Ratio, median};
use crate::town::Town;

const ROUNDS: usize = 12;
const SOON: Duration = Duration::from_secs(10);
const ANNOTATE: &str =
    r"sed -i '/labels:/i\  annotations:\n    mesh-agent.io/acceleration: socket' namespaces.yaml";
const REDIRECTED: &str = "curl -s localhost:15020/metrics | \
    awk '/^mesh_redirected_received_messages_total.*reporter=\"destination\"/ {print \"messages past TCP:\", $NF}'";

/// Asks for it, and measures with and without, in turns.
pub fn show(town: &Town, narrator: &mut Narrator) -> Result<()> {
    narrator.step("Acceleration: from socket to socket, past TCP, where both pods ask for it")?;
    let node = town.node();
    let probed = || {
        node.run_quietly("meshctl accel status")
            .is_ok_and(|text| !text.contains("not probed"))
    };
    ensure!(until(SOON, probed), "the agent has not probed the kernel");
    node.run("meshctl accel status", narrator)?;
    if !node
        .run_quietly("meshctl accel status")?
        .contains("Applications:    enabled")
    {
        narrator.say("this kernel can't: the rest of this step is left out")?;
        return Ok(());
    }
    let directory = town.sandbox.manifests().dir().display().to_string();
    node.run(
        &format!("cd {directory} && {ANNOTATE} && head -8 namespaces.yaml"),
        narrator,
    )?;
    let way = Way::through_the_mesh(town);
    let enrolls =
        || way.time_of_a_request().is_ok() && node.run_quietly(REDIRECTED).is_ok_and(|text| !text.is_empty());
    ensure!(until(SOON, enrolls), "nothing is redirected");
    narrator.say(&format!(
        "client-1 asks redis again, {ROUNDS} rounds with the redirect and without it (`meshctl accel disable`), in turns:"
    ))?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.push(way.time_of_a_request()?);
        node.run_quietly("meshctl accel disable")?;
        without.push(way.time_of_a_request()?);
        node.run_quietly("meshctl accel enable")?;
    }
    let micros = |times: &[f64]| median(times).context("nothing was measured");
    let ratio = Ratio::of_pairs(&with, &without).context("nothing was measured")?;
    narrator.output(&format!(
        "a request: {:.1} µs past TCP, {:.1} µs by TCP, {ratio}\n",
        micros(&with)?,
        micros(&without)?
    ))?;
    node.run(REDIRECTED, narrator)?;
    Ok(())
}
