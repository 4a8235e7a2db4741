use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_common::decide::policy::Verdict as Looked;
use mesh_common::policy::{ALLOW, PolicyKey, Transport};
use mesh_common::rules::{CidrKey, NOTHING, PodRules, flag};
use mesh_common::tag::{Tagged, hash_addr};
use serde_json::{Value, json};

use super::super::{Exemption, NamedPort, Observed, Party, Pod, Tables};
use super::*;
use crate::model::desired::ObjectName;
use crate::model::object::NetworkPolicy;

const CLIENT: &str = "10.0.0.1";
const WEB: &str = "10.0.0.2";
const DB: &str = "10.0.0.3";
const STRANGER: &str = "192.0.2.9";

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

fn policy(name: &str, spec: &Value) -> Arc<NetworkPolicy> {
    let policy = json!({ "metadata": { "namespace": "shop", "name": name }, "spec": spec });
    let policy: k8s_openapi::api::networking::v1::NetworkPolicy = serde_json::from_value(policy).unwrap();
    Arc::new(NetworkPolicy::try_from(policy).unwrap())
}

/// `shop/client`, `shop/web` (port `http` is 8080) and `shop/db`, with these policies.
fn cluster(policies: &[Arc<NetworkPolicy>]) -> Cluster {
    let pod = |name: &str, address: &str| Pod {
        name: ObjectName::new("shop", name),
        labels: BTreeMap::from([("app".to_owned(), name.to_owned())]).into(),
        addresses: vec![addr(address)],
        ports: vec![NamedPort {
            name: "http".to_owned(),
            transport: Transport::Tcp,
            port: 8080,
        }],
    };
    Cluster {
        pods: vec![pod("client", CLIENT), pod("web", WEB), pod("db", DB)],
        policies: policies.iter().map(|it| (it.name.clone(), it.clone())).collect(),
        ..Cluster::default()
    }
}

fn party(cluster: &Cluster, address: &str) -> Party {
    let addr = addr(address);
    Party {
        pod: cluster.pods.iter().position(|pod| pod.addresses.contains(&addr)),
        addr,
    }
}

fn question(cluster: &Cluster, from: &str, to: &str, port: u16) -> Question {
    Question {
        from: Source::Party(party(cluster, from)),
        to: party(cluster, to),
        protocol: Transport::Tcp as u8,
        port,
    }
}

fn web_from_client() -> Arc<NetworkPolicy> {
    policy(
        "web",
        &json!({
            "podSelector": { "matchLabels": { "app": "web" } },
            "ingress": [
                { "from": [{ "podSelector": { "matchLabels": { "app": "client" } } }], "ports": [{ "port": 8080 }] },
                { "from": [{ "podSelector": { "matchLabels": { "app": "db" } } }] },
                { "ports": [{ "port": "http" }] },
                { "ports": [{ "port": 9090 }] },
            ],
        }),
    )
}

fn deny_all() -> Arc<NetworkPolicy> {
    policy(
        "deny",
        &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
    )
}

