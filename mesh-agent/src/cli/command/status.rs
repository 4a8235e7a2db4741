//! `status`: how the mesh on this node is.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use mesh_common::config::{Config, flag};
use serde::Serialize;

use super::{
    accel,
    map::{self, MapRow},
};
use crate::{
    app::{
        admin,
        names::{Names, UnenrolledName},
        policy::PolicyState,
    },
    cli::{
        agent::Silence,
        answer::Answer,
        args::Format,
        failure::Failure,
        held::Held,
        node::{self, Known, Node, Place},
        output::{self, Detail, number, or_dash, table, text, unit},
    },
    datapath::{
        hooks::HOOKS,
        links::LinkError,
        probe::Report,
        readings::Readings,
        rivals,
        verify::{self, Counting, NotAttached},
    },
};

/// How the mesh on this node is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    healthy: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    node: String,
    cgroup: String,
    /// `None` where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_known: Option<Known>,
    agent: AgentState,
    disabled: bool,
    /// Whether applications' sockets may be accelerated, and if not, why.
    acceleration: String,
    generation: u64,
    hooks: Vec<HookState>,
    /// Socket load balancers of other tools that run before ours, each with what to do about it.
    rivals: Vec<String>,
    packets: PacketState,
    pods: usize,
    /// Pods that are known by their cgroup until they are known by their network namespace.
    pending_pods: usize,
    /// Pods that ask for the mesh and are not in it, each with the reason.
    unenrolled: Vec<String>,
    /// Sockets that were there before their pod was in the mesh.
    unobserved_sockets: usize,
    services: usize,
    backends: usize,
    maps: Vec<Fill>,
    counters: BTreeMap<&'static str, u64>,
}

/// The agent, in its own words.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentState {
    running: bool,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Whether another agent waits for the end of this one, to take over.
    #[serde(skip_serializing_if = "is_false")]
    awaited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_trouble: Option<String>,
    pending: Vec<String>,
    problems: Vec<String>,
    refusals: Vec<String>,
    unassigned: Vec<String>,
    /// How pods are known whose network namespace is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pending_pods: String,
    partial: Vec<String>,
    limits: Vec<String>,
    policy: PolicyState,
}

/// A hook, as the kernel has it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct HookState {
    program: &'static str,
    attached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// What counts packets, as the kernel has it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct PacketState {
    /// Interfaces where packets should be counted.
    interfaces: usize,
    /// How many of them are, by way of attaching.
    counted: BTreeMap<&'static str, usize>,
    /// What is missing or too much.
    pub faults: Vec<String>,
}

/// How full a map is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
struct Fill {
    name: &'static str,
    entries: usize,
    max: u64,
}

/// `status`.
pub fn run(node: &Node, format: Format) -> Result<Answer, Failure> {
    let tables = node.tables()?;
    let readings = node.readings()?;
    let held = node.held_in(&tables)?;
    let failed = |error| node.unreadable(&error);
    let counters = readings.counters().map_err(failed)?;
    let place = node::cgroup(&held.names, node);
    let rivals = rivals(node, &place);
    let (cgroup, cgroup_known, hooks) = hooks(node, &held, place);
    let status = Status {
        healthy: false,
        node: held.names.node.clone(),
        cgroup,
        cgroup_known,
        agent: agent(node.agent.status()),
        hooks,
        rivals,
        packets: PacketState::of(counting(node, &readings)),
        pods: held.pods.len(),
        pending_pods: held.pending.len(),
        unenrolled: unenrolled(&held.names),
        unobserved_sockets: held.unobserved.values().map(BTreeSet::len).sum(),
        services: held.services.len(),
        backends: held.backends.len(),
        maps: fill(&map::rows(&node.pins, &held, &readings)),
        counters: counters
            .into_iter()
            .map(|(_, name, value)| (name, value))
            .collect(),
        ..Status::configured(tables.config().map_err(failed)?, accel::report(node))
    };
    let status = Status {
        healthy: status.is_healthy(),
        ..status
    };
    Ok(Answer::of(output::one(&status, format)?, status.healthy))
}

/// What counts packets, asked where the host's interfaces are.
pub fn counting(node: &Node, readings: &Readings) -> io::Result<Counting> {
    verify::counting(&node.pins, readings, &node.host()?)
}

/// Where the programs should run, and which do.
fn hooks(
    node: &Node,
    held: &Held,
    place: Result<Place, LinkError>,
) -> (String, Option<Known>, Vec<HookState>) {
    let missing = place.map(|place| {
        let missing = verify::not_attached(&node.pins, &place.cgroup);
        (place, missing)
    });
    match missing {
        Ok((place, missing)) => {
            let path = place.cgroup.path().display().to_string();
            (path, Some(place.known), hook_states(&missing))
        }
        Err(error) => {
            let why = error.to_string();
            let all = HOOKS.map(|hook| NotAttached {
                program: hook.program,
                why: why.clone(),
            });
            (held.names.cgroup.display().to_string(), None, hook_states(&all))
        }
    }
}

