//! An agent that starts, or whose turn it is, does not go back behind what the one before has written, whatever the API
//! server it happens to ask knows.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::cluster::{Backend, Cluster};
use harness::{Agent, AgentBuilder, Pod, eventually, require_root, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(5);
/// A list that is refused, and the next one.
const LATER: Duration = Duration::from_secs(20);
/// The agent's file.
const PROGRESS: &str = "progress.json";

/// A cluster with the service `web`, number 10, that the pod `old` serves, and a pod `new`.
fn open(test_name: &str) -> Result<(Cluster, [Backend; 2])> {
    let cluster = Cluster::open(test_name)?;
    let backends = [cluster.backend("old", 11)?, cluster.backend("new", 12)?];
    cluster.sell("web", 10, &[&backends[0]])?;
    Ok((cluster, backends))
}

fn answered_by(cluster: &Cluster, name: &str, within: Duration) -> Result<()> {
    eventually(within, || {
        let answer = cluster.ask(10)?;
        ensure!(answer == name, "{answer} answers, not {name}");
        Ok(())
    })
}

fn noted(cluster: &Cluster) -> Result<Value> {
    let text = fs::read(cluster.sandbox.run_dir().join(PROGRESS))?;
    Ok(serde_json::from_slice(&text)?)
}

fn of_slices(noted: &Value) -> Option<u64> {
    noted["endpointslices"].as_str()?.parse().ok()
}

/// Waits until the agent has noted this version of the endpoint slices.
fn notes(cluster: &Cluster, version: u64) -> Result<()> {
    eventually(SOON, || {
        let noted = noted(cluster)?;
        ensure!(of_slices(&noted) == Some(version), "{noted}");
        Ok(())
    })
}

/// The versions that lists of the endpoint slices asked for, and the answers.
fn lists(cluster: &Cluster) -> Vec<(String, u16)> {
    let requests = cluster.server.requests().into_iter();
    requests
        .filter(|it| it.verb == "list" && it.resource == "endpointslices")
        .map(|it| (it.resource_version, it.status))
        .collect()
}

#[test]
fn a_removed_endpoint_does_not_come_back_where_a_replica_lags_behind() -> Result<()> {
    require_root!();
    let (cluster, [_old, new]) = open("lagging")?;
    let agent = cluster.agent().start()?;
    answered_by(&cluster, "old", SOON)?;
    let before = cluster.server.version();
    cluster.staff("web", &[&new])?;
    let after = cluster.server.version();
    answered_by(&cluster, "new", SOON)?;
    notes(&cluster, after)?;
    agent.kill9()?;
    drop(agent);

    cluster.server.lag_behind(before);
    cluster.server.forget_requests();
    let agent = cluster.agent().launch()?;
    let mut answers = Vec::new();
    ensure!(
        until(LATER, || {
            answers.push(cluster.ask(10).map_err(|error| error.to_string()));
            agent.ready().is_ok_and(|it| it.status == 200)
        }),
        "not ready: {}",
        agent.log()
    );
    let ready = Instant::now();
    while ready.elapsed() < Duration::from_secs(1) {
        answers.push(cluster.ask(10).map_err(|error| error.to_string()));
    }
    assert!(answers.iter().all(|it| it.as_deref() == Ok("new")), "{answers:?}");
    // What the replica can't answer, etcd does.
    assert_eq!(lists(&cluster), [(after.to_string(), 504), (String::new(), 200)]);
    cluster.server.well();
    cluster.agrees()
}

#[test]
fn a_server_that_was_set_back_does_not_lock_the_agent_out() -> Result<()> {
    require_root!();
    let (cluster, [_old, new]) = open("set-back")?;
    let agent = cluster.agent().start()?;
    answered_by(&cluster, "old", SOON)?;
    let backup = cluster.server.version();
    cluster.staff("web", &[&new])?;
    answered_by(&cluster, "new", SOON)?;
    assert!(agent.terminate()?.success(), "{}", agent.log());
    assert!(of_slices(&noted(&cluster)?) > Some(backup));
    drop(agent);

    cluster.server.restore(backup)?;
    let agent = cluster.agent().launch()?;
    ensure!(
        until(LATER, || agent.ready().is_ok_and(|it| it.status == 200)),
        "not ready: {}",
        agent.log()
    );
    answered_by(&cluster, "old", SOON)?;
    let log = agent.log();
    assert!(log.contains("older than what was seen before"), "{log}");
    // From then on the server's word counts.
    notes(&cluster, backup)?;
    cluster.agrees()
}

#[test]
fn what_can_not_be_read_counts_as_nothing() -> Result<()> {
    require_root!();
    let (cluster, _backends) = open("garbage")?;
    for garbage in [
        "{",
        r#"{"pods": "1&limit=1", "services": 4}"#,
        r#"{"pods": "-3"}"#,
    ] {
        fs::create_dir_all(cluster.sandbox.run_dir())?;
        fs::write(cluster.sandbox.run_dir().join(PROGRESS), garbage)?;
        cluster.server.forget_requests();
        let agent = cluster.agent().start()?;
        answered_by(&cluster, "old", SOON)?;
        assert_eq!(lists(&cluster), [("0".to_owned(), 200)], "{garbage}");
        assert!(agent.terminate()?.success(), "{}", agent.log());
        drop(agent);
        noted(&cluster)?;
    }
    Ok(())
}

/// Two agents, one of which waits, and what the one with the tables noted last.
struct Turn {
    first: Agent,
    second: Agent,
    backends: [Backend; 2],
    _agents: [Pod; 2],
    cluster: Cluster,
}

impl Turn {
    /// The first one has the service as it is; a change of its endpoints is held back from both.
    fn open(test_name: &str) -> Result<Self> {
        let (cluster, backends) = open(test_name)?;
        let agents = [
            cluster.sandbox.pod("agent-1", &["10.0.1.91"])?,
            cluster.sandbox.pod("agent-2", &["10.0.1.92"])?,
        ];
        let agent = |pod: &Pod| -> AgentBuilder<'_> {
            let host = cluster.sandbox.netns_dir().join("node");
            let agent = cluster.agent().inside(pod.unenrolled());
            agent.env("MESH_HOST_NETNS", host).arg("--wait-for-handover")
        };
        let first = agent(&agents[0]).start()?;
        answered_by(&cluster, "old", SOON)?;
        let second = agent(&agents[1]).start()?;
        cluster.server.hold_events("endpointslices");
        cluster.staff("web", &[&backends[1]])?;
        Ok(Self {
            first,
            second,
            backends,
            _agents: agents,
            cluster,
        })
    }

    /// The first one is killed, as if it had known of the change.
    fn begin(&self) -> Result<()> {
        let mut known = noted(&self.cluster)?;
        known["endpointslices"] = json!(self.cluster.server.version().to_string());
        let file = self.cluster.sandbox.run_dir().join(PROGRESS);
        fs::write(file, known.to_string())?;
        self.first.kill9().map(drop)
    }

    fn has_the_tables(&self) -> bool {
        self.second.log().contains("the tables are this agent's now")
    }
}

