//! All cases, each as real traffic between everybody.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use harness::probe::{Made, Outcome, Protocol, sctp_available};
use harness::{require_root, skip};
use serde_json::Value;

use crate::cases::{Case, Flow, cases, flows};
use crate::topology::Party;
use crate::town::Town;

/// Failures of a case that are told one by one.
const TOLD: usize = 8;

/// By what can be tried on this machine; says what can't.
fn protocols() -> Vec<Protocol> {
    let Err(reason) = sctp_available() else {
        return Protocol::ALL.to_vec();
    };
    let all = flows(&crate::topology::Topology::read().parties(), &[Protocol::Sctp]).len();
    let count = all * cases().len();
    skip(
        "policies over SCTP",
        &format!("{reason}: {count} connections not tried"),
    );
    vec![Protocol::Tcp, Protocol::Udp]
}

/// Whether what happened is what should: those who may hear the answer, and nobody else hears a thing. A caller on this
/// node is told at once, and every caller of TCP: a silent denial is as wrong as a connection.
pub fn problem(flow: &Flow<'_>, passes: bool, made: &Made) -> Option<String> {
    let outcome = made.settled();
    let told = flow.from.is_some_and(Party::is_pod) && flow.protocol == Protocol::Udp;
    let told = told || flow.protocol == Protocol::Tcp;
    let right = match (passes, told) {
        (true, _) => outcome == Outcome::Answered,
        (false, true) => outcome == Outcome::Refused,
        (false, false) => matches!(outcome, Outcome::Silent | Outcome::Refused),
    };
    let wanted = match (passes, told) {
        (true, _) => "answered",
        (false, true) => "refused",
        (false, false) => "nothing came back",
    };
    (!right).then(|| format!("{outcome} after {:?}, not: {wanted}", made.took))
}

/// Tries everything; a text about what was wrong.
fn hold(town: &Town, case: &Case, flows: &[Flow<'_>]) -> Result<Option<String>> {
    let policies: Vec<(&str, &Value)> = case
        .policies
        .iter()
        .map(|(name, spec)| (name.as_str(), spec))
        .collect();
    town.policies.switch(&town.sandbox, &policies)?;
    let lines = case.lines();
    let expected: Vec<_> = flows.iter().map(|flow| flow.expected(&lines)).collect();
    let tried: Vec<_> = flows
        .iter()
        .zip(&expected)
        .map(|(flow, (passes, _))| (*flow, *passes))
        .collect();
    let made = town.attempt(&tried)?;
    let mut by_line: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((flow, (passes, line)), made) in flows.iter().zip(&expected).zip(&made) {
        if let Some(problem) = problem(flow, *passes, made) {
            by_line
                .entry(line)
                .or_default()
                .push(format!("{flow}: {problem}"));
        }
    }
    if by_line.is_empty() {
        return Ok(None);
    }
    let mut text = format!("{}\n", case.name);
    for (line, problems) in by_line {
        writeln!(text, "  {line:?}: {} wrong", problems.len())?;
        for problem in problems.iter().take(TOLD) {
            writeln!(text, "    {problem}")?;
        }
    }
    Ok(Some(text))
}

/// All cases, or those whose names have what `MESH_POLICY_CASE` says.
fn chosen() -> Vec<Case> {
    let wanted = std::env::var("MESH_POLICY_CASE").unwrap_or_default();
    let cases = cases().into_iter();
    cases.filter(|case| case.name.contains(&wanted)).collect()
}

#[test]
fn what_the_cases_say_happens() -> Result<()> {
    require_root!();
    let protocols = protocols();
    let town = Town::build("policies")?;
    let agent = town.sandbox.agent().start()?;
    let (cases, flows) = (chosen(), flows(&town.parties, &protocols));
    let start = Instant::now();
    let mut wrong = 0;
    for case in &cases {
        let problems = hold(&town, case, &flows).with_context(|| case.name.clone())?;
        if let Some(text) = problems {
            wrong += 1;
            println!("{text}");
        }
    }
    let count = cases.len() * flows.len();
    let took = start.elapsed();
    println!("{} cases, {count} connections, {took:?}", cases.len());
    ensure!(!cases.is_empty(), "there is no such case");
    let tail = agent.program().tail();
    ensure!(wrong == 0, "{wrong} of {} cases went wrong\n{tail}", cases.len());
    Ok(())
}
