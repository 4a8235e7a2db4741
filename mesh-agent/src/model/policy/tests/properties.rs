//! Random policies, pods and packets.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use super::*;
use crate::model::object::Labels;
use mesh_common::policy::Transport;

/// Questions for each cluster.
const QUESTIONS: usize = 50;

/// 5,000 checks; 100,000 with `MESH_TEST_LONG=1`, which `cargo xtask test --long` sets.
pub(super) fn clusters() -> u32 {
    let long = std::env::var_os("MESH_TEST_LONG").is_some_and(|value| value == "1");
    if long { 2_000 } else { 100 }
}

/// What `PROPTEST_RNG_SEED` says, so that a failure can be repeated.
pub(super) fn seed() -> u64 {
    let given = std::env::var("PROPTEST_RNG_SEED").ok();
    given.map_or_else(rand_seed, |seed| seed.parse().unwrap())
}

fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}

pub(super) const PORTS: [u16; 8] = [1, 53, 79, 80, 81, 8080, 8081, 65535];

/// What names stand for: few, so that pods differ in them and packets hit them.
pub(super) const NAMED: [u16; 2] = [80, 81];

pub(super) fn labels() -> impl Strategy<Value = Labels> {
    let value = || prop_oneof![Just(None), Just(Some("x")), Just(Some("y"))];
    [value(), value()].prop_map(|values| {
        let pairs = ["a", "b"].into_iter().zip(values);
        let pairs = pairs.filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
        pairs.collect::<std::collections::BTreeMap<_, _>>().into()
    })
}

fn selector() -> impl Strategy<Value = Value> {
    let key = || select(vec!["a", "b", "c"]);
    let values = || subsequence(vec!["x", "y", "z"], 1..=2);
    let of_values = (key(), select(vec!["In", "NotIn"]), values())
        .prop_map(|(key, operator, values)| json!({ "key": key, "operator": operator, "values": values }));
    let bare = (key(), select(vec!["Exists", "DoesNotExist"]))
        .prop_map(|(key, operator)| json!({ "key": key, "operator": operator }));
    let expressions = prop_oneof![2 => vec(prop_oneof![of_values, bare], 0..=2), 1 => Just(vec![])];
    let matching = prop_oneof![3 => Just(json!({})), 1 => Just(json!({ "a": "x" }))];
    (matching, expressions)
        .prop_map(|(labels, all)| json!({ "matchLabels": labels, "matchExpressions": all }))
}

/// Of the last bits of pods' and others' addresses.
fn host() -> impl Strategy<Value = u8> {
    0..16_u8
}

fn block() -> impl Strategy<Value = Value> {
    let v4 = (
        select(vec![0_u8, 8, 28, 29, 30, 31]),
        host(),
        vec((1..=8_u8, host()), 0..=2),
    );
    let v4 = v4.prop_map(|(length, base, holes)| {
        let at = |host: u8| {
            format!(
                "10.0.0.{}",
                if length < 28 {
                    host
                } else {
                    base | host & mask(length)
                }
            )
        };
        let holes = holes
            .iter()
            .map(|&(more, host)| format!("{}/{}", at(host), (length + more).min(32)));
        json!({ "cidr": format!("{}/{length}", at(base)), "except": holes.collect::<Vec<_>>() })
    });
    let v6 = (
        select(vec![0_u8, 8, 90, 124, 126, 127]),
        host(),
        vec((1..=8_u8, host()), 0..=2),
    );
    let v6 = v6.prop_map(|(length, base, holes)| {
        let at = |host: u8| {
            format!(
                "fd00::{:x}",
                if length < 124 {
                    host
                } else {
                    base | host & mask(length - 96)
                }
            )
        };
        let holes = holes
            .iter()
            .map(|&(more, host)| format!("{}/{}", at(host), (length + more).min(128)));
        json!({ "cidr": format!("{}/{length}", at(base)), "except": holes.collect::<Vec<_>>() })
    });
    let all = Just(json!({ "cidr": "::/0" }));
    prop_oneof![4 => v4, 4 => v6, 1 => all]
}

/// The bits that a prefix leaves open.
fn mask(length: u8) -> u8 {
    u8::MAX.checked_shr(u32::from(length - 24)).unwrap_or(0)
}

fn peer() -> impl Strategy<Value = Value> {
    prop_oneof![
        selector().prop_map(|pods| json!({ "podSelector": pods })),
        selector().prop_map(|namespaces| json!({ "namespaceSelector": namespaces })),
        (selector(), selector())
            .prop_map(|(namespaces, pods)| json!({ "namespaceSelector": namespaces, "podSelector": pods })),
        block().prop_map(|block| json!({ "ipBlock": block })),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let range = prop_oneof![
        1 => Just(json!({})),
        1 => select(PORTS.to_vec()).prop_map(|port| json!({ "port": port })),
        1 => (1..=u16::MAX, 0..=u16::MAX)
            .prop_map(|(first, more)| json!({ "port": first, "endPort": first.saturating_add(more) })),
        1 => (select(PORTS.to_vec()), 0..40_u16)
            .prop_map(|(first, more)| json!({ "port": first, "endPort": first.saturating_add(more) })),
        2 => select(vec!["http", "dns"]).prop_map(|name| json!({ "port": name })),
    ];
    (range, select(vec!["", "TCP", "UDP", "SCTP"])).prop_map(|(mut port, protocol)| {
        if !protocol.is_empty() {
            port["protocol"] = protocol.into();
        }
        port
    })
}

fn rules(peers: &'static str) -> impl Strategy<Value = Value> {
    let rule = (vec(peer(), 0..=2), vec(port(), 0..=2));
    let rule = rule.prop_map(move |(from, ports)| json!({ peers: from, "ports": ports }));
    vec(rule, 0..=2).prop_map(Value::from)
}

pub(super) fn spec() -> impl Strategy<Value = Value> {
    let types = vec![
        json!([]),
        json!(["Ingress"]),
        json!(["Egress"]),
        json!(["Ingress", "Egress"]),
    ];
    let pods = prop_oneof![2 => Just(json!({})), 1 => selector()];
    let parts = (pods, rules("from"), rules("to"), select(types));
    parts.prop_map(|(pods, ingress, egress, types)| {
        json!({ "podSelector": pods, "ingress": ingress, "egress": egress, "policyTypes": types })
    })
}

pub(super) fn namespace() -> impl Strategy<Value = &'static str> {
    select(vec!["n0", "n1", "n2"])
}

