//! Endpoints that change all the time, in a cluster of some size.
//!
//! `cargo xtask test --long` does it as large as it must hold: 30,000 pods, 1,000 changes a second for a minute, with
//! an optimized agent (`cargo xtask build --release`). The usual form is small, since it runs beside other tests with
//! an agent that is not optimized; for the same reason its limit is ten times longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::cluster::{Cluster, RESOURCES};
use harness::crowd::{self, Crowd};
use harness::tables::Tables;
use harness::{
    Agent, AgentBuilder, eventually, is_long, metrics, patient, require, require_root, scaled, until,
};
use mesh_common::abi::map;
use mesh_common::addr::Protocol;

const SOON: Duration = Duration::from_secs(10);
/// Of so many changes the time of one is taken.
const SAMPLED: usize = 20;
/// Services whose times are taken; nothing else happens to them.
const WATCHED: usize = 50;
/// What follows the cluster.
const TABLES: [&str; 7] = [
    map::PODS,
    map::WORKLOADS,
    map::SERVICES,
    map::SERVICE_INFO,
    map::LB_TABLE,
    map::BACKENDS,
    map::MEMBERS,
];

/// A cluster whose endpoints change.
struct Scene {
    crowd: Crowd,
    /// Changes per second.
    rate: u32,
    agent: Agent,
    tables: Tables,
    cluster: Cluster,
}

/// A change whose time is taken.
struct Sample {
    service: usize,
    expected: BTreeSet<SocketAddr>,
    written: Instant,
}

impl Scene {
    fn open() -> Result<Self> {
        let crowd = Crowd::new(scaled(30_000, 1_200));
        let cluster = Cluster::open("churn")?;
        crowd.join(&cluster)?;
        let agent = crowd.agent(&cluster);
        let agent = optimized().iter().fold(agent, AgentBuilder::binary).launch()?;
        let ready = || agent.ready().is_ok_and(|it| it.status == 200);
        ensure!(until(Duration::from_mins(2), ready), "{}", agent.log());
        Ok(Self {
            crowd,
            rate: scaled(1_000, 300),
            tables: Tables::open(&cluster.sandbox)?,
            agent,
            cluster,
        })
    }

    /// Which service the change of that number is about, and which of its pods it takes away: the one that the
    /// change before it took comes back.
    fn change(&self, number: usize) -> (usize, usize) {
        let (turn, step) = (number / SAMPLED, number % SAMPLED);
        if step == 0 {
            return (turn % WATCHED, turn / WATCHED % 6);
        }
        let others = self.crowd.services() - WATCHED;
        let number = turn * (SAMPLED - 1) + step - 1;
        (WATCHED + number % others, number / others % 6)
    }

    fn expected(&self, service: usize, absent: usize) -> BTreeSet<SocketAddr> {
        let addresses = self.crowd.addresses(service, Some(absent)).into_iter();
        addresses.map(|ip| (ip, 8080).into()).collect()
    }

    fn holds(&self, service: usize, expected: &BTreeSet<SocketAddr>) -> bool {
        let found = self
            .tables
            .endpoints((crowd::vip(service), 80).into(), Protocol::Tcp);
        found.is_ok_and(|found| found.as_ref() == Some(expected))
    }

    /// Changes endpoints, at the rate; how long each sample took until it was in the kernel, in order.
    fn churn(&self, numbers: std::ops::Range<usize>) -> Result<Vec<Duration>> {
        let (samples, inbox) = channel();
        let mut times = scope(|threads| {
            let watcher = threads.spawn(move || self.watch(&inbox));
            let written = self.write(numbers, &samples);
            drop(samples);
            let times = watcher.join().expect("no panic");
            written.and(times)
        })?;
        times.sort_unstable();
        Ok(times)
    }

    fn write(&self, numbers: std::ops::Range<usize>, samples: &Sender<Sample>) -> Result<()> {
        let (started, count) = (Instant::now(), numbers.len());
        for (done, number) in numbers.enumerate() {
            let due = started + Duration::from_secs(1) * u32::try_from(done)? / self.rate;
            sleep(due.saturating_duration_since(Instant::now()));
            let (service, absent) = self.change(number);
            let slice = self.crowd.slice(service, Some(absent)).tree();
            let written = Instant::now();
            self.cluster.server.put(&slice)?;
            if service < WATCHED {
                let expected = self.expected(service, absent);
                samples.send(Sample {
                    service,
                    expected,
                    written,
                })?;
            }
        }
        let rate = f64::from(u32::try_from(count)?) / started.elapsed().as_secs_f64();
        println!("{rate:.0} changes a second");
        // A machine that can't write them in time can't tell whether they are taken in.
        ensure!(rate > 0.9 * f64::from(self.rate), "{rate:.0} changes a second");
        Ok(())
    }

