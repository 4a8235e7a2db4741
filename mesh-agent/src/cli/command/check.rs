//! `check`: what is wrong on this node, and what to do about it.

pub mod report;

use mesh_common::{
    abi::ABI_VERSION,
    config::{Config, flag},
    counter::Counter,
};

use self::report::{Check, Report};
use super::{
    accel,
    map::{self, MapRow},
    status::{PacketState, counting},
};
use crate::{
    app::admin::Status,
    cli::{
        agent::Silence,
        answer::Answer,
        args::Format,
        failure::Failure,
        held::Held,
        node::{self, Node},
        output::{style::Style, unit},
    },
    datapath::{
        hooks::HOOKS,
        inbound,
        rivals::{self, Rival},
        tables::Tables,
        verify,
    },
};

/// A map is nearly full from this share on, in percent.
const NEARLY_FULL: u64 = 90;

/// `check`.
pub fn run(node: &Node, format: Format, style: Style) -> Result<Answer, Failure> {
    let mut checks = agent(&node.agent.status());
    match node.tables() {
        Err(failure) => checks.push(Check::bad(
            "tables are pinned",
            failure,
            "start mesh-agent on this node",
        )),
        Ok(tables) => {
            checks.push(Check::good("tables are pinned", node.pins.root().display()));
            checks.extend(kernel(node, &tables)?);
        }
    }
    if let Ok(drift) = node.agent.diff() {
        checks.push(drifted(drift.len()));
    }
    Report::new(checks).answer(format, style)
}

fn agent(answer: &Result<Status, Silence>) -> Vec<Check> {
    let status = match answer {
        Ok(status) => status,
        Err(silence) => {
            let next = "start mesh-agent; until then the kernel goes on with what it has";
            return vec![Check::bad("agent answers", silence, next)];
        }
    };
    vec![
        Check::good(
            "agent answers",
            format_args!("pid {}, version {}", status.pid, status.version),
        ),
        Check::none(
            "agent is ready",
            &status.pending,
            "see the agent's log for what is pending",
        ),
        Check::none(
            "objects come in",
            status.source_trouble.as_slice(),
            "see whether the API server is there, and takes the agent for somebody it knows",
        ),
        Check::none(
            "objects are right",
            &status.problems,
            "mend the objects; the last good state stays",
        ),
        Check::none(
            "everything has room",
            &status.refusals,
            "start the agent with a larger --map-size",
        ),
        Check::none(
            "pods have network namespaces",
            &status.unassigned,
            "look at --netns-dir of the agent, and at the pods' addresses",
        ),
        Check::none(
            "all of every pod is seen",
            &status.partial,
            "what is not seen is neither counted nor judged; see the README",
        ),
    ]
}

fn kernel(node: &Node, tables: &Tables) -> Result<Vec<Check>, Failure> {
    let held = node.held_in(tables)?;
    let config = tables.config().map_err(|error| node.unreadable(&error))?;
    let mut checks = vec![
        configured(config),
        hooks(node, &held),
        first(node, &held)?,
        packets(node)?,
        listeners(node, &held),
        accelerated(config, node),
    ];
    checks.push(match node.flows() {
        Ok(flows) => Check::good("connections can be listed", format_args!("{} live", flows.len())),
        Err(failure) => Check::bad("connections can be listed", failure, "see the agent's log"),
    });
    checks.push(room(&map::rows(&node.pins, &held, &node.readings()?)));
    Ok(checks)
}

fn configured(config: Config) -> Check {
    const NAME: &str = "programs are switched on";
    if config.abi != ABI_VERSION {
        let detail = format!("the tables were never filled (version {})", config.abi);
        return Check::bad(NAME, detail, "wait until the agent is ready, or see its log");
    }
    if config.flags & flag::DISABLED != 0 {
        return Check::bad(
            NAME,
            "the kill switch is set",
            "clear it, or restart the agent without it",
        );
    }
    Check::good(NAME, format_args!("generation {}", config.generation))
}

/// Acceleration is asked for by pods; a node that can't have it is no less well, so this never fails.
fn accelerated(config: Config, node: &Node) -> Check {
    Check::good("acceleration", accel::word(config, accel::report(node)))
}

fn hooks(node: &Node, held: &Held) -> Check {
    const NAME: &str = "programs are attached";
    let place = match node::cgroup(&held.names, node) {
        Ok(place) => place,
        Err(error) => return Check::bad(NAME, error, "mount cgroup2 and restart the agent"),
    };
    let missing = verify::not_attached(&node.pins, &place.cgroup);
    if missing.is_empty() {
        return Check::good(NAME, format_args!("{} at {place}", HOOKS.len()));
    }
    let lines: Vec<String> = missing
        .iter()
        .map(|hook| format!("{}: {}", hook.program, hook.why))
        .collect();
    let why = format!("at {place}: {}", lines.join("; "));
    Check::bad(NAME, why, "restart the agent, which attaches them")
}

/// Whether services that pods dial come to us. A tool's programs stay where they are when it is told to leave pods alone
/// (Cilium), so what shows it is whether anything was ever balanced.
fn first(node: &Node, held: &Held) -> Result<Check, Failure> {
    let rivals = match node::cgroup(&held.names, node) {
        Ok(place) => {
            rivals::find(&node.pins, &place.cgroup).map_err(|error| Failure::failed(error.to_string()))?
        }
        // That is said above.
        Err(_) => Vec::new(),
    };
    let counters = node
        .readings()?
        .counters()
        .map_err(|error| node.unreadable(&error))?;
    let balanced = counters
        .iter()
        .filter(|(counter, ..)| matches!(counter, Counter::Translated | Counter::DatagramTranslated));
    Ok(outrun(&rivals, balanced.map(|(.., total)| total).sum()))
}

