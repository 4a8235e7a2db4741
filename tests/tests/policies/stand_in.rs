//! That the probers notice: everything passes where nobody denies, and rules of netfilter are noticed that stand in for
//! denials. No agent runs here.

use anyhow::{Result, ensure};
use harness::probe::{Outcome, Protocol, sctp_available};
use harness::{require, require_root};

use crate::cases::{Flow, flows};
use crate::table::problem;
use crate::topology::Topology;
use crate::town::Town;

/// In a pod: what comes in is dropped, or answered by a refusal, or heard while the answer is dropped.
const RULES: &str = "table inet stand_in {
    chain input {
        type filter hook input priority 0
        tcp dport 80 reject with tcp reset
        tcp dport 81 drop
        udp dport 80 drop
        udp dport 81 reject
        meta l4proto sctp th dport 80 drop
    }
    chain output {
        type filter hook output priority 0
        meta l4proto sctp th sport 81 drop
    }
}
";

fn of_rules(flow: &Flow<'_>) -> Outcome {
    match (flow.to.name.as_str(), flow.protocol, flow.port) {
        ("y/b", Protocol::Tcp, 80) | ("y/b", Protocol::Udp, 81) => Outcome::Refused,
        ("y/b", Protocol::Sctp, 81) => Outcome::Heard,
        ("y/b", ..) => Outcome::Silent,
        _ => Outcome::Answered,
    }
}

#[test]
fn everything_passes_where_nobody_denies_and_a_stand_in_is_noticed() -> Result<()> {
    require_root!();
    require!(harness::require::program("nft"), sctp_available());
    let town = Town::build("stand-in")?;
    let flows = flows(&town.parties, &Protocol::ALL);
    let hopeful: Vec<_> = flows.iter().map(|flow| (*flow, true)).collect();
    for (flow, made) in flows.iter().zip(town.attempt(&hopeful)?) {
        ensure!(made.settled() == Outcome::Answered, "{flow}: {}", made.settled());
    }

    let file = town.sandbox.run_dir().join("rules.nft");
    std::fs::write(&file, RULES)?;
    let output = town.pod("y/b").command("nft").arg("-f").arg(&file).output()?;
    ensure!(output.status.success(), "{output:?}");
    let tried: Vec<_> = flows
        .iter()
        .map(|flow| (*flow, of_rules(flow) == Outcome::Answered))
        .collect();
    let made = town.attempt(&tried)?;
    for (flow, made) in flows.iter().zip(&made) {
        ensure!(made.settled() == of_rules(flow), "{flow}: {}", made.settled());
    }
    // And what a case would say of it: a denial that nobody is told of is none, nor one of answers only.
    let said = |name: &str, protocol, port| -> Vec<String> {
        let pairs = flows.iter().zip(&made);
        let ours = pairs.filter(|(flow, _)| {
            let from = flow.from.map(|from| from.name.as_str());
            (from, flow.to.name.as_str()) == (Some(name), "y/b")
                && (flow.protocol, flow.port) == (protocol, port)
        });
        ours.filter_map(|(flow, made)| problem(flow, false, made))
            .collect()
    };
    for name in ["x/a", "world"] {
        assert_eq!(said(name, Protocol::Tcp, 80), [""; 0]);
        assert_eq!(said(name, Protocol::Tcp, 81).len(), 2);
        assert_eq!(said(name, Protocol::Sctp, 80), [""; 0]);
        assert_eq!(said(name, Protocol::Sctp, 81).len(), 2);
    }
    assert_eq!(said("x/a", Protocol::Udp, 80).len(), 2);
    assert_eq!(said("world", Protocol::Udp, 80), [""; 0]);
    Ok(())
}

#[test]
fn the_cases_speak_of_somebody() {
    let parties = Topology::read().parties();
    let flows = flows(&parties, &Protocol::ALL);
    let (cases, mut lines) = (crate::cases::cases(), 0);
    for case in &cases {
        for line in case.lines() {
            assert!(flows.iter().any(|flow| line.speaks_of(flow)), "{}", case.name);
            lines += 1;
        }
    }
    assert!(
        cases.len() >= 150 && lines >= cases.len(),
        "{} {lines}",
        cases.len()
    );
}