/// Who runs before ours, and what to do about it. Where there is no cgroup, no program runs at all.
fn rivals(node: &Node, place: &Result<Place, LinkError>) -> Vec<String> {
    let Ok(place) = place else { return Vec::new() };
    match rivals::find(&node.pins, &place.cgroup) {
        Ok(rivals) => rivals
            .iter()
            .map(|rival| format!("{rival}: {}", rival.tool.setting()))
            .collect(),
        Err(error) => vec![format!("it can't be told: {error}")],
    }
}

fn hook_states(missing: &[NotAttached]) -> Vec<HookState> {
    let state = |program| {
        let why = missing
            .iter()
            .find(|hook| hook.program == program)
            .map(|hook| hook.why.clone());
        HookState {
            program,
            attached: why.is_none(),
            why,
        }
    };
    HOOKS.iter().map(|hook| state(hook.program)).collect()
}

fn agent(answer: Result<admin::Status, Silence>) -> AgentState {
    match answer {
        Ok(status) => AgentState {
            running: true,
            ready: status.pending.is_empty(),
            pid: Some(status.pid),
            awaited: status.awaited,
            version: Some(status.version),
            error: None,
            source: status.source,
            source_trouble: status.source_trouble,
            pending: status.pending,
            problems: status.problems,
            refusals: status.refusals,
            unassigned: status.unassigned,
            pending_pods: status.pending_pods,
            partial: status.partial,
            limits: status.limits,
            policy: status.policy,
        },
        Err(Silence::NotRunning(_)) => AgentState::default(),
        Err(silence) => AgentState {
            error: Some(silence.to_string()),
            ..AgentState::default()
        },
    }
}

fn unenrolled(names: &Names) -> Vec<String> {
    let pods = names.unenrolled.iter();
    pods.map(|UnenrolledName { pod, why }| format!("{}/{}: {why}", pod.namespace, pod.name))
        .collect()
}

/// Maps whose entries can be counted.
fn fill(rows: &[MapRow]) -> Vec<Fill> {
    let fill = |row: &MapRow| {
        Some(Fill {
            name: row.name,
            entries: row.entries?,
            max: row.max_entries?,
        })
    };
    rows.iter().filter_map(fill).collect()
}

impl Status {
    fn configured(config: Config, report: Option<Report>) -> Self {
        Self {
            healthy: false,
            node: String::new(),
            cgroup: String::new(),
            cgroup_known: None,
            agent: AgentState::default(),
            disabled: config.flags & flag::DISABLED != 0,
            acceleration: accel::word(config, report),
            generation: config.generation,
            hooks: Vec::new(),
            rivals: Vec::new(),
            packets: PacketState::default(),
            pods: 0,
            pending_pods: 0,
            unenrolled: Vec::new(),
            unobserved_sockets: 0,
            services: 0,
            backends: 0,
            maps: Vec::new(),
            counters: BTreeMap::new(),
        }
    }

    fn is_healthy(&self) -> bool {
        self.agent.ready && !self.disabled && self.hooks.iter().all(|hook| hook.attached)
    }

    fn pods(&self) -> String {
        let kept_out = match self.unenrolled.len() {
            0 => String::new(),
            some => format!(", {some} kept out"),
        };
        let unobserved = match self.unobserved_sockets {
            0 => String::new(),
            1 => "; 1 socket from before is not observed".to_owned(),
            some => format!("; {some} sockets from before are not observed"),
        };
        format!(
            "{} enrolled, {} pending{kept_out}{unobserved}",
            self.pods, self.pending_pods
        )
    }

    fn ready(&self) -> String {
        match (self.agent.ready, self.agent.running) {
            (true, _) => "yes".to_owned(),
            (false, true) => format!("no: {}", self.agent.pending.join("; ")),
            (false, false) => "no: the agent is not running; the kernel goes on with what it has".to_owned(),
        }
    }
}

impl PacketState {
    /// What was found, or why nothing could be.
    pub fn of(counting: io::Result<Counting>) -> Self {
        match counting {
            Ok(counting) => Self {
                interfaces: counting.interfaces,
                counted: counting
                    .ways
                    .iter()
                    .map(|(way, count)| (way.name(), *count))
                    .collect(),
                faults: counting.faults,
            },
            Err(error) => Self {
                faults: vec![error.to_string()],
                ..Self::default()
            },
        }
    }

