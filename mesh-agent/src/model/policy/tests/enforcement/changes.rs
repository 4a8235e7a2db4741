//! What one change writes.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_common::decide::policy::Verdict as Said;
use mesh_common::policy::{ANYBODY, Direction, OPEN};
use mesh_common::rules::flag;
use serde_json::{Value, json};

use super::world::{PLENTY, World, key};
use super::*;
use crate::model::object::Labels;
use crate::model::policy::enforcement::REST;

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    pairs.collect::<BTreeMap<_, _>>().into()
}

pub(super) fn facts(app: &str, address: &str) -> PodFacts {
    PodFacts {
        labels: labels(&[("app", app)]),
        addresses: vec![addr(address)],
        ports: vec![],
    }
}

pub(super) fn from_app(app: &str) -> Value {
    json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": app } } }] }] })
}

pub(super) fn set(world: &mut World, text: &str, generation: i64, spec: &Value) {
    let made = policy(&name(text), serde_json::from_value(spec.clone()).unwrap());
    let made = NetworkPolicy {
        generation: Some(generation),
        ..(*made).clone()
    };
    world.policy(&name(text), Some(Arc::new(made)));
}

/// `x/a` on this node with workload id 1, `x/b` and `x/c` elsewhere; `x/a` takes from app b.
pub(super) fn small(limits: Limits) -> World {
    let mut world = World::new(limits);
    for (pod, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
        world.pod(&key(&format!("x/{pod}")), Some(facts(pod, address)));
    }
    world.local(&key("x/a"), Some(1));
    set(&mut world, "x/p", 1, &from_app("b"));
    world.plan();
    world
}

pub(super) fn ingress(world: &World, other: &str) -> Option<Said> {
    world.agent.verdict(1, Direction::Ingress, &addr(other), 6, 80)
}

fn judged_again(ops: &[Op]) -> bool {
    ops.contains(&Op::JudgeAgain)
}

fn numbers(world: &World) -> [u32; 2] {
    Direction::ALL.map(|direction| world.kernel.pods[&1].sets.of(direction))
}

#[test]
fn equal_facts_change_nothing() {
    let mut world = small(PLENTY);
    world.come_to_rest();
    set(&mut world, "x/p", 1, &from_app("b"));
    world.pod(&key("x/b"), Some(facts("b", "10.0.0.2")));
    world.local(&key("x/a"), Some(1));
    world.namespace("x", None);
    assert_eq!(world.plan(), []);
    assert_eq!(world.agent.next_due(), None);
}

#[test]
fn rules_sets_and_generations_have_their_names() {
    let world = small(PLENTY);
    let Some(Said::Allowed { rule }) = ingress(&world, "10.0.0.2") else {
        panic!("denied")
    };
    assert_eq!(world.agent.rule(rule).unwrap().to_string(), "x/p ingress[0]");
    let [ingress, egress] = numbers(&world);
    let expected = SetInfo {
        direction: Direction::Ingress,
        policies: vec![name("x/p")],
    };
    assert_eq!(world.agent.set(ingress), Some(expected));
    assert_eq!((egress, world.agent.set(egress)), (OPEN, None));
    assert_eq!(world.agent.generation(&name("x/p")), Some(1));
    assert_eq!(world.agent.generation(&name("x/q")), None);
}

#[test]
fn a_pod_that_no_policy_selects_is_known() {
    let mut world = World::new(PLENTY);
    world.pod(&key("x/a"), Some(facts("a", "10.0.0.1")));
    world.local(&key("x/a"), Some(1));
    let ops = world.plan();
    assert!(
        matches!(ops[..], [Op::SetPodRules { workload: 1, .. }]),
        "{ops:?}"
    );
    assert_eq!(ingress(&world, "10.0.0.2"), Some(Said::Open));
    world.local(&key("x/a"), None);
    assert_eq!(world.plan(), [Op::RemovePodRules(1)]);
    assert_eq!(ingress(&world, "10.0.0.2"), None);
}

#[test]
fn a_pod_keeps_its_rules_for_as_long_as_it_is_on_this_node() {
    let mut world = small(PLENTY);
    world.pod(&key("x/a"), None);
    assert!(!world.plan().contains(&Op::RemovePodRules(1)));
    assert_eq!(ingress(&world, "10.0.0.3"), Some(Said::Denied));
}

#[test]
fn a_workload_id_goes_to_another_pod_in_one_write() {
    let mut world = small(PLENTY);
    world.pod(&key("y/d"), Some(facts("d", "10.0.0.4")));
    world.local(&key("y/d"), Some(1));
    world.local(&key("x/a"), None);
    let ops = world.plan();
    assert!(!ops.contains(&Op::RemovePodRules(1)), "{ops:?}");
    assert_eq!(numbers(&world), [OPEN, OPEN]);
}

