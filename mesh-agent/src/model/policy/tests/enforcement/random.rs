//! Random changes, plans, and ends of the agent in the middle of them.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_common::policy::Direction;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::kernel::Asked;
use super::world::{PLENTY, World, read};
use super::*;
use crate::model::desired::PodKey;
use crate::model::object::Labels;
use crate::model::policy::tests::properties::{self, NAMED, PORTS};

const PODS: usize = 6;
const POLICIES: usize = 6;
/// Flows that are looked at after each write.
const FLOWS: usize = 20;

#[derive(Clone, Debug)]
pub(super) enum Change {
    Namespace(&'static str, Option<(Labels, bool)>),
    Pod(usize, Option<PodFacts>),
    Relabel(usize, Labels),
    Local(usize, Option<u32>),
    Policy(usize, Option<serde_json::Value>),
}

/// What happens after some changes: time passes, and a plan is done, wholly or up to some write, after which a new agent
/// takes over.
#[derive(Clone, Debug)]
struct Step {
    changes: Vec<Change>,
    passes: Duration,
    ends: Option<prop::sample::Index>,
}

fn facts() -> impl Strategy<Value = PodFacts> {
    properties::pod().prop_map(|pod| PodFacts {
        labels: pod.labels,
        addresses: pod.addresses,
        ports: pod.ports,
    })
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let namespace = (properties::namespace(), properties::labels(), any::<bool>());
    let namespace =
        namespace.prop_map(|(name, labels, audited)| Change::Namespace(name, Some((labels, audited))));
    let policy = (0..POLICIES, properties::spec());
    prop_oneof![
        3 => namespace,
        1 => properties::namespace().prop_map(|name| Change::Namespace(name, None)),
        6 => (0..PODS, facts()).prop_map(|(pod, facts)| Change::Pod(pod, Some(facts))),
        5 => (0..PODS, properties::labels()).prop_map(|(pod, labels)| Change::Relabel(pod, labels)),
        1 => (0..PODS).prop_map(|pod| Change::Pod(pod, None)),
        5 => (0..PODS, 1..=4_u32).prop_map(|(pod, workload)| Change::Local(pod, Some(workload))),
        1 => (0..PODS).prop_map(|pod| Change::Local(pod, None)),
        10 => policy.prop_map(|(at, spec)| Change::Policy(at, Some(spec))),
        3 => (0..POLICIES).prop_map(|at| Change::Policy(at, None)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let passes = select(vec![0, 0, 1, 5, 10, 20]).prop_map(Duration::from_secs);
    let ends = prop::option::weighted(0.25, any::<prop::sample::Index>());
    (vec(change(), 1..=4), passes, ends).prop_map(|(changes, passes, ends)| Step {
        changes,
        passes,
        ends,
    })
}

pub(super) fn asked() -> impl Strategy<Value = Asked> {
    let port = prop_oneof![2 => select(NAMED.to_vec()), 2 => select(PORTS.to_vec()), 1 => any::<u16>()];
    let other = (0..18_u8, any::<bool>());
    let direction = select(Direction::ALL.to_vec());
    let parts = (1..=4_u32, direction, other, select(vec![6, 6, 17, 132, 1]), port);
    parts.prop_map(|(workload, direction, (host, v6), protocol, port)| Asked {
        workload,
        direction,
        other: addr(&if v6 {
            format!("fd00::{host:x}")
        } else {
            format!("10.0.0.{host}")
        }),
        protocol,
        port,
    })
}

fn pod_key(at: usize) -> PodKey {
    super::world::key(&format!("n{}/pod{at}", at % 3))
}

pub(super) fn make(world: &mut World, change: &Change) {
    match change {
        Change::Namespace(name, facts) => {
            let facts = facts
                .clone()
                .map(|(labels, audited)| NamespaceFacts { labels, audited });
            world.namespace(name, facts);
        }
        Change::Pod(at, facts) => world.pod(&pod_key(*at), facts.clone()),
        Change::Relabel(at, labels) => {
            let facts = world.facts.pods.get(&pod_key(*at)).cloned();
            if let Some(facts) = facts {
                let labels = labels.clone();
                world.pod(&pod_key(*at), Some(PodFacts { labels, ..facts }));
            }
        }
        Change::Local(at, workload) => world.local(&pod_key(*at), *workload),
        Change::Policy(at, spec) => {
            let name = ObjectName::new(format!("n{}", at % 3), format!("p{at}"));
            let made = spec
                .clone()
                .map(|spec| policy(&name, serde_json::from_value(spec).unwrap()));
            world.policy(&name, made);
        }
    }
}

/// Does the writes of a plan one by one. Whatever is asked in between is answered as before or as after; nothing
/// changes after flows are judged again; and a plan that changes an answer makes them so.
pub(super) fn watch(world: &mut World, asked: &[Asked], until: Option<usize>) -> Result<(), String> {
    let ops = world.agent.plan(world.now);
    let until = until.map_or(ops.len(), |until| until % (ops.len() + 1));
    let sources: BTreeSet<u32> = (1..=4).collect();
    let before = world.verdicts(asked, &sources);
    let mut last = world.clone();
    last.kernel.apply_all(&ops);
    let after = last.verdicts(asked, &sources);
    let mut judged_again = false;
    for (at, op) in ops[..until].iter().enumerate() {
        world.kernel.apply(op);
        judged_again |= *op == Op::JudgeAgain;
        let now = world.verdicts(asked, &sources);
        for (place, now) in now.iter().enumerate() {
            // A source that had not this address before, or has it no longer, is known to others by it nevertheless.
            let direct = place / (sources.len() + 1) * (sources.len() + 1);
            let before = before[place].or(before[direct]);
            let at_last = after[place].or(after[direct]);
            if now.is_some() && *now != before && *now != at_last {
                let asked = asked[place / (sources.len() + 1)];
                let seen = [before, *now, at_last];
                return Err(format!("{asked:?} after {at} {op:?}: {seen:?}\nof {ops:#?}"));
            }
            if judged_again && *now != after[place] {
                return Err(format!(
                    "{:?} after {at} {op:?} in {ops:#?}",
                    asked[place / (sources.len() + 1)]
                ));
            }
        }
        if !world.kernel.holds(&world.limits) {
            return Err(format!("no room for {op:?}"));
        }
    }
    let direct = |all: &[Option<super::world::Kind>]| -> Vec<_> {
        all.iter().copied().step_by(sources.len() + 1).collect()
    };
    let changed = direct(&before).into_iter().zip(direct(&after));
    let changed = changed
        .filter(|(before, after)| before.is_some() && after.is_some() && before != after)
        .count();
    if until == ops.len() && changed > 0 && !judged_again {
        return Err(format!("answers changed, and nothing is judged again: {ops:#?}"));
    }
    Ok(())
}

/// Nothing is left that an agent would not have made that found empty tables.
fn nothing_is_leaked(world: &mut World) -> Result<(), String> {
    world.come_to_rest();
    let mut fresh = World::new(world.limits);
    world.facts.tell(&mut fresh.agent);
    fresh.plan();
    let count = |world: &World| {
        let kernel = &world.kernel;
        let entries = [
            kernel.rules.len(),
            kernel.classes.len(),
            kernel.cidrs.len(),
            kernel.pods.len(),
        ];
        (entries, world.agent.in_memory())
    };
    if count(world) == count(&fresh) {
        Ok(())
    } else {
        Err(format!("{:?}, and made anew {:?}", count(world), count(&fresh)))
    }
}

/// 5,000 checks; 100,000 with `MESH_TEST_LONG=1`.
pub(super) fn run<S: Strategy>(strategy: &S, test: impl Fn(S::Value) -> Result<(), String>) {
    let seed = properties::seed();
    let config = Config {
        cases: properties::clusters(),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let result = TestRunner::new(config).run(strategy, |it| test(it).map_err(TestCaseError::fail));
    if let Err(failure) = result {
        panic!("PROPTEST_RNG_SEED={seed}: {failure}");
    }
}

#[test]
fn every_flow_is_judged_by_all_of_a_change_or_by_none_of_it() {
    let strategy = (vec(change(), 10..=30), vec(step(), 1..=6), vec(asked(), FLOWS));
    run(&strategy, |(first, steps, asked)| {
        let mut world = World::new(PLENTY);
        for change in &first {
            make(&mut world, change);
        }
        watch(&mut world, &asked, None)?;
        world.check(&asked)?;
        for step in &steps {
            for change in &step.changes {
                make(&mut world, change);
            }
            world.now += step.passes;
            if let Some(ends) = step.ends {
                watch(&mut world, &asked, Some(ends.index(1000)))?;
                world.restart();
            }
            watch(&mut world, &asked, None)?;
            world.check(&asked)?;
            if !world.agent.plan(world.now).is_empty() && world.agent.next_due() != Some(world.now) {
                return Err("the same facts, and something is written".to_owned());
            }
        }
        nothing_is_leaked(&mut world)?;
        world.check(&asked)
    });
}

#[test]
fn a_new_agent_with_the_same_facts_changes_no_answer_at_any_moment() {
    let strategy = (
        vec(change(), 10..=40),
        vec(asked(), FLOWS),
        any::<prop::sample::Index>(),
    );
    run(&strategy, |(first, asked, ends)| {
        let mut world = World::new(PLENTY);
        for change in &first {
            make(&mut world, change);
        }
        world.plan();
        let sources: BTreeSet<u32> = (1..=4).collect();
        let before = world.verdicts(&asked, &sources);
        for round in 0..3 {
            world.restart();
            let mut ops = world.agent.plan(world.now);
            if round == 0 {
                ops.truncate(ends.index(ops.len() + 1));
            }
            for op in &ops {
                world.kernel.apply(op);
                if world.verdicts(&asked, &sources) != before {
                    return Err(format!("{op:?} changes an answer"));
                }
            }
        }
        world.check(&asked)?;
        nothing_is_leaked(&mut world)?;
        world.check(&asked)
    });
}

#[test]
fn without_room_nothing_passes_that_must_not() {
    let limits = (10..200_u32, 0..12_u32, 0..12_u32, 4..=4_u32, 10..200_u32);
    let strategy = (limits, vec(vec(change(), 1..=20), 1..=5), vec(asked(), FLOWS));
    run(
        &strategy,
        |((rules, classes, cidrs, pods, rules_per_namespace), steps, asked)| {
            let mut world = World::new(Limits {
                rules,
                classes,
                cidrs,
                pods,
                rules_per_namespace,
            });
            for changes in &steps {
                for change in changes {
                    make(&mut world, change);
                }
                for op in world.agent.plan(world.now) {
                    world.kernel.apply(&op);
                    if !world.kernel.holds(&world.limits) {
                        return Err(format!("no room for {op:?}"));
                    }
                }
                world.now += Duration::from_secs(4);
                let (cluster, places) = world.facts.cluster();
                let troubled = !world.agent.problems().is_empty();
                for asked in &asked {
                    let said = world.kernel.judge(asked);
                    let read = places
                        .get(&asked.workload)
                        .map(|&place| read(&cluster, place, asked));
                    let passes =
                        said.is_some_and(|said| said != mesh_common::decide::policy::Verdict::Denied);
                    let may = read.as_ref().is_none_or(Side::passes);
                    if passes && !may || (!troubled && may && read.is_some() && !passes) {
                        return Err(format!(
                            "{asked:?}: read {read:?}, said {said:?}, trouble: {troubled}"
                        ));
                    }
                }
            }
            // What goes makes room.
            for at in 0..POLICIES {
                make(&mut world, &Change::Policy(at, None));
            }
            world.come_to_rest();
            world.check(&asked)?;
            world
                .agent
                .problems()
                .is_empty()
                .then_some(())
                .ok_or_else(|| format!("{:?}", world.agent.problems()))
        },
    );
}
