//! `mesh-agent run`: what is started, in which order, and the loop that follows.

use std::time::{Duration, Instant};

use anyhow::Context;
use mesh_common::config::flag;
use tokio::{sync::mpsc, time::sleep_until};

use super::{
    admin::{self, Ask},
    attached::Attached,
    claim::Claim,
    config::RunArgs,
    ending::Ending,
    engine::Engine,
    flock::Patience,
    following::Following,
    handover::{self, Loaded},
    lock::RunDir,
    policy, programs,
    progress::Progress,
    publish::Publisher,
    readiness::Readiness,
    reports::Reports,
    serve::{self, Exposition},
    settings::Settings,
    sockets::{self, Sockets},
    standby::Standby,
};
use crate::{
    datapath::{
        Ebpf,
        pins::Pins,
        tables::{TableError, Tables},
    },
    pods::{host::HostAddresses, look::Look, pending::Pending, watch::DirWatch},
    sys::{privilege, wait::every},
    telemetry::{
        events::Events,
        pods::{Counts, PodStates},
        task::Telemetry,
    },
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
    let mut ending = Ending::listen()?;
    let claim = match Claim::take(&args.place, Patience::Refuse) {
        Err(taken) if args.wait_for_handover && taken.holder().is_some() => Err(taken),
        claim => Ok(claim?),
    };
    let mut standby = Standby::start(args).await?;
    let handed = match claim {
        Ok(claim) => Some((claim, None)),
        Err(taken) => handover::wait(&taken, &mut standby, &mut ending).await?,
    };
    if let Some((claim, loaded)) = handed {
        work(standby, claim, loaded, &mut ending).await?;
    }
    tracing::info!("ending; the kernel goes on with what it has");
    Ok(())
}

/// Adopts what is in the kernel, and keeps it as it should be until told to end.
#[expect(
    clippy::too_many_lines,
    reason = "everything that wakes the agent stands in one select"
)]
async fn work(
    mut standby: Standby,
    Claim { run_dir, pins, .. }: &'static Claim,
    loaded: Option<Loaded>,
    ending: &mut Ending,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let loaded = loaded.filter(|loaded| loaded.is_current(pins));
    let loaded = loaded.map_or_else(|| Loaded::load(pins, &standby.sizes), Ok)?;
    let (mut ebpf, mut acceleration) = (loaded.ebpf, loaded.acceleration);
    let mut namespaces = DirWatch::default().and(&standby.args.netns_dir);
    let mut cgroups = DirWatch::default();
    let mut addresses = HostAddresses::watch(&standby.host).context("reading the addresses of the host")?;
    standby.keep_addresses(addresses.known());
    let Standby {
        args,
        node,
        sizes,
        host,
        cgroup,
        readiness,
        exposition,
        mut following,
        cluster,
    } = standby;
    let tables = Tables::open(pins)?;
    let pending = Pending::below(cgroup.path());
    let mut engine = Engine::adopt(cluster, tables, &sizes, pending, &args.netns_dir, host.clone())?;
    let metrics = sockets::Metrics::default();
    let pod_states = PodStates::default();
    let telemetry = tell(&exposition, &engine, &metrics, &pod_states, pins)?;
    let mut asked = answer(run_dir, &readiness, &telemetry, args.settings.clone())?;

    // To be called once, when everything is known and planned.
    let begin = |engine: &mut Engine, ebpf: &mut Ebpf| -> anyhow::Result<Attached> {
        engine.retire();
        stamp(engine, &args)?;
        tracing::info!(seconds = started.elapsed().as_secs_f64(), "the tables are right");
        programs::attach(ebpf, pins, &cgroup)?;
        Ok(Attached::start(args.packets, ebpf, pins, &host, &readiness))
    };
    let mut attached = Attached::default();
    if following.is_complete() {
        engine.take_in_all();
        attached = begin(&mut engine, &mut ebpf)?;
    }
    let (mut retry, mut verify) = (every(RETRY), every(VERIFY));
    measure(&engine, &telemetry);
    let mut reports = Reports::start(&following, &args, &node);
    let mut publisher = Publisher::new(node, cgroup.path().to_path_buf(), telemetry.clone());
    let mut look = Look::default();
    let mut sockets = Sockets::new(pins, run_dir.path(), metrics);
    let mut progress = Progress::new(run_dir.path());
    let mut note = |engine: &Engine, following: &Following| {
        if engine.is_sound() {
            progress.keep(following.taken_in());
        }
    };
    loop {
        attached.follow(&engine);
        cgroups.follow(&engine.pending().places());
        // Until everything is known nothing is touched: what a previous agent left goes on, its names included.
        let complete = following.is_complete();
        if complete {
            sockets.follow(&engine);
        }
        let names_due = complete
            .then(|| publisher.publish(&engine, attached.wire(), run_dir))
            .flatten();
        tokio::select! {
            events = following.next() => {
                if engine.apply(events?) {
                    look.soon();
                }
                if !complete {
                    following.completed();
                    // Ready is what was looked at, and there was nothing to look at before.
                    verify.reset_immediately();
                    attached = begin(&mut engine, &mut ebpf)?;
                }
            }
            known = addresses.changed() => engine.set_host_addresses(known),
            () = namespaces.changed(), if complete => {
                engine.rescan();
                look.soon();
            }
            () = cgroups.changed(), if complete => engine.look_for_cgroups(),
            () = look.due(engine.is_waiting()) => look.take(|| engine.rescan()),
            () = at(names_due) => {}
            step = sockets.next(), if complete => sockets.step(step, &engine),
            report = acceleration.probed(), if complete => {
                let report = programs::allow(report, &ebpf, pins, &mut engine, run_dir);
                readiness.note("acceleration", report.word(true));
                telemetry.probed(report.uses());
            }
            Some(ask) = asked.recv() => admin::answer(ask, &mut engine, attached.wire(), &sockets, &following),
            _ = retry.tick(), if complete => {
                engine.retry();
                attached.retry();
                note(&engine, &following);
                let partial = attached.wire().map_or(0, |wire| wire.partial().len());
                pod_states.tell(Counts { partial, ..engine.pod_counts() });
            }
            _ = verify.tick() => {
                attached.keep();
                if complete {
                    programs::keep(&ebpf, pins, &cgroup, &readiness);
                    sockets.look(&engine);
                    reports.look(&engine, &readiness);
                }
                readiness.note("pending pods", engine.pending().describe());
                engine.set_watched(telemetry.watchers() > 0);
                measure(&engine, &telemetry);
            }
            () = ending.told() => break,
        }
    }
    if following.is_complete() {
        note(&engine, &following);
    }
    Ok(())
}