#[test]
fn sets_do_not_change_and_rest_before_they_go() {
    let mut world = small(PLENTY);
    let [old, _] = numbers(&world);
    world.now = Duration::from_secs(100);
    set(&mut world, "x/p", 2, &from_app("c"));
    let ops = world.plan();
    let of_old = |op: &Op| matches!(op, Op::SetRule { key, .. } | Op::RemoveRule(key) if key.set == old);
    let lists_new_class =
        |op: &Op| matches!(op, Op::SetRule { key, .. } if key.set == old && key.peer != ANYBODY);
    assert!(ops.iter().all(|op| !of_old(op) || lists_new_class(op)), "{ops:?}");
    assert!(judged_again(&ops));
    assert_ne!(numbers(&world)[0], old);
    assert_eq!(world.agent.generation(&name("x/p")), Some(2));
    assert_eq!(world.agent.next_due(), Some(world.now + REST));

    let before_that = Duration::from_millis(9_999);
    world.now += before_that;
    assert_eq!(world.plan(), []);
    world.now += REST.saturating_sub(before_that);
    let ops = world.plan();
    assert!(ops.iter().any(of_old) && !judged_again(&ops), "{ops:?}");
    assert_eq!(world.agent.set(old), None);
}

#[test]
fn rules_that_come_back_while_their_set_rests_get_it_again() {
    let mut world = small(PLENTY);
    let before = numbers(&world);
    world.pod(
        &key("x/a"),
        Some(PodFacts {
            ports: vec![],
            ..facts("z", "10.0.0.1")
        }),
    );
    let mut only_a = from_app("b");
    only_a["podSelector"] = json!({ "matchLabels": { "app": "a" } });
    set(&mut world, "x/p", 2, &only_a);
    world.plan();
    assert_eq!(numbers(&world), [OPEN, OPEN]);
    world.pod(&key("x/a"), Some(facts("a", "10.0.0.1")));
    world.plan();
    assert_eq!(numbers(&world), before);
}

#[test]
fn flows_are_judged_again_only_where_an_answer_can_change() {
    let mut world = small(PLENTY);
    world.pod(&key("x/new"), Some(facts("new", "10.0.0.9")));
    world.pod(&key("x/c"), Some(facts("other", "10.0.0.3")));
    assert!(!judged_again(&world.plan()));
    world.pod(&key("x/c"), Some(facts("b", "10.0.0.3")));
    assert!(judged_again(&world.plan()));
    assert!(matches!(ingress(&world, "10.0.0.3"), Some(Said::Allowed { .. })));
}

#[test]
fn audit_is_a_flag_of_the_pods_of_the_namespace() {
    let mut world = small(PLENTY);
    let audited = |world: &World| world.kernel.pods[&1].sets.flags() & flag::AUDIT != 0;
    assert!(!audited(&world));
    let facts = NamespaceFacts {
        labels: Labels::default(),
        audited: true,
    };
    world.namespace("x", Some(facts));
    assert!(judged_again(&world.plan()));
    assert!(audited(&world));
}

#[test]
fn only_pods_that_rules_can_tell_have_an_entry_and_disputed_ones_are_anybodys() {
    let mut world = small(PLENTY);
    assert_eq!(
        world.kernel.classes.keys().copied().collect::<Vec<_>>(),
        [addr("10.0.0.2")]
    );
    let block =
        json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] }] });
    set(&mut world, "x/q", 1, &block);
    world.pod(&key("y/twin"), Some(facts("b", "10.0.0.3")));
    world.plan();
    assert_eq!(world.kernel.class_of(&addr("10.0.0.3")), ANYBODY);
    assert!(world.kernel.classes.contains_key(&addr("10.0.0.3")));
    assert!(!world.kernel.classes.contains_key(&addr("10.0.0.1")));
    assert_eq!(ingress(&world, "10.0.0.3"), Some(Said::Denied));
    assert!(matches!(ingress(&world, "10.0.0.77"), Some(Said::Allowed { .. })));
}

#[test]
fn a_new_agent_uses_no_number_of_a_set_that_is_in_force() {
    let mut world = small(PLENTY);
    set(
        &mut world,
        "x/p",
        2,
        &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
    );
    world.plan();
    world.come_to_rest();
    // Sets through which nothing passes have no entries by which one would know them.
    assert!(world.kernel.rules.is_empty());
    let before = numbers(&world);
    world.restart();
    world.plan();
    assert!(numbers(&world).iter().all(|number| !before.contains(number)));
    world.come_to_rest();
}

#[test]
fn a_pod_that_is_not_on_the_node_any_more_loses_what_a_previous_agent_wrote() {
    let mut world = small(PLENTY);
    world.facts.local.clear();
    world.restart();
    assert!(world.plan().contains(&Op::RemovePodRules(1)));
    world.come_to_rest();
    let held = world.kernel.observed();
    assert_eq!(held, Observed::default());
}