#[test]
fn whose_turn_it_is_waits_until_it_has_caught_up() -> Result<()> {
    require_root!();
    let turn = Turn::open("turn")?;
    turn.begin()?;
    sleep(Duration::from_secs(2));
    assert!(!turn.has_the_tables(), "{}", turn.second.log());
    turn.cluster.server.release_events("endpointslices");
    ensure!(until(SOON, || turn.has_the_tables()), "{}", turn.second.log());
    answered_by(&turn.cluster, "new", SOON)?;
    let log = turn.second.log();
    assert!(!log.contains("an older view"), "{log}");
    turn.cluster.agrees()
}

#[test]
fn whose_turn_it_is_goes_on_where_it_does_not_catch_up_and_says_so() -> Result<()> {
    require_root!();
    let turn = Turn::open("turn-late")?;
    let begun = Instant::now();
    turn.begin()?;
    ensure!(until(LATER, || turn.has_the_tables()), "{}", turn.second.log());
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(4), "{waited:?}");
    let log = turn.second.log();
    let line = log.lines().find(|line| line.contains("an older view"));
    let line = line.context("it does not say that it goes on")?;
    assert!(line.contains("endpointslices"), "{line}");
    answered_by(&turn.cluster, "old", SOON)?;
    turn.cluster.server.release_events("endpointslices");
    answered_by(&turn.cluster, "new", SOON)?;
    drop(turn.backends);
    Ok(())
}
