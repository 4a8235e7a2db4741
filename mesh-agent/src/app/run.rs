//! `mesh-agent run`: what is started, in which order, and the loop that follows.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use mesh_common::abi::{MAPS, map};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    admin, config::RunArgs, engine::Engine, lock::RunDir, mounts, names::Names, readiness::Readiness, serve,
};
use crate::{
    datapath::{
        links::{self, Attached, Cgroup},
        listing,
        loader::{self, MapSizes},
        pins::Pins,
        tables::Tables,
        verify,
    },
    model::{cluster::Cluster, ledger::Capacity},
    pods::watch::NetnsWatch,
    source::manifests::{Batch, ManifestSource},
    telemetry::{
        events::Events,
        names::{self, Directory, Service},
        task::Telemetry,
    },
};

/// What has no room or could not be written is tried again this often.
const RETRY: Duration = Duration::from_secs(1);
/// The kernel is asked this often whether our programs still run.
const VERIFY: Duration = Duration::from_secs(10);
/// Namespaces are looked for this soon after a pod without one was seen, then more and more rarely.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// The rarest look for namespaces.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Runs the agent until it is told to end.
///
/// # Errors
/// What keeps it from starting, or the failure that ended it.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let run_dir = RunDir::take(&args.place.run_dir)?;
    let readiness = Readiness::default();
    readiness.block("programs", "not attached yet");
    readiness.block("manifests", "not read yet");
    let listener = serve::listen(args.readiness_address).await?;
    tokio::spawn(axum::serve(listener, serve::readiness(readiness.clone())).into_future());

    let node = args.node_name.clone().map_or_else(host_name, Ok)?;
    let cgroup = args.cgroup.clone().map_or_else(mounts::cgroup2, Ok)?;
    let cgroup = Cgroup::open(&cgroup)?;
    let pins = Pins::new(&args.place.bpffs);
    let sizes: MapSizes = args.map_sizes.iter().cloned().collect();
    let mut ebpf = loader::load(&pins, &sizes)?;
    let tables = Tables::open(&pins)?;

    let mut source = ManifestSource::open(&args.manifests)?
        .watch()
        .context("watching the manifests")?;
    let mut namespaces = NetnsWatch::start(&args.netns_dir);
    let mut engine = Engine::adopt(
        Cluster::for_manifests(&node),
        tables,
        capacity(&sizes),
        &args.netns_dir,
    )?;

    let telemetry = Telemetry::start(&pins, Events::open(&pins)?)?;
    let metrics = serve::listen(args.metrics_address).await?;
    tokio::spawn(axum::serve(metrics, serve::metrics(telemetry.clone())).into_future());
    let (asks, mut asked) = mpsc::channel(16);
    let admin = serve::listen_admin(&run_dir.admin_socket())?;
    tokio::spawn(axum::serve(admin, admin::router(asks, readiness.clone(), telemetry.clone())).into_future());

    // Everything is known before the first program runs; a previous agent's programs go on meanwhile.
    let first = source
        .next()
        .await
        .context("the manifests are no longer watched")?;
    let mut problems = report(&first, Vec::new());
    engine.apply(first.events);
    engine.retire();
    engine.stamp()?;
    publish_names(&engine, &node, &cgroup, &run_dir, &telemetry);
    readiness.clear("manifests");

    for (hook, attached) in links::attach(&ebpf, &pins, &cgroup)? {
        let adopted = attached == Attached::Adopted;
        tracing::info!(program = hook.program, cgroup = %cgroup.path().display(), adopted, "attached");
    }
    if let Err(error) = listing::install(&mut ebpf, &pins) {
        tracing::warn!(%error, "live connections can't be listed");
    }
    check_attachment(&pins, &cgroup, &readiness);

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut retry = interval(RETRY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut verify = interval(VERIFY);
    verify.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = Look::new();
    loop {
        look.plan(!engine.assignment().unassigned.is_empty());
        tokio::select! {
            batch = source.next() => {
                let batch = batch.context("the manifests are no longer watched")?;
                problems = report(&batch, problems);
                engine.apply(batch.events);
                look.soon();
                publish_names(&engine, &node, &cgroup, &run_dir, &telemetry);
            }
            () = namespaces.changed() => {
                engine.rescan();
                publish_names(&engine, &node, &cgroup, &run_dir, &telemetry);
                look.soon();
            }
            () = sleep_until(look.at) => {
                engine.rescan();
                look.later();
            }
            Some(ask) = asked.recv() => admin::answer(ask, &mut engine, &problems),
            _ = retry.tick() => engine.retry(),
            _ = verify.tick() => {
                check_attachment(&pins, &cgroup, &readiness);
                engine.set_watched(telemetry.watchers() > 0);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("ending; the kernel goes on with what it has");
    Ok(())
}

/// When to look for network namespaces next: often at first, since an address may come after its namespace.
struct Look {
    at: Instant,
    pause: Duration,
}

impl Look {
    fn new() -> Self {
        Self {
            at: Instant::now() + LAST_LOOK,
            pause: FIRST_LOOK,
        }
    }

    fn soon(&mut self) {
        self.pause = FIRST_LOOK;
        self.at = Instant::now() + self.pause;
    }

    fn later(&mut self) {
        self.pause = (self.pause * 2).min(LAST_LOOK);
        self.at = Instant::now() + self.pause;
    }

    /// Without a pod that waits, there is nothing to look for.
    fn plan(&mut self, waiting: bool) {
        if !waiting {
            self.at = Instant::now() + LAST_LOOK;
        }
    }
}

fn check_attachment(pins: &Pins, cgroup: &Cgroup, readiness: &Readiness) {
    let missing = verify::not_attached(pins, cgroup);
    if missing.is_empty() {
        return readiness.clear("programs");
    }
    let lines: Vec<_> = missing
        .iter()
        .map(|hook| format!("{}: {}", hook.program, hook.why))
        .collect();
    readiness.block("programs", lines.join("; "));
}

/// Logs what is newly wrong with the manifests; returns what is wrong now.
fn report(batch: &Batch, before: Vec<String>) -> Vec<String> {
    let now: Vec<String> = batch.problems.iter().map(ToString::to_string).collect();
    for problem in now.iter().filter(|problem| !before.contains(problem)) {
        tracing::warn!(problem, "manifest");
    }
    for problem in before.iter().filter(|problem| !now.contains(problem)) {
        tracing::info!(problem, "manifest is right again");
    }
    for note in &batch.notes {
        tracing::debug!(%note, "manifest");
    }
    now
}

fn publish_names(engine: &Engine, node: &str, cgroup: &Cgroup, run_dir: &RunDir, telemetry: &Telemetry) {
    telemetry.rename(directory(engine));
    let names = Names::of(engine, node, cgroup.path());
    if let Err(error) = names.store(run_dir.path()) {
        tracing::warn!(dir = %run_dir.path().display(), %error, "the names can't be stored; meshctl shows ids");
    }
}

fn capacity(sizes: &MapSizes) -> Capacity {
    let of = |name| {
        let spec = MAPS.iter().find(|spec| spec.name == name);
        spec.map_or(0, |spec| loader::entries(spec, sizes))
    };
    Capacity {
        services: of(map::SERVICES),
        service_info: of(map::SERVICE_INFO),
        lb_table: of(map::LB_TABLE),
        backends: of(map::BACKENDS),
        members: of(map::MEMBERS),
        workloads: of(map::WORKLOADS),
        pods: of(map::PODS),
    }
}

fn host_name() -> anyhow::Result<String> {
    let name = rustix::system::uname().nodename().to_str().map(ToOwned::to_owned);
    name.context("the host name is not UTF-8: name the node with --node-name")
}

/// Removes everything an agent ever installed.
///
/// # Errors
/// Where an agent still runs, or something can't be removed.
pub fn cleanup(place: &super::config::Place) -> anyhow::Result<Vec<PathBuf>> {
    let run_dir = RunDir::take(&place.run_dir)?;
    let mut removed = Pins::new(&place.bpffs).remove_all()?;
    removed.extend(run_dir.remove()?);
    Ok(removed)
}

/// The names behind the ids, for telemetry.
fn directory(engine: &Engine) -> Directory {
    let services = engine.ledger().services().map(|(id, name, key, _)| {
        let (namespace, name) = (name.namespace.clone(), name.name.clone());
        (
            id,
            Service {
                namespace,
                name,
                port: key.port,
            },
        )
    });
    let pods = engine.ledger().workloads().map(|(id, key)| (id, names::Pod::of(key, engine.cluster().pod(key))));
    Directory {
        pods: pods.collect(),
        services: services.collect(),
    }
}