    fn watch(&self, inbox: &Receiver<Sample>) -> Result<Vec<Duration>> {
        let (mut pending, mut times, mut over) = (Vec::<Sample>::new(), Vec::new(), false);
        while !over || !pending.is_empty() {
            loop {
                match inbox.try_recv() {
                    Ok(sample) => pending.push(sample),
                    Err(error) => {
                        over = error == std::sync::mpsc::TryRecvError::Disconnected;
                        break;
                    }
                }
            }
            pending.retain(|sample| {
                let there = self.holds(sample.service, &sample.expected);
                if there {
                    times.push(sample.written.elapsed());
                }
                !there
            });
            let late = pending
                .iter()
                .find(|sample| sample.written.elapsed() > patient(SOON));
            ensure!(late.is_none(), "a change never came: {}", self.agent.log());
            sleep(Duration::from_micros(500));
        }
        Ok(times)
    }

    /// Entries written to each table so far.
    fn writes(&self) -> Result<BTreeMap<&'static str, u64>> {
        let text = self.agent.metrics()?;
        ensure!(text.contains("mesh_map_writes_total"), "{text}");
        Ok(TABLES
            .map(|table| {
                (
                    table,
                    metrics::sum(&text, "mesh_map_writes_total", &[("map", table)]),
                )
            })
            .into())
    }

    /// Waits until the agent has taken in this many more events of a resource.
    fn taken(&self, resource: &str, before: u64, more: usize) -> Result<()> {
        eventually(SOON, || {
            let now = self.events(resource)?;
            ensure!(now >= before + more as u64, "{now} of {before} and {more}");
            Ok(())
        })
    }

    fn events(&self, resource: &str) -> Result<u64> {
        let text = self.agent.metrics()?;
        Ok(metrics::sum(
            &text,
            "mesh_source_events_total",
            &[("resource", resource)],
        ))
    }
}

/// In the long form, an optimized agent; `MESH_AGENT_BIN` is taken for one.
fn optimized() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let release = test.ancestors().nth(3)?.join("release/mesh-agent");
    let named = std::env::var_os("MESH_AGENT_BIN").map(PathBuf::from);
    is_long().then(|| named.unwrap_or(release))
}

fn can() -> Result<(), String> {
    let built = optimized().is_none_or(|path| path.is_file());
    require::that(built, "an optimized agent: cargo xtask build --release")
}

#[test]
fn each_change_is_in_the_kernel_soon_and_nothing_else_is_written() -> Result<()> {
    require_root!();
    require!(can());
    let scene = Scene::open()?;
    let changes = |seconds: u32| (scene.rate * seconds) as usize;
    let (warm, count) = (changes(scaled(10, 1)), changes(scaled(60, 5)));
    scene.churn(0..warm)?;

    let memory = scene.agent.program().memory("VmRSS")?;
    let (before, requests) = (scene.writes()?, scene.cluster.server.requests().len());
    let times = scene.churn(warm..warm + count)?;
    let after = scene.writes()?;
    let grown = scene.agent.program().memory("VmRSS")?.saturating_sub(memory);
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let mut line = format!("{count} changes, {} timed:", times.len());
    for percent in [50, 90, 99, 100] {
        write!(line, " p{percent} {:?}", at(percent))?;
    }
    println!("{line}; {} MiB, {} KiB more after", memory >> 20, grown >> 10);
    println!("written {before:?}, then {after:?}");
    let limit = patient(scaled(Duration::from_millis(100), Duration::from_secs(1)));
    assert!(at(99) < limit, "{line}");
    assert!(grown < memory / 20, "{grown} bytes more than {memory}");

    // All of them arrived: each service has what was last said of it.
    let mut last = BTreeMap::new();
    last.extend((0..warm + count).map(|number| scene.change(number)));
    for (service, absent) in last {
        let expected = scene.expected(service, absent);
        eventually(SOON, || {
            ensure!(
                scene.holds(service, &expected),
                "service {service}: not {expected:?}"
            );
            Ok(())
        })?;
    }
    scene.cluster.agrees()?;

    // Each was the five slots of one service, and where they are; the backend that came back had rested. No pod came
    // or went, and no service, so nothing else was written.
    let count = u64::try_from(count)?;
    for (table, most) in TABLES.map(|table| match table {
        map::SERVICE_INFO | map::BACKENDS => (table, count),
        map::LB_TABLE => (table, 5 * count),
        _ => (table, 0),
    }) {
        let written = after[table] - before[table];
        assert!(
            written <= most,
            "{table}: {written} entries written for {count} changes"
        );
    }
    assert!(after[map::SERVICE_INFO] > before[map::SERVICE_INFO]);
    asked_for_nothing(&scene.cluster, requests);
    Ok(())
}

