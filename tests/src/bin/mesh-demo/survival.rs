//! The agent dies; nobody notices.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{Program, until};

use crate::counting::Tries;
use crate::narrator::Narrator;
use crate::town::{Town, log_end};

const SOON: Duration = Duration::from_secs(10);
/// Connections to wait for in each phase.
const PATIENCE: usize = 60;
const LOOP: &str = "while :; do curl -s -m 2 -o /dev/null -w '%{http_code}\\n' http://10.96.0.10/; done";
/// By name and id; what lists connections is made anew with each agent.
const LINKS: &str = r#"meshctl link list | awk '$4 != "iter" {print $1, $2}'"#;
const LINK: &str = "meshctl link list | grep -E '^NAME|connect4'";

/// Kills the agent under load and starts another.
pub fn show(town: &mut Town, narrator: &mut Narrator) -> Result<()> {
    narrator.step("kill -9 of the agent, under a loop of new connections")?;
    let node = town.node();
    let links = node.run_quietly(LINKS)?;
    node.run(LINK, narrator)?;
    let load = town.terminal("client-2").start_script(LOOP, narrator)?;
    let before = more(&load, Tries::default())?;
    let pid = town.agent()?.program().pid();
    let died = Instant::now();
    node.run(&format!("kill -9 {pid}"), narrator)?;
    town.agent()?.program().wait(SOON)?;
    narrator.say("meshctl reads the pinned maps; nobody has to answer it, and it says so:")?;
    let status = node.try_run("meshctl status | head -4", narrator)?;
    ensure!(!status.stdout.is_empty(), "meshctl says nothing");
    node.run("meshctl service list", narrator)?;
    let dead = more(&load, before)?;
    let gap = died.elapsed();
    narrator.say("a new agent, with the same arguments:")?;
    town.agent()?.restart()?;
    narrator.output(&log_end(&town.agent()?.log(), 3))?;
    let starting = Tries::read(&load.log());
    let back = more(&load, starting)?;
    load.terminate()?;
    narrator.say("what the loop of connections in client-2 saw:")?;
    for (phase, tries) in [
        ("with the agent", before),
        ("while there was none", dead.since(before)),
        ("while the new one started", starting.since(dead)),
        ("with the new one", back.since(starting)),
    ] {
        narrator.output(&format!(
            "{:<28}{:>5} ok {:>3} failed\n",
            phase, tries.good, tries.failed
        ))?;
    }
    narrator.say(&format!("no agent ran for {:.1} s", gap.as_secs_f64()))?;
    ensure!(back.failed == 0, "{} connections failed", back.failed);
    narrator.say("the new agent runs in the links of the old one, by their ids:")?;
    node.run(LINK, narrator)?;
    ensure!(
        node.run_quietly(LINKS)? == links,
        "the new agent made links of its own"
    );
    Ok(())
}

/// Waits for more connections than `earlier`, and counts all.
fn more(load: &Program, earlier: Tries) -> Result<Tries> {
    let count = || Tries::read(&load.log());
    let enough = || count().since(earlier).good >= PATIENCE;
    ensure!(
        until(SOON, enough),
        "the loop of connections stands still: {}",
        load.tail()
    );
    Ok(count())
}