pub(super) fn pod() -> impl Strategy<Value = Pod> {
    let port = (
        select(vec!["http", "dns"]),
        select(Transport::ALL.to_vec()),
        select(NAMED.to_vec()),
    );
    let port = port.prop_map(|(name, transport, port)| NamedPort {
        name: name.to_owned(),
        transport,
        port,
    });
    (namespace(), labels(), [host(), host()], vec(port, 0..=4)).prop_map(
        |(namespace, labels, [v4, v6], ports)| Pod {
            name: ObjectName::new(namespace, "pod"),
            labels,
            addresses: vec![addr(&format!("10.0.0.{v4}")), addr(&format!("fd00::{v6:x}"))],
            ports,
        },
    )
}

fn cluster() -> impl Strategy<Value = Cluster> {
    // One namespace that nothing is known of.
    let namespaces = [("n0", labels()), ("n1", labels())]
        .map(|(name, labels)| labels.prop_map(move |it| (name.into(), it)));
    let policies = vec((namespace(), spec()), 0..=6);
    (namespaces, vec(pod(), 1..=7), policies).prop_map(|(namespaces, pods, policies)| {
        let policies = policies.into_iter().enumerate().map(|(at, (namespace, spec))| {
            let name = ObjectName::new(namespace, format!("p{at}"));
            let policy = policy(&name, serde_json::from_value(spec).unwrap());
            (name, policy)
        });
        Cluster {
            namespaces: namespaces.into(),
            pods,
            policies: policies.collect(),
        }
    })
}

/// Who asks whom: pods by their place, others by the last bits of their address.
#[derive(Clone, Copy, Debug)]
enum End {
    Host,
    Pod(prop::sample::Index),
    Outside(u8),
}

impl End {
    fn party(self, pods: &[Pod], v6: bool) -> Option<Party> {
        match self {
            Self::Host => None,
            Self::Pod(at) => {
                let at = at.index(pods.len());
                Some(Party {
                    pod: Some(at),
                    addr: pods[at].addresses[usize::from(v6)],
                })
            }
            Self::Outside(host) => {
                let addr = if v6 {
                    addr(&format!("fd00::{host:x}"))
                } else {
                    addr(&format!("10.0.0.{host}"))
                };
                Some(Party { pod: None, addr })
            }
        }
    }
}

type Asked = (End, End, bool, u8, u16);

fn asked() -> impl Strategy<Value = Asked> {
    let pod = || any::<prop::sample::Index>().prop_map(End::Pod);
    let outside = || (0..20_u8).prop_map(End::Outside);
    let from = prop_oneof![1 => Just(End::Host), 20 => pod(), 6 => outside()];
    let to = prop_oneof![20 => pod(), 6 => outside()];
    let port = prop_oneof![2 => select(NAMED.to_vec()), 2 => select(PORTS.to_vec()), 1 => any::<u16>()];
    (from, to, any::<bool>(), select(vec![6, 6, 17, 132, 1]), port)
}

fn question(pods: &[Pod], (from, to, v6, protocol, port): Asked) -> Option<Question> {
    let from = from.party(pods, v6).map_or(Source::Host, Source::Party);
    let to = to.party(pods, v6)?;
    Some(Question {
        from,
        to,
        protocol,
        port,
    })
}

#[test]
fn the_tables_say_what_the_policies_say() {
    let seed = seed();
    let config = Config {
        cases: clusters(),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let said = std::cell::RefCell::new(std::collections::BTreeMap::<&str, u32>::new());
    let result = TestRunner::new(config).run(&(cluster(), vec(asked(), QUESTIONS)), |(cluster, asked)| {
        let tables = tables(&cluster);
        for question in asked
            .into_iter()
            .filter_map(|asked| question(&cluster.pods, asked))
        {
            let verdict = agree(&cluster, &tables, &question).map_err(TestCaseError::fail)?;
            for side in [&verdict.egress, &verdict.ingress] {
                let side = match side {
                    Side::NoPod => "no pod",
                    Side::Exempt(_) => "exempt",
                    Side::Open => "open",
                    Side::Allowed(_) => "allowed",
                    Side::Isolated => "isolated",
                };
                *said.borrow_mut().entry(side).or_default() += 1;
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("PROPTEST_RNG_SEED={seed}: {failure}");
    }
    // Every answer comes often enough to mean something.
    let said = said.into_inner();
    let fewest = said.values().min().copied().unwrap_or_default();
    assert!(said.len() == 5 && fewest > clusters(), "{said:?}");
}