/// Each rule as `policy ingress[0] +peer -port`.
fn tried(isolating: &[Isolating<'_>]) -> Vec<String> {
    let sign = |yes| if yes { '+' } else { '-' };
    let rules = isolating.iter().flat_map(|it| &it.rules);
    rules
        .map(|it| format!("{} {}peer {}port", it.rule, sign(it.peer), sign(it.port)))
        .collect()
}

#[test]
fn every_rule_says_what_in_it_is_about_the_flow() {
    let cluster = cluster(&[web_from_client()]);
    for (from, port, rules) in [
        (
            CLIENT,
            8080,
            ["+peer +port", "-peer +port", "+peer +port", "+peer -port"],
        ),
        (
            DB,
            9090,
            ["-peer -port", "+peer +port", "+peer -port", "+peer +port"],
        ),
        (
            STRANGER,
            22,
            ["-peer -port", "-peer +port", "+peer -port", "+peer -port"],
        ),
    ] {
        let question = question(&cluster, from, WEB, port);
        let explained = explain(&cluster, &question);
        let expected: Vec<_> = (0..)
            .zip(rules)
            .map(|(at, it)| format!("shop/web ingress[{at}] {it}"))
            .collect();
        assert_eq!(tried(&explained.ingress), expected, "{from}:{port}");
        assert!(explained.egress.is_empty());
        let read = reference::judge(&cluster, &question);
        assert_eq!(explained.verdict, read);
        let party = |question: &Question| match question.from {
            Source::Party(party) => party.addr,
            Source::Host => question.to.addr,
        };
        let allowing = reference::allowing(
            &cluster,
            &cluster.pods[1],
            Direction::Ingress,
            party(&question),
            &question,
        );
        assert!(
            explained
                .allowing(Direction::Ingress)
                .eq(allowing.collect::<Vec<_>>().iter())
        );
    }
}

#[test]
fn both_ends_have_their_policies() {
    let cluster = cluster(&[deny_all(), web_from_client()]);
    let question = question(&cluster, CLIENT, WEB, 8080);
    let explained = explain(&cluster, &question);
    let names = |direction| -> Vec<String> {
        let policies = explained.isolating(direction).iter();
        policies.map(|it| it.policy.name.to_string()).collect()
    };
    assert_eq!(names(Direction::Egress), ["shop/deny"]);
    assert_eq!(names(Direction::Ingress), ["shop/deny", "shop/web"]);
    assert_eq!(explained.side(Direction::Egress), &Side::Isolated);
    assert!(matches!(explained.side(Direction::Ingress), Side::Allowed(rule) if rule.index == 0));
    assert!(!explained.verdict.passes());
}

#[test]
fn where_policies_do_not_matter_none_is_tried() {
    let cluster = cluster(&[deny_all()]);
    let web = party(&cluster, WEB);
    for (from, exemption) in [
        (Source::Host, Exemption::Host),
        (Source::Party(web), Exemption::Itself),
    ] {
        let question = Question {
            from,
            to: web,
            protocol: 6,
            port: 80,
        };
        let explained = explain(&cluster, &question);
        assert_eq!(explained.side(Direction::Ingress), &Side::Exempt(exemption));
        assert!(explained.ingress.is_empty() && explained.egress.is_empty());
    }
    let outside = explain(&cluster, &question(&cluster, CLIENT, STRANGER, 80));
    assert_eq!(outside.side(Direction::Ingress), &Side::NoPod);
    assert_eq!((outside.egress.len(), outside.ingress.len()), (1, 0));
}

/// The tables as the kernel would have them, `audited` or not; a pod's workload id is its place and one.
fn written(tables: &Tables, flags: u8) -> Observed {
    let pods = tables.pods.iter().map(|(&place, &sets)| {
        let workload = u32::try_from(place + 1).unwrap();
        let rules = PodRules::new(workload, sets, flags, [0; 2], [Addr::default(); 2]);
        (workload, rules)
    });
    let classes = tables.classes.pods.iter();
    let classes = classes.map(|(addr, &class)| (*addr, Tagged::new(class, 0, hash_addr(addr))));
    let cidrs = tables.classes.cidrs.iter().map(|(cidr, &class)| {
        let length = cidr.length().into();
        let addr = cidr.addr();
        (CidrKey { length, addr }, class)
    });
    Observed {
        rules: tables.entries.iter().map(|(&key, &value)| (key, value)).collect(),
        classes: classes.collect(),
        cidrs: cidrs.collect(),
        pods: pods.collect(),
    }
}

/// What the kernel says of `from` at `shop/web`, and whether that agrees with the policies.
fn asked(
    cluster: &Cluster,
    observed: Observed,
    rules: &[RuleRef],
    from: &str,
    port: u16,
) -> (Option<Said>, bool) {
    let question = question(cluster, from, WEB, port);
    let explained = explain(cluster, &question);
    let direction = Direction::Ingress;
    let said = Kernel::from(observed).ask(2, direction, &addr(from), &question);
    let agree = said.is_some_and(|said| {
        let named = match said.verdict {
            Looked::Allowed { rule } => rules.get(rule as usize),
            _ => None,
        };
        let side = explained.side(direction);
        agrees(side, explained.allowing(direction), false, &said, named)
    });
    (said, agree)
}

#[test]
fn tables_made_of_the_policies_agree_with_them() {
    let blocks = policy(
        "blocks",
        &json!({
            "podSelector": { "matchLabels": { "app": "web" } },
            "ingress": [{ "from": [{ "ipBlock": { "cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"] } }] }],
        }),
    );
    for policies in [
        vec![],
        vec![deny_all()],
        vec![web_from_client()],
        vec![blocks.clone()],
        vec![deny_all(), web_from_client(), blocks],
    ] {
        let cluster = cluster(&policies);
        let tables = Tables::new(&cluster, 0..3);
        for from in [CLIENT, DB, STRANGER, "192.0.2.200", "2001:db8::1"] {
            for port in [22, 8080, 9090] {
                let (said, agree) = asked(&cluster, written(&tables, 0), &tables.rules, from, port);
                assert!(agree, "{from}:{port} {said:?}");
            }
        }
    }
}

