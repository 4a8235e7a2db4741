//! What the conformance suites ask, as data; how to read it says the README beside the files.

use std::collections::BTreeMap;
use std::fmt;

use harness::probe::Protocol;
use serde::Deserialize;
use serde_json::Value;

use crate::topology::Party;

macro_rules! file {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!(
                "../../../mesh-agent/tests/fixtures/policy/",
                $name,
                ".yaml"
            )),
        )
    };
}

const FILES: [(&str, &str); 6] = [
    file!("isolation"),
    file!("peers"),
    file!("blocks"),
    file!("ports"),
    file!("egress"),
    file!("together"),
];

/// A set of policies, and what then passes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    #[serde(rename = "case")]
    pub name: String,
    pub policies: BTreeMap<String, Value>,
    expect: Vec<String>,
}

/// All cases, with the name of the file before their own.
pub fn cases() -> Vec<Case> {
    let read = |(file, text)| {
        // As YAML 1.2 has it, where `y` is a name.
        let options = serde_saphyr::options! { strict_booleans: true };
        let cases: Vec<Case> = serde_saphyr::from_str_with_options(text, options)
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        cases.into_iter().map(move |it| Case {
            name: format!("{file}: {}", it.name),
            ..it
        })
    };
    FILES.into_iter().flat_map(read).collect()
}

impl Case {
    pub fn lines(&self) -> Vec<Line<'_>> {
        self.expect.iter().map(|text| Line::parse(text)).collect()
    }
}

/// `from -> to [4|6] [protocol[/port]] yes|no`
pub struct Line<'a> {
    text: &'a str,
    from: &'a str,
    to: &'a str,
    family: Option<usize>,
    protocol: Option<Protocol>,
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
            text,
            from,
            to,
            family: None,
            protocol: None,
            port: None,
            passes: *answer == "yes",
        };
        assert!(line.passes || *answer == "no", "{text:?}");
        for word in what {
            match (*word, word.split_once('/')) {
                ("4", _) => line.family = Some(0),
                ("6", _) => line.family = Some(1),
                (_, Some((name, port))) => {
                    line.protocol = Some(protocol(name));
                    line.port = Some(port.parse().expect("a port"));
                }
                (name, None) => line.protocol = Some(protocol(name)),
            }
        }
        line
    }

    pub fn speaks_of(&self, flow: &Flow<'_>) -> bool {
        flow.from.is_some_and(|from| from.is_in(self.from))
            && flow.to.is_in(self.to)
            && self.family.is_none_or(|family| family == flow.family)
            && self.protocol.is_none_or(|protocol| protocol == flow.protocol)
            && self.port.is_none_or(|port| port == flow.port)
    }
}

fn protocol(name: &str) -> Protocol {
    let found = Protocol::ALL.into_iter().find(|it| it.name() == name);
    found.unwrap_or_else(|| panic!("{name} is no protocol"))
}

/// A flow that is tried.
#[derive(Clone, Copy)]
pub struct Flow<'a> {
    /// `None` for this node itself.
    pub from: Option<&'a Party>,
    pub to: &'a Party,
    pub family: usize,
    pub protocol: Protocol,
    pub port: u16,
}

impl Flow<'_> {
    /// Whether it passes, and the line that says so.
    pub fn expected<'l>(&self, lines: &[Line<'l>]) -> (bool, &'l str) {
        let Some(from) = self.from else {
            return (true, "(this node reaches every pod)");
        };
        if from.is_pod() && from.name == self.to.name {
            return (true, "(a pod reaches itself)");
        }
        let last = lines.iter().rfind(|line| line.speaks_of(self));
        last.map_or((true, "(no line speaks of it)"), |line| (line.passes, line.text))
    }
}

impl fmt::Display for Flow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.from.map_or("this node", |from| &from.name);
        let (to, family) = (&self.to.name, ["4", "6"][self.family]);
        write!(
            f,
            "{from} -> {to} {family} {}/{}",
            self.protocol.name(),
            self.port
        )
    }
}

/// Everybody to everybody, where one of them is a pod, by every family, port and these protocols.
pub fn flows<'a>(all: &'a [Party], protocols: &[Protocol]) -> Vec<Flow<'a>> {
    let mut flows = Vec::new();
    for to in all {
        for from in all.iter().map(Some).chain([None]) {
            if !(to.is_pod() || from.is_some_and(Party::is_pod)) {
                continue;
            }
            for family in [0, 1] {
                for &protocol in protocols {
                    flows.extend([80, 81].map(|port| Flow {
                        from,
                        to,
                        family,
                        protocol,
                        port,
                    }));
                }
            }
        }
    }
    flows
}
