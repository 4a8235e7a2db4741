//! `mesh-agent run`: what is started, in which order, and the loop that follows.

use std::time::{Duration, Instant};

use anyhow::Context;
use mesh_common::abi::{MAPS, map};
use prometheus_client::registry::Registry;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, sleep_until},
};

use super::{
    acceleration::Acceleration,
    admin,
    config::{Place, RunArgs},
    engine::Engine,
    following::Following,
    lock::RunDir,
    mounts,
    pin_lock::PinLock,
    programs,
    publish::Publisher,
    readiness::Readiness,
    serve,
    upkeep::Upkeep,
    wire::{self, Wire},
};
use crate::{
    datapath::{
        links::Cgroup,
        loader::{self, MapSizes},
        pins::Pins,
        tables::Tables,
    },
    model::ledger::Capacity,
    pods::{host::HostAddresses, look::Look, watch::NetnsWatch},
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
    readiness.block(programs::READINESS, "not attached yet");
    readiness.block(wire::READINESS, "not attached yet");
    let listener = serve::listen(args.readiness_address).await?;
    tokio::spawn(axum::serve(listener, serve::readiness(readiness.clone())).into_future());

    let node = args.node_name.clone().map_or_else(host_name, Ok)?;
    let mut registry = Registry::default();
    let mut following = Following::start(&args, &node, &readiness, &mut registry).await?;
    let cgroup = mounts::cgroup(args.cgroup.as_deref())?;
    let cgroup = Cgroup::open(&cgroup)?;
    let sizes: MapSizes = args.map_sizes.iter().cloned().collect();
    let mut ebpf = loader::load(&pins, &sizes)?;
    let tables = Tables::open(&pins)?;
    let mut acceleration = Acceleration::start(&mut ebpf);
    let mut namespaces = NetnsWatch::start(&args.netns_dir);
    let mut engine = Engine::adopt(
        following.cluster(&node),
        tables,
        capacity(&sizes),
        &args.netns_dir,
        host.clone(),
    )?;

    let telemetry = Telemetry::start(&pins, Events::open(&pins)?, registry)?;
    let metrics = serve::listen(args.metrics_address).await?;
    tokio::spawn(axum::serve(metrics, serve::metrics(telemetry.clone())).into_future());
    let (asks, mut asked) = mpsc::channel(16);
    let admin = serve::listen_admin(&run_dir.admin_socket())?;
    tokio::spawn(axum::serve(admin, admin::router(asks, readiness.clone(), telemetry.clone())).into_future());

    let mut addresses = HostAddresses::watch(&host).context("reading the addresses of the host")?;
    engine.set_host_addresses(addresses.known());

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (mut retry, mut verify) = (every(RETRY), every(VERIFY));
    telemetry.fill(engine.ledger().usage());
    let mut publisher = Publisher::new(node, cgroup.path().to_path_buf(), telemetry.clone());
    let mut look = Look::default();
    let upkeep = Upkeep::new(pins.clone());
    let mut wire = None;
    loop {
        if let Some(wire) = &mut wire {
            Wire::follow(wire, engine.assignment());
        }
        // Until everything is known nothing is touched: what a previous agent left goes on, its names included.
        let complete = following.is_complete();
        let names_due = complete
            .then(|| publisher.publish(&engine, wire.as_ref(), &run_dir))
            .flatten();
        tokio::select! {
            events = following.next() => {
                if engine.apply(events?) {
                    look.soon();
                }
                if !complete {
                    engine.retire();
                    engine.stamp()?;
                    following.completed();
                    programs::attach(&mut ebpf, &pins, &cgroup)?;
                    // Ready is what was looked at, and there was nothing to look at before.
                    verify.reset_immediately();
                    wire = programs::count_packets(args.packets, &mut ebpf, &pins, &host, &readiness);
                }
            }
            known = addresses.changed() => engine.set_host_addresses(known),
            () = namespaces.changed(), if complete => {
                engine.rescan();
                look.soon();
            }
            () = look.due(engine.is_waiting()) => {
                let started = Instant::now();
                engine.rescan();
                look.looked(started.elapsed());
            }
            () = at(names_due) => {}
            report = acceleration.probed(), if complete => {
                let report = programs::allow(report, &ebpf, &pins, &mut engine, &run_dir);
                readiness.note("acceleration", report.word(true));
                telemetry.probed(report.uses());
            }
            Some(ask) = asked.recv() => admin::answer(ask, &mut engine, wire.as_ref(), &following),
            _ = retry.tick(), if complete => engine.retry(),
            _ = verify.tick() => {
                if let Some(wire) = &mut wire {
                    wire.keep();
                }
                if complete {
                    programs::keep(&ebpf, &pins, &cgroup, &readiness);
                    upkeep.look(&engine);
                }
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

/// Ticks now and from then on; after a late tick the next one comes a whole period later.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Comes at a time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
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
