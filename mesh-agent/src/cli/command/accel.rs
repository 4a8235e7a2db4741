//! `accel`: whether sockets of this node may be accelerated, which are, and the switch.

use mesh_common::{
    accel::{Enrolment, Moved},
    config::{Config, flag},
    flow::LiveFlow,
};
use serde::Serialize;

use crate::{
    app::{acceleration, flock::Patience, pin_lock::PinLock},
    cli::{
        agent::Silence,
        args::Format,
        failure::Failure,
        node::Node,
        output::{self, Detail, table},
    },
    datapath::probe::Report,
};

/// Acceleration on this node.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Acceleration {
    applications: Use,
    own: Use,
    switched_off: bool,
    kernel: String,
    stream_verdict: bool,
    checks: Vec<Check>,
    connections: Connections,
}

/// Whether a kind of sockets may be enrolled.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Use {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// A check of the probe, in the arrangement of programs that is used.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Check {
    name: &'static str,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The live connections, summed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connections {
    live: usize,
    enrolled: usize,
    redirected_messages: u64,
    redirected_bytes: u64,
    passed_messages: u64,
    passed_bytes: u64,
}

/// `accel status`.
pub fn status(node: &Node, format: Format) -> Result<String, Failure> {
    let config = node.tables()?.config().map_err(|error| node.unreadable(&error))?;
    let report = report(node);
    let flows = node.flows().unwrap_or_else(|failure| {
        eprintln!("meshctl: warning: {failure}");
        Vec::new()
    });
    output::one(&describe(config, report, &flows), format)
}

/// `accel disable`, `accel enable`: through the agent, or straight into the kernel where none runs.
pub fn switch(node: &Node, off: bool) -> Result<String, Failure> {
    match node.agent.switch_acceleration(off) {
        Ok(()) => {}
        Err(Silence::NotRunning(_)) => {
            let _lock = PinLock::take(&node.pins.top(), Patience::Refuse).map_err(|error| {
                Failure::failed(format!("{error}; it does not answer yet: try again in a moment"))
            })?;
            let mut tables = node.tables()?;
            let unreadable = |error| node.unreadable(&error);
            let config = tables.config().map_err(unreadable)?;
            tables
                .set_config(config.with(flag::ACCEL_OFF, off))
                .map_err(unreadable)?;
        }
        Err(silence) => return Err(silence.into()),
    }
    Ok(if off {
        "acceleration is off: every message goes by TCP from now on\n"
    } else {
        "acceleration is no longer switched off; `accel status` tells what it may be used for\n"
    }
    .to_owned())
}

/// Whether applications' sockets may be accelerated, in words.
pub fn word(config: Config, report: Option<Report>) -> String {
    let described = describe(config, report, &[]);
    if described.switched_off {
        return "switched off".to_owned();
    }
    described.applications.text()
}

/// What the probe found, as far as that can be read.
pub fn report(node: &Node) -> Option<Report> {
    acceleration::load(node.run_dir()).unwrap_or_else(|error| {
        eprintln!("meshctl: warning: what the probe found can't be read: {error}");
        None
    })
}

fn describe(config: Config, report: Option<Report>, flows: &[LiveFlow]) -> Acceleration {
    let report = report.unwrap_or_else(|| Report::impossible(String::new(), "not probed yet"));
    let usage = |flag: u32, objection: &Option<String>| Use {
        enabled: config.flags & flag != 0,
        why: objection.clone().filter(|_| config.flags & flag == 0),
    };
    let used = report
        .arrangements
        .iter()
        .find(|arrangement| arrangement.stream_verdict == report.stream_verdict);
    let checks = used.into_iter().flat_map(|arrangement| &arrangement.outcomes);
    Acceleration {
        applications: usage(flag::ACCEL_APPLICATIONS, &report.applications),
        own: usage(flag::ACCEL_OWN, &report.own),
        switched_off: config.flags & (flag::ACCEL_OFF | flag::DISABLED) != 0,
        checks: checks
            .map(|outcome| Check {
                name: outcome.check.name(),
                passed: outcome.wrong.is_none(),
                detail: outcome.wrong.clone(),
            })
            .collect(),
        stream_verdict: report.stream_verdict,
        kernel: report.kernel,
        connections: connections(flows),
    }
}

