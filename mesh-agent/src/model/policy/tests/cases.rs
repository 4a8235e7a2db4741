//! What the public conformance suites ask, as data; how to read it says `tests/fixtures/policy/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mesh_common::policy::Transport;
use serde::Deserialize;
use serde_json::Value;

use super::topology::{Somebody, topology, transport};
use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/policy/",
            $name
        ))
    };
}
pub(super) use fixture;

const FILES: [(&str, &str); 6] = [
    ("isolation", fixture!("isolation.yaml")),
    ("peers", fixture!("peers.yaml")),
    ("blocks", fixture!("blocks.yaml")),
    ("ports", fixture!("ports.yaml")),
    ("egress", fixture!("egress.yaml")),
    ("together", fixture!("together.yaml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "case")]
    name: String,
    policies: BTreeMap<String, Value>,
    expect: Vec<String>,
}

/// All cases, with the name of the file before their own.
fn cases() -> Vec<Case> {
    let files = FILES
        .into_iter()
        .map(|(file, text)| (file, yaml::<Vec<Case>>(text)));
    let named = files.flat_map(|(file, cases)| {
        cases.into_iter().map(move |it| {
            let name = format!("{file}: {}", it.name);
            Case { name, ..it }
        })
    });
    named.collect()
}

impl Case {
    /// Its policies, with every list turned round where that is asked for.
    fn policies(&self, turned: bool) -> BTreeMap<ObjectName, Arc<NetworkPolicy>> {
        let policies = self.policies.iter().map(|(text, spec)| {
            let spec = if turned { turn(spec.clone()) } else { spec.clone() };
            let read: api::NetworkPolicySpec = serde_json::from_value(spec.clone()).unwrap();
            let known = serde_json::to_value(&read).unwrap();
            assert_eq!(known, spec, "{}: a field that does not exist", self.name);
            (name(text), policy(&name(text), read))
        });
        policies.collect()
    }
}

fn turn(value: Value) -> Value {
    match value {
        Value::Array(all) => all.into_iter().rev().map(turn).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, it)| (name, turn(it))).collect(),
        other => other,
    }
}

/// `from -> to [4|6] [protocol[/port]] yes|no`
struct Line<'a> {
    from: &'a str,
    to: &'a str,
    family: Option<usize>,
    transport: Option<Transport>,
    port: Option<u16>,
    passes: bool,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Self {
        let words: Vec<_> = text.split(' ').collect();
        let [from, "->", to, what @ .., answer] = &words[..] else {
            panic!("{text:?}")
        };
        let mut line = Self {
            from,
            to,
            family: None,
            transport: None,
            port: None,
            passes: *answer == "yes",
        };
        assert!(line.passes || *answer == "no", "{text:?}");
        for word in what {
            match (*word, word.split_once('/')) {
                ("4", _) => line.family = Some(0),
                ("6", _) => line.family = Some(1),
                (_, Some((protocol, port))) => {
                    line.transport = Some(transport(protocol));
                    line.port = Some(port.parse().unwrap());
                }
                (protocol, None) => line.transport = Some(transport(protocol)),
            }
        }
        line
    }

    fn speaks_of(&self, flow: &Flow<'_>) -> bool {
        flow.from.is_some_and(|from| from.is_in(self.from))
            && flow.to.is_in(self.to)
            && self.family.is_none_or(|family| family == flow.family)
            && self.transport.is_none_or(|transport| transport == flow.transport)
            && self.port.is_none_or(|port| port == flow.port)
    }
}

/// A flow that is tried.
struct Flow<'a> {
    /// `None` for this node itself.
    from: Option<&'a Somebody>,
    to: &'a Somebody,
    family: usize,
    transport: Transport,
    port: u16,
}

impl Flow<'_> {
    fn question(&self) -> Question {
        let party = |it: &Somebody| Party {
            pod: it.pod,
            addr: it.addresses[self.family],
        };
        Question {
            from: self.from.map_or(Source::Host, |from| Source::Party(party(from))),
            to: party(self.to),
            protocol: self.transport as u8,
            port: self.port,
        }
    }

    /// What the last line says that speaks of it. What always passes is written nowhere.
    fn expected(&self, lines: &[Line<'_>]) -> bool {
        let Some(from) = self.from else { return true };
        let itself = from.pod.is_some() && from.pod == self.to.pod;
        let last = lines.iter().rfind(|line| line.speaks_of(self));
        itself || last.is_none_or(|line| line.passes)
    }
}

impl fmt::Display for Flow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.from.map_or("this node", |from| &from.name);
        let (to, family) = (&self.to.name, ["4", "6"][self.family]);
        write!(
            f,
            "{from} -> {to} {family} {}/{}",
            self.transport.name(),
            self.port
        )
    }
}

/// Everybody to everybody, where one of them is a pod, by every family, protocol and port.
fn flows(all: &[Somebody]) -> impl Iterator<Item = Flow<'_>> {
    let sources = || all.iter().map(Some).chain([None]);
    let pairs = all
        .iter()
        .flat_map(move |to| sources().map(move |from| (from, to)));
    let pairs = pairs.filter(|(from, to)| to.pod.is_some() || from.is_some_and(|from| from.pod.is_some()));
    pairs.flat_map(|(from, to)| {
        let ways = [0, 1]
            .into_iter()
            .flat_map(|family| Transport::ALL.map(|transport| (family, transport)));
        let ways = ways.flat_map(|(family, transport)| [80, 81].map(|port| (family, transport, port)));
        ways.map(move |(family, transport, port)| Flow {
            from,
            to,
            family,
            transport,
            port,
        })
    })
}

/// Tries all flows of all cases, with the lists as they are or turned round.
fn hold(turned: bool) {
    let (empty, all) = topology();
    for case in cases() {
        let lines: Vec<_> = case.expect.iter().map(|line| Line::parse(line)).collect();
        let idle = lines
            .iter()
            .find(|line| !flows(&all).any(|flow| line.speaks_of(&flow)));
        assert!(idle.is_none(), "{}: a line speaks of nobody", case.name);
        let cluster = Cluster {
            policies: case.policies(turned),
            ..empty.clone()
        };
        let tables = tables(&cluster);
        for flow in flows(&all) {
            let verdict = agree(&cluster, &tables, &flow.question());
            let verdict = verdict.unwrap_or_else(|differ| panic!("{}: {flow}: {differ}", case.name));
            let expected = flow.expected(&lines);
            assert_eq!(verdict.passes(), expected, "{}: {flow}: {verdict:?}", case.name);
        }
    }
}

#[test]
fn what_the_conformance_suites_ask_is_answered_as_they_expect() {
    hold(false);
}

#[test]
fn the_order_of_rules_peers_ports_and_requirements_does_not_matter() {
    hold(true);
}

#[test]
fn there_are_many_cases_each_with_a_name_of_its_own() {
    let cases = cases();
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert!(
        cases.len() >= 150 && names.len() == cases.len(),
        "{} {}",
        cases.len(),
        names.len()
    );
}
