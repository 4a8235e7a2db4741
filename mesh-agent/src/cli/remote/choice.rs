//! Which pod is the agent of a node.

use k8s_openapi::api::core::v1::Pod;
use mesh_common::names::install;

use crate::cli::failure::Failure;

/// An agent's pod that can be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// Its name.
    pub pod: String,
    /// What should be said besides.
    pub remark: Option<String>,
}

/// The pod to ask, of the agents' pods on a node. While an update goes on there are two; both have the same runtime
/// directory and the same BPF filesystem, so either will do. One that is ready and stays is preferred.
///
/// # Errors
/// Where there is none, or none that runs.
pub fn choose(pods: &[Pod], node: &str, namespace: &str) -> Result<Choice, Failure> {
    if pods.is_empty() {
        return Err(Failure::failed(format!(
            "no agent on node {node}: no pod there has the label {}={} in namespace {namespace} (see `kubectl get node \
             {node}` and `kubectl -n {namespace} get daemonset {}`, or say --agent-namespace)",
            install::NAME_LABEL,
            install::AGENT,
            install::AGENT,
        )));
    }
    let running: Vec<&Pod> = pods.iter().filter(|pod| trouble(pod).is_none()).collect();
    let rank = |pod: &&&Pod| (is_ending(pod), !is_ready(pod), name(pod).to_owned());
    let Some(best) = running.iter().min_by_key(rank) else {
        let states: Vec<String> = pods
            .iter()
            .filter_map(|pod| Some(format!("{} ({})", name(pod), trouble(pod)?)))
            .collect();
        return Err(Failure::failed(format!(
            "the agent of node {node} does not run: {}; see `kubectl -n {namespace} describe pod {}`",
            states.join(", "),
            name(&pods[0]),
        )));
    };
    let others: Vec<&str> = pods
        .iter()
        .map(name)
        .filter(|other| *other != name(best))
        .collect();
    let remark = (!others.is_empty()).then(|| {
        format!(
            "node {node} has several agents, as in an update: {} is asked, and not {}",
            name(best),
            others.join(", ")
        )
    });
    Ok(Choice {
        pod: name(best).to_owned(),
        remark,
    })
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref());
    conditions
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Why no command can run in the agent's container; `None` where one can.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref();
    let phase = status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("not started");
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let state = containers
        .and_then(|all| all.iter().find(|container| container.name == install::AGENT))
        .and_then(|container| container.state.as_ref());
    match state {
        None => Some(phase.to_owned()),
        Some(state) if state.running.is_some() => None,
        Some(state) => {
            let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
            let ended = state
                .terminated
                .as_ref()
                .map(|ended| format!("ended with {}", ended.exit_code));
            Some(waiting.or(ended).unwrap_or_else(|| phase.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, state: &Value, ready: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{
                    "name": "mesh-agent", "state": state,
                    "image": "", "imageID": "", "ready": false, "restartCount": 0,
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn without_an_agent_the_label_and_the_next_step_are_named() {
        let said = choose(&[], "n1", "mesh-system").unwrap_err().to_string();
        assert!(said.starts_with("no agent on node n1: "), "{said}");
        assert!(
            said.contains("app.kubernetes.io/name=mesh-agent in namespace mesh-system"),
            "{said}"
        );
    }

    #[test]
    fn an_agent_that_does_not_run_says_why() {
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let ended = json!({"terminated": {"exitCode": 1}});
        let fresh: Pod =
            serde_json::from_value(json!({"metadata": {"name": "c"}, "status": {"phase": "Pending"}}))
                .unwrap();
        let pods = [pod("a", &waiting, false), pod("b", &ended, false), fresh];
        assert_eq!(
            choose(&pods, "n1", "m").unwrap_err().to_string(),
            "the agent of node n1 does not run: a (CrashLoopBackOff), b (ended with 1), c (Pending); \
             see `kubectl -n m describe pod a`"
        );
    }

    #[test]
    fn of_several_one_that_is_ready_and_stays_is_asked() {
        let running = json!({"running": {}});
        let mut ending = pod("a", &running, true);
        ending.metadata.deletion_timestamp = serde_json::from_value(json!("2025-01-01T00:00:00Z")).unwrap();
        let pods = [ending, pod("b", &running, false), pod("c", &running, true)];
        let choice = choose(&pods, "n1", "m").unwrap();
        assert_eq!(choice.pod, "c");
        assert!(choice.remark.unwrap().ends_with("c is asked, and not a, b"));
        let alone = choose(&pods[2..], "n1", "m").unwrap();
        assert_eq!((alone.pod.as_str(), alone.remark), ("c", None));
    }
}