fn connections(flows: &[LiveFlow]) -> Connections {
    let enrolled: Vec<_> = flows
        .iter()
        .map(|flow| flow.sock.accel)
        .filter(|accel| accel.enrolment == Enrolment::Enrolled as u32)
        .collect();
    let sum = |of: fn(&mesh_common::accel::Accel) -> Moved| {
        enrolled.iter().map(of).fold(Moved::default(), Moved::plus)
    };
    let (redirected, passed) = (sum(|accel| accel.redirected), sum(|accel| accel.passed));
    Connections {
        live: flows.len(),
        enrolled: enrolled.len(),
        redirected_messages: redirected.messages,
        redirected_bytes: redirected.bytes,
        passed_messages: passed.messages,
        passed_bytes: passed.bytes,
    }
}

impl Use {
    fn text(&self) -> String {
        match &self.why {
            _ if self.enabled => "enabled".to_owned(),
            Some(why) => format!("disabled: {why}"),
            None => "disabled".to_owned(),
        }
    }
}

impl Detail for Acceleration {
    const KIND: &'static str = "Acceleration";

    fn text(&self) -> String {
        let switch = if self.switched_off {
            "off: every message goes by TCP (`accel enable` switches it on)"
        } else {
            "on"
        };
        let verdict = if self.stream_verdict { "yes" } else { "no" };
        let sums = self.connections;
        let mut facts = vec![
            ("Applications", self.applications.text()),
            ("Own sockets", self.own.text()),
            ("Switch", switch.to_owned()),
            (
                "Kernel",
                output::or_dash(Some(&self.kernel).filter(|kernel| !kernel.is_empty())),
            ),
            ("Stream verdict", verdict.to_owned()),
            (
                "Connections",
                format!("{} of {} enrolled", sums.enrolled, sums.live),
            ),
            (
                "Redirected",
                format!(
                    "{} messages, {} bytes",
                    sums.redirected_messages, sums.redirected_bytes
                ),
            ),
            (
                "Passed to TCP",
                format!("{} messages, {} bytes", sums.passed_messages, sums.passed_bytes),
            ),
        ];
        facts.retain(|(_, value)| !value.is_empty());
        let word = |check: &Check| match &check.detail {
            None => "passed".to_owned(),
            Some(why) => format!("failed: {why}"),
        };
        let rows = self
            .checks
            .iter()
            .map(|check| vec![check.name.to_owned(), word(check)]);
        let checks = table::table(&[output::text("CHECK"), output::text("RESULT")], rows);
        if self.checks.is_empty() {
            return table::facts(&facts);
        }
        format!("{}\n{checks}", table::facts(&facts))
    }
}

#[cfg(test)]
mod tests {
    use crate::datapath::probe::{self, Arrangement, Outcome};

    use super::*;

    fn config(flags: u32) -> Config {
        Config {
            flags,
            ..Config::default()
        }
    }

    fn report() -> Report {
        let outcome = |check, wrong: Option<&str>| Outcome {
            check,
            wrong: wrong.map(ToOwned::to_owned),
        };
        Report::of(
            "6.1.0-1".into(),
            vec![Arrangement {
                stream_verdict: false,
                outcomes: vec![
                    outcome(probe::Check::Order, None),
                    outcome(probe::Check::FionreadTcp, Some("told 0 of 100 bytes")),
                ],
            }],
        )
    }

    #[test]
    fn each_use_has_its_own_answer() {
        let flow = |enrolment: Enrolment, messages| {
            let mut flow = LiveFlow::default();
            flow.sock.accel.enrolment = enrolment as u32;
            flow.sock.accel.redirected = Moved {
                messages,
                bytes: messages * 64,
            };
            flow
        };
        let flows = [flow(Enrolment::Enrolled, 3), flow(Enrolment::NotAsked, 0)];
        assert_eq!(
            describe(config(flag::ACCEL_OWN), Some(report()), &flows).text(),
            "\
Applications:    disabled: fionread_tcp: told 0 of 100 bytes
Own sockets:     enabled
Switch:          on
Kernel:          6.1.0-1
Stream verdict:  no
Connections:     1 of 2 enrolled
Redirected:      3 messages, 192 bytes
Passed to TCP:   0 messages, 0 bytes

CHECK          RESULT
order          passed
fionread_tcp   failed: told 0 of 100 bytes
"
        );
    }

    #[test]
    fn before_the_probe_and_switched_off() {
        let before = describe(config(flag::ACCEL_OFF), None, &[]);
        assert!(before.switched_off);
        assert_eq!(before.applications.text(), "disabled: not probed yet");
        assert!(
            before.text().contains("Switch:          off"),
            "{}",
            before.text()
        );
    }
}
