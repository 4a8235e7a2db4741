//! What a change costs among five thousand policies over ten thousand pods; fewer where nothing is optimised.

use std::time::{Duration, Instant};

use super::world::{World, key};
use super::*;
use crate::model::desired::PodKey;
use crate::model::policy::tests::scale::{LOCAL, cluster, labels, spec};

const LIMIT: Duration = Duration::from_millis(50);
const FIRST: Duration = Duration::from_secs(2);
/// Where nothing is optimised, the limits only tell what takes far too long.
const SLOWNESS: u32 = if cfg!(debug_assertions) { 20 } else { 1 };

fn pod_key(pod: &Pod) -> PodKey {
    key(&pod.name.to_string())
}

fn facts(pod: &Pod) -> PodFacts {
    PodFacts {
        labels: pod.labels.clone(),
        addresses: pod.addresses.clone(),
        ports: pod.ports.clone(),
    }
}

fn made(text: &str, at: usize) -> (ObjectName, Option<Arc<NetworkPolicy>>) {
    let made = policy(&name(text), serde_json::from_value(spec(at)).unwrap());
    (name(text), Some(made))
}

/// Makes a change, and plans it; the change must have been seen. The best of a few rounds counts, since other tests run
/// beside.
fn timed(world: &World, what: &str, change: impl Fn(&mut World)) -> Duration {
    let rounds = (0..3).map(|_| {
        let mut world = world.clone();
        change(&mut world);
        let start = Instant::now();
        let ops = world.agent.plan(world.now);
        (start.elapsed(), ops.len())
    });
    let (best, ops) = rounds.min().unwrap();
    eprintln!("{what}: {best:?}, {ops} writes");
    assert!(ops > 0, "{what}");
    best
}

#[test]
fn a_change_takes_as_long_as_what_it_is_about() {
    let cluster = cluster();
    let mut world = World::new(Limits::default());
    for (name, labels) in &cluster.namespaces {
        let labels = labels.clone();
        world.namespace(
            name,
            Some(NamespaceFacts {
                labels,
                audited: false,
            }),
        );
    }
    for pod in &cluster.pods {
        world.pod(&pod_key(pod), Some(facts(pod)));
    }
    for (name, policy) in &cluster.policies {
        world.policy(name, Some(policy.clone()));
    }
    for (pod, workload) in cluster.pods[..LOCAL.min(cluster.pods.len())].iter().zip(1..) {
        world.local(&pod_key(pod), Some(workload));
    }
    let first = timed(&world, "all", |_| {});
    world.plan();
    let held = world.kernel.observed();
    eprintln!(
        "{} rules, {} addresses, {} prefixes, {} pods",
        held.rules.len(),
        held.classes.len(),
        held.cidrs.len(),
        held.pods.len()
    );
    assert_eq!(world.agent.problems(), []);
    world.come_to_rest();

    let (n0, own) = (
        &cluster.pods[0],
        cluster.policies.keys().next().unwrap().to_string(),
    );
    let other = format!("{}/other", n0.name.namespace);
    let changes = [
        timed(&world, "one policy changed", |world| {
            let (name, policy) = made(&own, 7);
            world.policy(&name, policy);
        }),
        timed(&world, "one policy more", |world| {
            let (name, policy) = made(&other, 3);
            world.policy(&name, policy);
        }),
        timed(&world, "one pod relabelled", |world| {
            let labels = labels([("app", "a7".to_owned())]);
            let facts = facts(n0);
            world.pod(&pod_key(n0), Some(PodFacts { labels, ..facts }));
        }),
        timed(&world, "one namespace relabelled", |world| {
            let facts = NamespaceFacts {
                labels: labels([("team", "t7".to_owned())]),
                audited: false,
            };
            world.namespace(&n0.name.namespace, Some(facts));
        }),
    ];
    let restarted = timed(&world, "a new agent", World::restart);
    assert!(
        first.max(restarted) < FIRST * SLOWNESS,
        "{first:?}, {restarted:?}"
    );
    assert!(
        changes.iter().all(|change| *change < LIMIT * SLOWNESS),
        "{changes:?}"
    );
}