    /// At how many interfaces packets are counted, and how.
    pub fn text(&self) -> String {
        let counted: usize = self.counted.values().sum();
        let names: Vec<_> = self.counted.keys().copied().collect();
        let by = if names.is_empty() { "" } else { " by " };
        format!(
            "{counted} of {} interfaces{by}{}",
            self.interfaces,
            names.join(" and ")
        )
    }
}

impl AgentState {
    /// Where its objects come from, and whether they do.
    fn source(&self) -> String {
        let place = or_dash(Some(&self.source).filter(|place| !place.is_empty()));
        match &self.source_trouble {
            Some(why) => format!("{place}: {why}"),
            None => place,
        }
    }

    /// How many policies there are, and how many pods they isolate.
    fn policies(&self) -> String {
        let PolicyState {
            policies,
            pods,
            audited,
            unenforced,
            ..
        } = &self.policy;
        if !self.running {
            return or_dash(None::<usize>);
        }
        let more = |count: usize, what: &str| match count {
            0 => String::new(),
            some => format!(", {some} {what}"),
        };
        format!(
            "{policies}, {pods} pods isolated{}{}",
            more(unenforced.len(), "not enforced"),
            more(audited.len(), "namespaces in audit mode"),
        )
    }

    /// How pending pods are known.
    fn pending_pods(&self) -> String {
        or_dash(Some(&self.pending_pods).filter(|text| !text.is_empty()))
    }

    fn text(&self) -> String {
        match (&self.pid, &self.version, &self.error) {
            (Some(pid), Some(version), _) => {
                let waits = if self.awaited {
                    "; another one waits to take over"
                } else {
                    ""
                };
                format!("running (pid {pid}, version {version}){waits}")
            }
            (_, _, Some(error)) => error.clone(),
            _ => "not running".to_owned(),
        }
    }
}

impl Detail for Status {
    const KIND: &'static str = "Status";

    fn text(&self) -> String {
        let attached = self.hooks.iter().filter(|hook| hook.attached).count();
        let mut facts = vec![
            ("Node", or_dash(Some(&self.node).filter(|node| !node.is_empty()))),
            ("Agent", self.agent.text()),
            ("Ready", self.ready()),
            ("Source", self.agent.source()),
            (
                "Cgroup",
                self.cgroup.clone() + self.cgroup_known.map_or("", Known::remark),
            ),
            ("Hooks", format!("{attached} of {} attached", self.hooks.len())),
            ("Packets", self.packets.text()),
            ("Pods", self.pods()),
            ("Pending pods", self.agent.pending_pods()),
            ("Services", format!("{} ports", self.services)),
            ("Backends", self.backends.to_string()),
            ("Policies", self.agent.policies()),
            ("Acceleration", self.acceleration.clone()),
            ("Generation", self.generation.to_string()),
        ];
        if self.disabled {
            facts.push((
                "Disabled",
                "the kill switch is set: every socket is left alone".to_owned(),
            ));
        }
        let missing = self
            .hooks
            .iter()
            .filter_map(|hook| Some(format!("{}: {}", hook.program, hook.why.as_ref()?)));
        let lists = [
            ("Not attached", missing.collect()),
            ("Services may not come to the mesh", self.rivals.clone()),
            ("Packets not counted", self.packets.faults.clone()),
            ("Problems", self.agent.problems.clone()),
            ("Without room", self.agent.refusals.clone()),
            ("Policies without room", self.agent.policy.problems.clone()),
            (
                "Pods that policies isolate, and nobody sees to it",
                self.agent.policy.unenforced.clone(),
            ),
            (
                "Namespaces where policies only report",
                self.agent.policy.audited.clone(),
            ),
            ("Pods without a network namespace", self.agent.unassigned.clone()),
            ("Pods seen in part", self.agent.partial.clone()),
            (
                "Pods that ask for the mesh and are not in it",
                self.unenrolled.clone(),
            ),
            ("Not possible here", self.agent.limits.clone()),
        ];
        let lists: String = lists.iter().map(|(head, lines)| section(head, lines)).collect();
        let maps = self.maps.iter().map(|fill| {
            let used = unit::percent(fill.entries as u64, fill.max);
            vec![
                fill.name.to_owned(),
                fill.entries.to_string(),
                fill.max.to_string(),
                used,
            ]
        });
        let maps = table::table(
            &[text("MAP"), number("ENTRIES"), number("MAX"), number("USED")],
            maps,
        );
        let counters = self
            .counters
            .iter()
            .map(|(name, count)| vec![(*name).to_owned(), count.to_string()]);
        let counters = table::table(&[text("COUNTER"), number("TOTAL")], counters);
        format!("{}{lists}\n{maps}\n{counters}", table::facts(&facts))
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is what serde calls"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Lines under a head; nothing where there are none.
fn section(head: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!("\n{head}:\n{}", table::indented(&lines.join("\n"), 2))
}

#[cfg(test)]
mod tests;
