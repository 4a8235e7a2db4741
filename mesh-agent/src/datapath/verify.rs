//! Asks the kernel what really runs for the sockets of the cgroup, and at the pods' interfaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::AsFd,
};

use super::{
    hooks::HOOKS,
    links::Cgroup,
    packets::{self, Survey, Way},
    pins::Pins,
    readings::Readings,
};
use crate::sys::{
    bpf::{self, Target},
    netns::Host,
    route,
};

/// A hook that does not run our program, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotAttached {
    /// The program.
    pub program: &'static str,
    /// What was seen instead.
    pub why: String,
}

/// Hooks whose pinned link is missing, dead, attached elsewhere, or not among the programs the kernel runs.
#[must_use]
pub fn not_attached(pins: &Pins, cgroup: &Cgroup) -> Vec<NotAttached> {
    HOOKS
        .into_iter()
        .filter_map(|hook| {
            let why = match look(pins, cgroup, hook) {
                Ok(None) => return None,
                Ok(Some(why)) => why,
                Err(error) => error.to_string(),
            };
            Some(NotAttached {
                program: hook.program,
                why,
            })
        })
        .collect()
}

fn look(pins: &Pins, cgroup: &Cgroup, hook: super::hooks::Hook) -> io::Result<Option<String>> {
    let path = pins.link(hook.program);
    let link = match bpf::open_pin(&path) {
        Ok(link) => link,
        Err(error) => {
            return Ok(Some(format!(
                "the pinned link {} can't be opened: {error}",
                path.display()
            )));
        }
    };
    let info = bpf::link_info(link.as_fd())?;
    let wanted = Target::Cgroup {
        id: cgroup.id()?,
        attach_type: hook.attach as u32,
    };
    if info.target != wanted {
        let place = cgroup.path().display();
        return Ok(Some(format!(
            "link {} is attached to {:?}, not to {place} ({wanted:?})",
            info.id, info.target
        )));
    }
    let effective = bpf::effective_programs(cgroup.as_fd(), hook.attach)?;
    if !effective.contains(&info.program) {
        let id = info.program;
        return Ok(Some(format!(
            "program {id} is not among those the kernel runs there: {effective:?}"
        )));
    }
    Ok(None)
}

/// What counts packets at the pods' interfaces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counting {
    /// Interfaces where packets should be counted.
    pub interfaces: usize,
    /// How many of them are, in each way.
    pub ways: BTreeMap<Way, usize>,
    /// What is missing or too much, each with its interface.
    pub faults: Vec<String>,
}

/// Asks about every interface of the host of which there are totals.
///
/// # Errors
/// Where the totals or the interfaces can't be listed.
pub fn counting(pins: &Pins, readings: &Readings, host: &Host) -> io::Result<Counting> {
    host.run(|| counting_here(pins, readings))
}

fn counting_here(pins: &Pins, readings: &Readings) -> io::Result<Counting> {
    let present: BTreeSet<u32> = route::interfaces()?.into_iter().collect();
    let counted = readings.packets().map_err(io::Error::other)?;
    let surveys = Way::ALL.map(|way| (way, Survey::of(way, pins)));
    let mut counting = Counting::default();
    for ifindex in counted.into_iter().map(|(ifindex, _)| ifindex) {
        // Those of pods that are gone wait for the agent.
        if !present.contains(&ifindex) {
            continue;
        }
        counting.interfaces += 1;
        let running = |survey: &Survey<'_>| packets::HOOKS.map(|hook| survey.running(hook, ifindex));
        let found = surveys.each_ref().map(|(way, survey)| (*way, running(survey)));
        judge(&mut counting, ifindex, &found);
    }
    Ok(counting)
}

/// Id of the program, or why there is none, for each direction.
type Running = [Result<u32, String>; 2];

fn judge(counting: &mut Counting, ifindex: u32, found: &[(Way, Running); 2]) {
    let ways: Vec<_> = found
        .iter()
        .filter(|(_, directions)| directions.iter().any(Result::is_ok))
        .collect();
    match ways[..] {
        [] => counting
            .faults
            .push(format!("no program is at interface {ifindex}")),
        [(way, directions)] => {
            let absent = packets::HOOKS
                .iter()
                .zip(directions)
                .filter_map(|(hook, running)| {
                    let why = running.as_ref().err()?;
                    Some(format!("{} is not at interface {ifindex}: {why}", hook.program))
                });
            let absent: Vec<_> = absent.collect();
            if absent.is_empty() {
                *counting.ways.entry(*way).or_default() += 1;
            }
            counting.faults.extend(absent);
        }
        _ => counting
            .faults
            .push(format!("packets are counted twice at interface {ifindex}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_once_in_both_directions() {
        let no = || Err("gone".to_owned());
        let mut counting = Counting::default();
        let mut see = |ifindex, tcx, clsact| {
            judge(&mut counting, ifindex, &[(Way::Tcx, tcx), (Way::Clsact, clsact)]);
        };
        see(3, [no(), no()], [Ok(1), Ok(2)]);
        see(4, [no(), no()], [no(), no()]);
        see(5, [Ok(1), no()], [no(), no()]);
        see(6, [Ok(1), Ok(2)], [Ok(1), no()]);
        assert_eq!(counting.ways, [(Way::Clsact, 1)].into());
        assert_eq!(
            counting.faults,
            [
                "no program is at interface 4",
                "mesh_to_pod is not at interface 5: gone",
                "packets are counted twice at interface 6",
            ]
        );
    }
}
