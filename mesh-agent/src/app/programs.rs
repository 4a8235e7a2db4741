//! The kernel programs: put to work, and kept at it.

use std::collections::BTreeMap;

use super::{
    acceleration, config,
    engine::Engine,
    lock::RunDir,
    readiness::Readiness,
    wire::{self, Wire},
};
use crate::datapath::{
    Ebpf,
    links::{self, Attached, Cgroup, LinkError},
    listing,
    packets::Packets,
    pins::Pins,
    probe::Report,
    rivals, verify,
};
use crate::sys::netns::Host;

/// What readiness calls them.
pub const READINESS: &str = "programs";
/// What it calls what other tools' programs do before them.
const RIVALS: &str = "socket load balancers";

/// What is to be said while this agent's programs are not attached: those of an earlier one may run meanwhile.
#[must_use]
pub fn of_an_earlier_agent(pins: &Pins, cgroup: &Cgroup) -> Option<&'static str> {
    verify::not_attached(pins, cgroup)
        .is_empty()
        .then_some("an earlier agent's programs run; this agent's are not attached yet")
}

/// Makes the programs run for the sockets of the cgroup.
///
/// # Errors
/// Where the kernel does not attach one.
pub fn attach(ebpf: &mut Ebpf, pins: &Pins, cgroup: &Cgroup) -> Result<(), LinkError> {
    for (hook, attached) in links::attach(ebpf, pins, cgroup)? {
        let adopted = attached == Attached::Adopted;
        tracing::info!(program = hook.program, cgroup = %cgroup.path().display(), adopted, "attached");
    }
    if let Err(error) = listing::install(ebpf, pins) {
        tracing::warn!(%error, "live connections can't be listed");
    }
    Ok(())
}

/// Loads the packet programs; where that fails the agent works, and is not ready unless nobody wants them.
pub fn count_packets(
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
            for error in packets.sync(&BTreeMap::new()) {
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

/// Lets sockets be accelerated as far as the probe has passed; tells what came of it.
pub fn allow(mut report: Report, ebpf: &Ebpf, pins: &Pins, engine: &mut Engine, run_dir: &RunDir) -> Report {
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

/// Says which socket load balancers of other tools run before ours. They keep nobody from being ready: what they leave to
/// us is balanced as ever.
fn look_out(pins: &Pins, cgroup: &Cgroup, readiness: &Readiness) {
    let text = match rivals::find(pins, cgroup) {
        Ok(rivals) if rivals.is_empty() => return readiness.forget(RIVALS),
        Ok(rivals) => {
            let lines = rivals
                .iter()
                .map(|rival| format!("{rival}; {}", rival.tool.setting()));
            lines.collect::<Vec<_>>().join("; ")
        }
        Err(error) => format!("whether others run before ours can't be told: {error}"),
    };
    if readiness.notes().get(RIVALS) != Some(&text) {
        tracing::warn!(text, "services that pods dial may not come to the mesh");
    }
    readiness.note(RIVALS, text);
}

/// Asks the kernel whether our programs run, and before whose, and mends what was taken away.
pub fn keep(ebpf: &Ebpf, pins: &Pins, cgroup: &Cgroup, readiness: &Readiness) {
    look_out(pins, cgroup, readiness);
    let missing = verify::not_attached(pins, cgroup);
    if missing.is_empty() {
        return readiness.clear(READINESS);
    }
    let lines: Vec<_> = missing
        .iter()
        .map(|hook| format!("{}: {}", hook.program, hook.why))
        .collect();
    readiness.block(READINESS, lines.join("; "));
    match links::attach(ebpf, pins, cgroup) {
        Ok(_) if verify::not_attached(pins, cgroup).is_empty() => {
            tracing::warn!("programs that were no longer attached are attached again");
            readiness.clear(READINESS);
        }
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "the programs can't be attached again"),
    }
}