fn outrun(rivals: &[Rival], balanced: u64) -> Check {
    const NAME: &str = "services come to the mesh";
    let lines = |next: fn(&Rival) -> String| rivals.iter().map(next).collect::<Vec<_>>().join("; ");
    match (rivals, balanced) {
        ([], _) => Check::good(NAME, "no other socket load balancer runs before ours"),
        (_, 1..) => {
            let detail = lines(Rival::to_string);
            Check::good(NAME, format_args!("{balanced} did, although {detail}"))
        }
        _ => {
            let detail = lines(|rival| format!("{rival}: {}", rival.tool.setting()));
            let next =
                "change that setting; where it is right already, dial a service from a pod of the mesh";
            Check::bad(NAME, format_args!("none did yet, and {detail}"), next)
        }
    }
}

fn packets(node: &Node) -> Result<Check, Failure> {
    const NAME: &str = "packets are counted";
    let state = PacketState::of(counting(node, &node.readings()?));
    Ok(if state.faults.is_empty() {
        Check::good(NAME, state.text())
    } else {
        let next = "wait ten seconds, in which the agent mends it, or see its log";
        Check::bad(NAME, state.faults.join("; "), next)
    })
}

fn listeners(node: &Node, held: &Held) -> Check {
    const NAME: &str = "connections to pods are judged";
    let faults = inbound::faults(&node.pins, held.pods.keys().copied());
    if faults.is_empty() {
        Check::good(NAME, format_args!("at {} pods", held.pods.len()))
    } else {
        let next = "wait ten seconds, in which the agent mends it, or see its log";
        Check::bad(NAME, faults.join("; "), next)
    }
}

fn room(maps: &[MapRow]) -> Check {
    let share = |row: &MapRow| Some((row.name, row.entries? as u64, row.max_entries?));
    // A map that forgets the oldest by itself may be full.
    let growing = maps.iter().filter(|row| !row.forgets()).filter_map(share);
    let (full, room): (Vec<_>, Vec<_>) =
        growing.partition(|(_, entries, max)| entries * 100 >= max.saturating_mul(NEARLY_FULL));
    if full.is_empty() {
        return Check::good("maps have room", format_args!("{} maps", room.len()));
    }
    let lines = full
        .iter()
        .map(|(name, entries, max)| format!("{name} {}", unit::percent(*entries, *max)));
    let lines: Vec<String> = lines.collect();
    Check::bad(
        "maps have room",
        lines.join(", "),
        "start the agent with a larger --map-size",
    )
}

fn drifted(entries: usize) -> Check {
    const NAME: &str = "the kernel holds what the agent wants";
    match entries {
        0 => Check::good(NAME, "no drift"),
        _ => Check::bad(
            NAME,
            format_args!("{entries} entries differ"),
            "see `diff`; a restart of the agent mends it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(checks: &[Check]) -> String {
        Report::new(checks.to_vec()).text(Style::default())
    }

    #[test]
    fn the_agent_is_asked_first() {
        let silence = Silence::NotRunning("/run/mesh/admin.sock".into());
        assert_eq!(
            lines(&agent(&Err(silence))),
            "\
FAIL  agent answers: mesh-agent is not running (nobody listens on /run/mesh/admin.sock): start it, or point --run-dir at its directory
      next: start mesh-agent; until then the kernel goes on with what it has

1 of 1 checks failed
"
        );
        let status = Status {
            version: "0.1.0".into(),
            pid: 7,
            problems: vec!["a".into()],
            ..Status::default()
        };
        assert_eq!(
            lines(&agent(&Ok(status))),
            "\
ok    agent answers: pid 7, version 0.1.0
ok    agent is ready
ok    objects come in
FAIL  objects are right: a
      next: mend the objects; the last good state stays
ok    everything has room
ok    pods have network namespaces
ok    all of every pod is seen

1 of 7 checks failed
"
        );
    }

    #[test]
    fn tables_must_be_filled_and_switched_on() {
        assert!(
            configured(Config {
                abi: ABI_VERSION,
                flags: 0,
                generation: 1,
                ..Config::default()
            })
            .good
        );
        assert!(!configured(Config::default()).good);
        assert!(
            !configured(Config {
                abi: ABI_VERSION,
                flags: flag::DISABLED,
                generation: 1,
                ..Config::default()
            })
            .good
        );
    }

    #[test]
    fn full_maps_fail() {
        let map = |name, entries| MapRow::for_test(name, entries, 100);
        assert!(room(&[map("PODS", 89), map("AFFINITY", 100)]).good);
        let check = room(&[map("PODS", 90), map("SERVICES", 1)]);
        assert_eq!((check.good, check.detail.as_str()), (false, "PODS 90.0%"));
        assert!(!drifted(1).good);
    }

    #[test]
    fn whoever_comes_first_takes_the_services() {
        let cilium = Rival {
            tool: rivals::Tool::Cilium,
            programs: ["cil_sock4_conne".to_owned()].into(),
        };
        assert!(outrun(&[], 0).good);
        assert!(outrun(std::slice::from_ref(&cilium), 1).good);
        let text = lines(&[outrun(&[cilium], 0)]);
        assert!(
            text.contains("none did yet, and the socket load balancer of Cilium"),
            "{text}"
        );
        assert!(
            text.contains("runs before ours: set socketLB.hostNamespaceOnly=true"),
            "{text}"
        );
    }
}