#[test]
fn whatever_is_other_than_the_policies_say_does_not_agree() {
    let cluster = cluster(&[web_from_client()]);
    let tables = Tables::new(&cluster, 0..3);
    let ask = |spoil: &dyn Fn(&mut Observed), port| {
        let mut observed = written(&tables, 0);
        spoil(&mut observed);
        asked(&cluster, observed, &tables.rules, CLIENT, port).1
    };
    let rewrite = |observed: &mut Observed, sets: [u32; 2], flags| {
        let rules = PodRules::new(2, sets, flags, [0; 2], [Addr::default(); 2]);
        observed.pods.iter_mut().for_each(|(id, it)| {
            if *id == 2 {
                *it = rules;
            }
        });
    };
    let sets = tables.pods[&1];
    assert!(ask(&|_| {}, 8080));
    assert!(!ask(&|it| it.rules.clear(), 8080), "rules that are gone");
    assert!(!ask(&|it| it.pods.clear(), 8080), "a pod that is not known");
    assert!(!ask(&|it| rewrite(it, [0; 2], 0), 8080), "a pod that is open");
    assert!(!ask(&|it| rewrite(it, [NOTHING; 2], 0), 8080), "no room");
    assert!(!ask(&|it| rewrite(it, sets, flag::AUDIT), 22), "only reported");
    let other_rule = |observed: &mut Observed| {
        for (key, value) in &mut observed.rules {
            if value.flags() == ALLOW && key.length > 0 {
                *value = Tagged::new(3, value.flags(), key.hash());
            }
        }
    };
    assert!(!ask(&other_rule, 8080), "a rule that does not let it pass");
}

#[test]
fn entries_are_counted_by_set() {
    let cluster = cluster(&[web_from_client()]);
    let tables = Tables::new(&cluster, 0..3);
    let kernel = Kernel::from(written(&tables, 0));
    let [ingress, egress] = kernel.sets(2).unwrap();
    assert_eq!(kernel.entries(ingress), tables.entries.len());
    assert_eq!((egress, kernel.entries(egress)), (0, 0));
    assert_eq!(kernel.sets(9), None);
}

#[test]
fn a_value_of_another_key_is_none() {
    let key = PolicyKey::new(1, 0, 6, mesh_common::addr::Port::new(80), 16);
    let foreign = PolicyKey::new(2, 0, 6, mesh_common::addr::Port::new(80), 16).allowing(1);
    let cluster = cluster(&[]);
    let kernel = Kernel::from(Observed {
        rules: vec![(key, foreign)],
        pods: vec![(1, PodRules::new(1, [1, 0], 0, [0; 2], [Addr::default(); 2]))],
        ..Observed::default()
    });
    let question = question(&cluster, STRANGER, CLIENT, 80);
    let said = kernel
        .ask(1, Direction::Ingress, &addr(STRANGER), &question)
        .unwrap();
    assert_eq!((said.set, said.verdict), (1, Looked::Denied));
}