/// Marks the tables as this agent's, with what its settings say to the programs.
fn stamp(engine: &mut Engine, args: &RunArgs) -> Result<(), TableError> {
    engine.stamp()?;
    engine.set_flag(flag::DENY_WITH_EPERM, args.policy_deny_errno.is_eperm())
}

/// Tells how full the tables are, and how it is with policies.
fn measure(engine: &Engine, telemetry: &Telemetry) {
    let mut usage = engine.ledger().usage();
    usage.extend(engine.policies().enforcement().usage());
    telemetry.fill(usage);
    telemetry.policies(policy::state(&policy::View::of(engine)).counts());
}

/// Lets `/metrics` tell everything.
fn tell(
    exposition: &Exposition,
    engine: &Engine,
    metrics: &sockets::Metrics,
    pod_states: &PodStates,
    pins: &Pins,
) -> anyhow::Result<Telemetry> {
    exposition.complete(|mut registry| {
        engine.writes().register(&mut registry);
        metrics.register(&mut registry);
        pod_states.register(&mut registry);
        let events = Events::open(pins)?;
        Ok(Telemetry::start(pins, events, registry)?)
    })
}

/// Opens the admin socket; the questions that come there.
fn answer(
    run_dir: &RunDir,
    readiness: &Readiness,
    telemetry: &Telemetry,
    settings: Settings,
) -> anyhow::Result<mpsc::Receiver<Ask>> {
    let (asks, asked) = mpsc::channel(16);
    let admin = serve::listen_admin(&run_dir.admin_socket())?;
    let router = admin::router(asks, readiness.clone(), telemetry.clone(), run_dir, settings);
    tokio::spawn(axum::serve(admin, router).into_future());
    Ok(asked)
}

/// Comes at a time, or never.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
