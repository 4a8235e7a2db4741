//! Nothing enrolled, nothing changed: who is not in the mesh pays next to nothing for the programs, and they keep
//! nothing of it. That such processes reach whom they ask is in `sockets`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::scene::Shop;
use harness::{Place, manifest, metrics, require_root};
use mesh_agent::datapath::{listing, pins::Pins, readings::Readings, tables::entries};
use mesh_common::{abi::map, workload::PodRef};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use socket2::SockRef;

/// Pairs of measurements.
const PAIRS: usize = 41;
/// How many ratios lie below the interval of their median, and above it.
const LOW: usize = 13;
/// Connections of one measurement.
const CONNECTIONS: u32 = 500;
/// Connections per second with the programs, as a part of those without: not less than this.
const BOUND: f64 = 0.95;

/// Connects, accepts and closes on one CPU; gives connections per second of this thread's time, in which the
/// kernel's own work for a connection over loopback falls, and nobody else's.
fn rate(listener: &TcpListener, cpu: usize) -> io::Result<f64> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus)?;
    let addr = listener.local_addr()?;
    let before = thread_time();
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect(addr)?;
        // With a reset no port has to rest.
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        let _server = listener.accept()?;
    }
    Ok(f64::from(CONNECTIONS) / thread_time().saturating_sub(before).as_secs_f64())
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// The last CPU this process may use: the first ones serve interrupts.
fn cpu() -> Result<usize> {
    let cpus = sched_getaffinity(None)?;
    (0..CpuSet::MAX_CPU)
        .rev()
        .find(|cpu| cpus.is_set(*cpu))
        .context("no CPU")
}

/// Median of the ratios, and the interval between two of them that has the true one 19 times out of 20, whatever
/// the noise looks like.
fn median(mut ratios: [f64; PAIRS]) -> (f64, f64, f64) {
    ratios.sort_by(f64::total_cmp);
    (ratios[PAIRS / 2], ratios[LOW], ratios[PAIRS - 1 - LOW])
}

#[test]
fn connecting_costs_the_unenrolled_next_to_nothing() -> Result<()> {
    require_root!();
    cost(&Shop::open("unenrolled", &["web-1"])?)
}

/// Then the programs also look at the cgroups above the process.
#[test]
fn nor_does_it_cost_more_while_a_pod_is_pending() -> Result<()> {
    require_root!();
    let shop = Shop::open("unenrolled-pending", &["web-1"])?;
    let _init = shop
        .sandbox
        .container(shop.client.place(), "kubepods/burstable/pod1/init")?;
    let coming = manifest::pod("shop", "coming", &[], &[]).uid("1");
    shop.sandbox.manifests().apply(&coming)?;
    cost(&shop)?;
    let pins = Pins::new(&shop.sandbox.bpffs());
    assert_eq!(entries::<u64, PodRef>(&pins, map::PENDING_PODS)?.len(), 1);
    Ok(())
}

fn cost(shop: &Shop) -> Result<()> {
    shop.sandbox
        .manifests()
        .apply(&manifest::namespace("plain", false))?;
    let stranger = shop.sandbox.pod("stranger", &["10.0.3.1", "fd00::3:1"])?;
    shop.sandbox
        .manifests()
        .apply(&manifest::pod_of("plain", &stranger, &[]))?;
    let agent = shop.start()?;
    // One network namespace, two cgroups: the programs are attached to the first alone. Who accepts stands in
    // the second both times.
    let (with, without) = (stranger.place().clone(), stranger.unenrolled());
    let listener = without.run(|| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    let cpu = cpu()?;
    let measure = |place: &Place| place.run(|| rate(&listener, cpu));
    for place in [&with, &without] {
        measure(place)?;
    }
    let (mut ratios, mut best) = ([0.0; PAIRS], [0.0_f64; 2]);
    for (pair, ratio) in ratios.iter_mut().enumerate() {
        let (with, without) = if pair % 2 == 0 {
            let with = measure(&with)?;
            (with, measure(&without)?)
        } else {
            let without = measure(&without)?;
            (measure(&with)?, without)
        };
        *ratio = with / without;
        best = [best[0].max(with), best[1].max(without)];
    }
    let (median, low, high) = median(ratios);
    println!(
        "connect, accept and close of the un-enrolled, {PAIRS} pairs of {CONNECTIONS}: best {:.0} a second with \
         the programs, {:.0} without; ratio {median:.3} (95 %: {low:.3} to {high:.3})",
        best[0], best[1]
    );
    assert!(
        high >= BOUND,
        "{median:.3} of the rate without programs ({low:.3} to {high:.3})"
    );

    let pins = Pins::new(&shop.sandbox.bpffs());
    assert!(Readings::open(&pins)?.traffic()?.is_empty(), "nothing is counted");
    assert!(listing::read(&pins)?.is_empty(), "nothing is listed");
    let text = agent.metrics()?;
    assert_eq!(metrics::sum(&text, "istio_tcp_connections_opened_total", &[]), 0);
    assert_eq!(
        metrics::sum(&text, "mesh_verdicts_total", &[("verdict", "translated")]),
        0
    );
    Ok(())
}

/// The true median lies below the interval when at most [`LOW`] of the ratios do, each of which is a fair coin.
#[test]
fn the_interval_of_the_median_is_wide_enough_and_no_wider() {
    let at_most = |count: usize| {
        let mut ways = 1.0;
        let mut sum = 0.0;
        for (left, taken) in (0..=PAIRS).rev().zip(1_u32..).take(count + 1) {
            sum += ways;
            ways *= f64::from(u32::try_from(left).unwrap_or_default()) / f64::from(taken);
        }
        sum / 2_f64.powi(i32::try_from(PAIRS).unwrap_or_default())
    };
    assert!(2.0 * at_most(LOW) < 0.05);
    assert!(2.0 * at_most(LOW + 1) > 0.05);
}
