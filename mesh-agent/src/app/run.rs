//! `mesh-agent run`: what is started, in which order, and the loop that follows.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use mesh_common::{
    abi::{MAPS, map},
    config::flag,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    acceleration::{self, Acceleration},
    admin,
    config::{self, Place, RunArgs},
    engine::Engine,
    lock::RunDir,
    mounts,
    pin_lock::PinLock,
    publish::Publisher,
    readiness::Readiness,
    serve,
    upkeep::Upkeep,
    wire::{self, Wire},
};
use crate::{
    datapath::{
        Ebpf,
        links::{self, Attached, Cgroup},
        listing,
        loader::{self, MapSizes},
        packets::{self, Packets},
        pins::Pins,
        probe::Report,
        tables::Tables,
        verify,
    },
    model::{cluster::Cluster, ledger::Capacity},
    pods::{host::HostAddresses, look::Look, watch::NetnsWatch},
    source::manifests::{Batch, ManifestSource},
    sys::{netns::Host, privilege},
    telemetry::{events::Events, task::Telemetry},
};

/// What has no room or could not be written is tried again this often.
const RETRY: Duration = Duration::from_secs(1);
/// The kernel is asked this often whether our programs still run.
const VERIFY: Duration = Duration::from_secs(10);

/// Runs the agent until it is told to end.
///
/// # Errors
/// What keeps it from starting, or the failure that ended it.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let missing = privilege::missing().context("asking for the capabilities of this process")?;
    anyhow::ensure!(missing.is_empty(), "missing capabilities: {}", missing.join(", "));
    let host = Host::open(args.place.host_netns.as_deref())?;
    let (run_dir, pins, _pin_lock) = claim(&args.place)?;
    let readiness = Readiness::default();
    readiness.block("programs", "not attached yet");
    readiness.block(wire::READINESS, "not attached yet");
    readiness.block("manifests", "not read yet");
    let listener = serve::listen(args.readiness_address).await?;
    tokio::spawn(axum::serve(listener, serve::readiness(readiness.clone())).into_future());

    let node = args.node_name.clone().map_or_else(host_name, Ok)?;
    let cgroup = mounts::cgroup(args.cgroup.as_deref())?;
    let cgroup = Cgroup::open(&cgroup)?;
    let sizes: MapSizes = args.map_sizes.iter().cloned().collect();
    let mut ebpf = loader::load(&pins, &sizes)?;
    let tables = Tables::open(&pins)?;
    let mut acceleration = Acceleration::start(&mut ebpf);

    let mut source = ManifestSource::open(&args.manifests)?
        .watch()
        .context("watching the manifests")?;
    let mut namespaces = NetnsWatch::start(&args.netns_dir);
    let mut engine = Engine::adopt(
        Cluster::for_manifests(&node),
        tables,
        capacity(&sizes),
        &args.netns_dir,
        host.clone(),
    )?;

    let telemetry = Telemetry::start(&pins, Events::open(&pins)?)?;
    let metrics = serve::listen(args.metrics_address).await?;
    tokio::spawn(axum::serve(metrics, serve::metrics(telemetry.clone())).into_future());
    let (asks, mut asked) = mpsc::channel(16);
    let admin = serve::listen_admin(&run_dir.admin_socket())?;
    tokio::spawn(axum::serve(admin, admin::router(asks, readiness.clone(), telemetry.clone())).into_future());

    let mut addresses = HostAddresses::watch(&host).context("reading the addresses of the host")?;
    engine.set_host_addresses(addresses.known());

    // Everything is known before the first program runs; a previous agent's programs go on meanwhile.
    let first = source
        .next()
        .await
        .context("the manifests are no longer watched")?;
    let mut problems = report(&first, &[]);
    engine.apply(first.events);
    engine.retire();
    engine.stamp()?;
    readiness.clear("manifests");

    attach(&mut ebpf, &pins, &cgroup)?;
    let mut wire = count_packets(args.packets, &mut ebpf, &pins, &host, &readiness);

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut retry = interval(RETRY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut verify = interval(VERIFY);
    verify.set_missed_tick_behavior(MissedTickBehavior::Delay);
    telemetry.fill(engine.ledger().usage());
    let mut publisher = Publisher::new(node, cgroup.path().to_path_buf(), telemetry.clone());
    let mut look = Look::default();
    let upkeep = Upkeep::new(pins.clone());
    loop {
        if let Some(wire) = &mut wire {
            wire.follow(engine.assignment());
        }
        let names_due = publisher.publish(&engine, wire.as_ref(), &run_dir);
        tokio::select! {
            batch = source.next() => {
                let batch = batch.context("the manifests are no longer watched")?;
                problems = report(&batch, &problems);
                engine.apply(batch.events);
                look.soon();
            }
            known = addresses.changed() => engine.set_host_addresses(known),
            () = namespaces.changed() => {
                engine.rescan();
                look.soon();
            }
            () = look.due(engine.is_waiting()) => {
                let started = Instant::now();
                engine.rescan();
                look.looked(started.elapsed());
            }
            () = at(names_due) => {}
            report = acceleration.probed() => {
                let report = allow(report, &ebpf, &pins, &mut engine, &run_dir);
                readiness.note("acceleration", report.word(true));
                telemetry.probed(report.uses());
            }
            Some(ask) = asked.recv() => admin::answer(ask, &mut engine, wire.as_ref(), &problems),
            _ = retry.tick() => engine.retry(),
            _ = verify.tick() => {
                if let Some(wire) = &mut wire {
                    wire.keep();
                }
                keep_attached(&ebpf, &pins, &cgroup, &readiness);
                upkeep.look(&engine);
                engine.set_watched(telemetry.watchers() > 0);
                telemetry.fill(engine.ledger().usage());
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("ending; the kernel goes on with what it has");
    Ok(())
}

/// Makes the runtime directory and the directory of the pins, and makes sure that no other agent has them.
fn claim(place: &Place) -> anyhow::Result<(RunDir, Pins, PinLock)> {
    let run_dir = RunDir::take(&place.run_dir)?;
    let pins = Pins::new(&place.bpffs);
    pins.create()?;
    let lock = PinLock::take(&pins.top())?;
    Ok((run_dir, pins, lock))
}

/// Loads the packet programs; where that fails the agent works, and is not ready unless nobody wants them.
fn count_packets(
    wish: config::Packets,
    ebpf: &mut Ebpf,
    pins: &Pins,
    host: &Host,
    readiness: &Readiness,
) -> Option<Wire> {
    let wanted = wish != config::Packets::Off;
    match Packets::start(ebpf, pins, host, wish.way()) {
        Ok(packets) if wanted => return Some(Wire::new(packets, readiness.clone())),
        Ok(mut packets) => {
            for error in packets.sync(&BTreeSet::new()) {
                tracing::warn!(%error, "an earlier agent's count of packets goes on");
            }
        }
        Err(error) => {
            tracing::error!(%error, "packets are not counted");
            if wanted {
                readiness.block(wire::READINESS, error.to_string());
                return None;
            }
        }
    }
    readiness.clear(wire::READINESS);
    None
}

/// Comes at a time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Makes the programs run for the sockets of the cgroup.
fn attach(ebpf: &mut Ebpf, pins: &Pins, cgroup: &Cgroup) -> anyhow::Result<()> {
    for (hook, attached) in links::attach(ebpf, pins, cgroup)? {
        let adopted = attached == Attached::Adopted;
        tracing::info!(program = hook.program, cgroup = %cgroup.path().display(), adopted, "attached");
    }
    if let Err(error) = listing::install(ebpf, pins) {
        tracing::warn!(%error, "live connections can't be listed");
    }
    Ok(())
}

/// Lets sockets be accelerated as far as the probe has passed; tells what came of it.
fn allow(mut report: Report, ebpf: &Ebpf, pins: &Pins, engine: &mut Engine, run_dir: &RunDir) -> Report {
    if let Err(error) = acceleration::apply(&report, ebpf, pins, engine) {
        report = Report::impossible(report.kernel, &format!("{error:#}"));
    }
    let (applications, own) = (report.word(true), report.word(false));
    tracing::info!(kernel = report.kernel, applications, own, "acceleration");
    if let Err(error) = acceleration::store(&report, run_dir.path()) {
        tracing::warn!(%error, "meshctl will not know what the probe found");
    }
    report
}

/// Asks the kernel whether our programs run, and mends what was taken away.
fn keep_attached(ebpf: &Ebpf, pins: &Pins, cgroup: &Cgroup, readiness: &Readiness) {
    let missing = verify::not_attached(pins, cgroup);
    if missing.is_empty() {
        return readiness.clear("programs");
    }
    let lines: Vec<_> = missing
        .iter()
        .map(|hook| format!("{}: {}", hook.program, hook.why))
        .collect();
    readiness.block("programs", lines.join("; "));
    match links::attach(ebpf, pins, cgroup) {
        Ok(_) if verify::not_attached(pins, cgroup).is_empty() => {
            tracing::warn!("programs that were no longer attached are attached again");
            readiness.clear("programs");
        }
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "the programs can't be attached again"),
    }
}

/// Logs what is newly wrong with the manifests; returns what is wrong now.
fn report(batch: &Batch, before: &[String]) -> Vec<String> {
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
pub fn cleanup(place: &Place) -> anyhow::Result<Vec<String>> {
    let pins = Pins::new(&place.bpffs);
    let run_dir = place
        .run_dir
        .exists()
        .then(|| RunDir::take(&place.run_dir))
        .transpose()?;
    let _pin_lock = pins
        .top()
        .exists()
        .then(|| PinLock::take(&pins.top()))
        .transpose()?;
    let mut removed = packets::remove_filters(&Host::open(place.host_netns.as_deref())?)
        .context("removing packet programs")?;
    let mut paths = uninstall(&pins)?;
    if let Some(run_dir) = run_dir {
        paths.extend(run_dir.remove()?);
    }
    removed.extend(paths.iter().map(|path| path.display().to_string()));
    Ok(removed)
}

/// Removes all pins. Enrolled sockets keep their program until they close: tell it first to leave all to TCP.
fn uninstall(pins: &Pins) -> anyhow::Result<Vec<PathBuf>> {
    if let Ok(mut tables) = Tables::open(pins) {
        let config = tables.config()?;
        tables.set_config(config.with(flag::DISABLED | flag::ACCEL_OFF, true))?;
    }
    Ok(pins.remove_all()?)
}