/// Watches end now and then, and go on; nothing else is asked.
fn asked_for_nothing(cluster: &Cluster, before: usize) {
    let requests = cluster.server.requests();
    for request in &requests[before..] {
        assert!(request.verb == "watch" && request.status == 200, "{request:?}");
    }
    assert!(
        requests.len() - before <= RESOURCES.len(),
        "{} requests",
        requests.len() - before
    );
    assert_eq!(cluster.lists(), [1; RESOURCES.len()]);
}

/// What README says of the load: six lists and six watches, which last five to ten minutes, and each change once.
#[test]
fn the_server_is_asked_for_little() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("load")?;
    let crowd = Crowd::new(600);
    crowd.join(&cluster)?;
    let server = &cluster.server;
    let agent = crowd.agent(&cluster).start()?;
    let watches = || RESOURCES.map(|resource| server.count("watch", resource)) == [1; RESOURCES.len()];
    ensure!(until(SOON, watches), "{}", agent.log());
    assert_eq!(cluster.lists(), [1; RESOURCES.len()]);
    let requests = server.requests();
    assert_eq!(requests.len(), 2 * RESOURCES.len(), "{requests:?}");
    for watch in requests.iter().filter(|request| request.verb == "watch") {
        assert!((300..=600).contains(&watch.timeout), "{watch:?}");
    }
    let told = server.told();
    let slices = || (0..crowd.services()).map(|service| crowd.slice(service, Some(0)).tree());
    let bytes: usize = slices().map(|slice| slice.to_string().len()).sum();
    server.put_all(slices())?;
    // Each object, with its version and the event around it, however long the agent may go on asking.
    let most = bytes + 100 * crowd.services();
    let tables = Tables::open(&cluster.sandbox)?;
    eventually(SOON, || {
        let last = crowd.services() - 1;
        let found = tables.endpoints((crowd::vip(last), 80).into(), Protocol::Tcp)?;
        ensure!(found.is_some_and(|found| found.len() == 5));
        Ok(())
    })?;
    let told = usize::try_from(server.told() - told)?;
    assert!((bytes..most).contains(&told), "{told} of {bytes} bytes");
    assert_eq!(server.requests().len(), 2 * RESOURCES.len());
    Ok(())
}

/// Pods and slices are touched all the time: a condition, an annotation, the fields of who wrote what.
#[test]
fn what_says_the_same_again_is_not_written() -> Result<()> {
    require_root!();
    require!(can());
    let scene = Scene::open()?;
    let server = &scene.cluster.server;
    let (before, config) = (scene.writes()?, scene.tables.config()?);
    let requests = server.requests().len();
    let resources = ["pods", "services", "endpointslices"];
    let seen = resources.map(|resource| scene.events(resource));
    let services = scene.crowd.services();
    let mut pods = 0;
    for service in 0..services {
        let objects = scene.crowd.objects(service);
        pods += objects.len() - 3;
        let again = objects
            .into_iter()
            .map(|object| object.annotation("touched", "again").tree());
        server.put_all(again)?;
    }
    for ((resource, seen), more) in resources.iter().zip(seen).zip([pods, services, 2 * services]) {
        scene.taken(resource, seen?, more)?;
    }
    assert_eq!(scene.writes()?, before);
    // The kernel says the same: no write goes without its time being noted there.
    assert_eq!(scene.tables.config()?, config);
    asked_for_nothing(&scene.cluster, requests);
    // One that says something else is.
    server.put(&scene.crowd.slice(0, Some(0)).tree())?;
    eventually(SOON, || {
        ensure!(scene.holds(0, &scene.expected(0, 0)));
        Ok(())
    })?;
    assert_ne!(scene.writes()?, before);
    assert_ne!(scene.tables.config()?, config);
    Ok(())
}
