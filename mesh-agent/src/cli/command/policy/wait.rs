//! `policy wait`.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    app::policy::Versions,
    cli::{answer::Answer, failure::Failure, node::Node, scope::Scope},
};

/// The agent is asked this often.
const PAUSE: Duration = Duration::from_millis(100);

/// `policy wait`.
pub fn wait(
    node: &Node,
    scope: &Scope,
    policy: &str,
    generation: Option<i64>,
    timeout: Duration,
) -> Result<Answer, Failure> {
    let (namespace, name) = scope.object("policy", policy)?;
    let end = Instant::now() + timeout;
    loop {
        let versions = node.agent.policy_versions(&namespace, &name)?;
        if versions.is_in_force(generation) {
            return Ok(Answer::good(format!(
                "policy {namespace}/{name} is in force{}\n",
                of_generation(versions.in_force)
            )));
        }
        if Instant::now() >= end {
            let why = missing(&versions, generation);
            return Err(Failure::failed(format!(
                "policy {namespace}/{name}: {why} after {timeout:?}: see `meshctl status`"
            )));
        }
        thread::sleep(PAUSE.min(end.saturating_duration_since(Instant::now())));
    }
}

/// What is still missing.
fn missing(versions: &Versions, wanted: Option<i64>) -> String {
    let of_node = || "is not in this node's kernel".to_owned();
    let in_force = || {
        versions.in_force.map_or_else(of_node, |it| {
            format!("only generation {it} is in this node's kernel")
        })
    };
    match (wanted, versions.seen) {
        _ if !versions.known => "the agent knows of no such policy".to_owned(),
        (Some(wanted), Some(seen)) if seen < wanted => {
            format!("the agent has seen no generation newer than {seen}")
        }
        (Some(_), None) => "its generations are not counted: leave out --generation".to_owned(),
        _ => in_force(),
    }
}

fn of_generation(generation: Option<i64>) -> String {
    generation.map_or_else(String::new, |generation| format!(", generation {generation}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let versions = |known, seen, in_force| Versions {
            known,
            seen,
            in_force,
            settled: true,
        };
        for (versions, wanted, why) in [
            (
                versions(false, None, None),
                None,
                "the agent knows of no such policy",
            ),
            (
                versions(true, Some(2), Some(2)),
                Some(3),
                "the agent has seen no generation newer than 2",
            ),
            (
                versions(true, Some(3), Some(2)),
                None,
                "only generation 2 is in this node's kernel",
            ),
            (
                versions(true, Some(3), None),
                Some(3),
                "is not in this node's kernel",
            ),
            (
                versions(true, None, None),
                Some(3),
                "its generations are not counted: leave out --generation",
            ),
        ] {
            assert_eq!(missing(&versions, wanted), why);
        }
        assert_eq!(
            (of_generation(Some(3)), of_generation(None)),
            (", generation 3".into(), String::new())
        );
    }
}
