use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use mesh_common::{
    addr::{Addr, Port},
    policy::Direction,
    rules::{CidrKey, PodRules, flag},
    tag::{Tagged, hash_addr},
};
use serde_json::{Value, json};

use super::*;
use crate::model::{
    desired::ObjectName,
    object::NetworkPolicy,
    policy::{Cluster, Observed, Pod, RuleRef, Tables, explain::Kernel},
};

/// `shop/client` and `shop/web` on this node, `shop/far` on another, `shop/kata` here but in a kernel of its own, `shop/agent`
/// in the network of this node; `service/shop/web:80` has endpoints in both families at `shop/web`.
struct World {
    cluster: Cluster,
    tables: Tables,
    audited: bool,
    closed: bool,
    in_force: BTreeMap<ObjectName, i64>,
}

const CLIENT: &str = "shop/client";
const NODE: &str = "192.0.2.1";

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName::new(namespace, name)
}

fn policy(name: &str, spec: &Value) -> Arc<NetworkPolicy> {
    let metadata = json!({ "namespace": "shop", "name": name, "generation": 3 });
    let policy = json!({ "metadata": metadata, "spec": spec });
    let policy: k8s_openapi::api::networking::v1::NetworkPolicy = serde_json::from_value(policy).unwrap();
    Arc::new(NetworkPolicy::try_from(policy).unwrap())
}

/// Only `shop/client` may come to `shop/web`, at port 8080; one rule can't be read.
fn web() -> Arc<NetworkPolicy> {
    policy(
        "web",
        &json!({
            "podSelector": { "matchLabels": { "app": "web" } },
            "ingress": [
                { "from": [{ "podSelector": { "matchLabels": { "app": "client" } } }], "ports": [{ "port": 8080 }] },
                { "from": [{ "ipBlock": { "cidr": "no" } }] },
            ],
        }),
    )
}

fn deny() -> Arc<NetworkPolicy> {
    policy(
        "deny",
        &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
    )
}

impl World {
    fn new(policies: &[Arc<NetworkPolicy>]) -> Self {
        let pod = |name: &str, addresses: &[&str]| Pod {
            name: ObjectName::new("shop", name),
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]).into(),
            addresses: addresses.iter().map(|it| addr(it)).collect(),
            ports: Vec::new(),
        };
        let cluster = Cluster {
            pods: vec![
                pod("client", &["10.0.0.1", "fd00::1"]),
                pod("web", &["10.0.0.2", "fd00::2"]),
                pod("far", &["10.0.1.1"]),
                pod("kata", &["10.0.0.4"]),
            ],
            policies: policies.iter().map(|it| (it.name.clone(), it.clone())).collect(),
            ..Cluster::default()
        };
        Self {
            tables: Tables::new(&cluster, [0, 1]),
            in_force: policies.iter().map(|it| (it.name.clone(), 3)).collect(),
            cluster,
            audited: false,
            closed: false,
        }
    }

    /// What the tables hold; a pod's workload id is its place and one.
    fn kernel(&self) -> Kernel {
        let flags = if self.audited { flag::AUDIT } else { 0 };
        let pods = self.tables.pods.iter().map(|(&place, &sets)| {
            let workload = u32::try_from(place + 1).unwrap();
            let rules = PodRules::new(workload, sets, flags, [0; 2], [Addr::default(); 2]);
            (workload, rules)
        });
        let classes = self.tables.classes.pods.iter();
        let cidrs = self.tables.classes.cidrs.iter().map(|(cidr, &class)| {
            let length = cidr.length().into();
            let addr = cidr.addr();
            (CidrKey { length, addr }, class)
        });
        Kernel::from(Observed {
            rules: self
                .tables
                .entries
                .iter()
                .map(|(&key, &value)| (key, value))
                .collect(),
            classes: classes
                .map(|(addr, &class)| (*addr, Tagged::new(class, 0, hash_addr(addr))))
                .collect(),
            cidrs: cidrs.collect(),
            pods: pods.collect(),
        })
    }

    fn ask(&self, from: &str, to: &str) -> Result<Explained, String> {
        self.ask_over("TCP", from, to)
    }

    fn ask_over(&self, protocol: &str, from: &str, to: &str) -> Result<Explained, String> {
        let query = ExplainQuery {
            from: from.to_owned(),
            to: to.to_owned(),
            protocol: protocol.to_owned(),
        };
        explain(self, &self.kernel(), &query)
    }

    /// The only flow.
    fn flow(&self, from: &str, to: &str) -> FlowAnswer {
        let explained = self.ask(from, to).unwrap();
        assert_eq!(explained.flows.len(), 1, "{explained:?}");
        explained.flows.into_iter().next().unwrap()
    }
}

impl PolicyView for World {
    fn cluster(&self) -> Cluster {
        self.cluster.clone()
    }

    fn policies(&self) -> BTreeMap<ObjectName, Arc<NetworkPolicy>> {
        self.cluster.policies.clone()
    }

    fn own_pods(&self) -> Vec<(Pod, Standing)> {
        let own = self.cluster.pods.iter().filter(|pod| &*pod.name.name != "far");
        own.map(|pod| (pod.clone(), self.standing(&pod.name).unwrap()))
            .collect()
    }

    fn standing(&self, pod: &ObjectName) -> Option<Standing> {
        match &*pod.name {
            "client" => Some(Standing::Here { workload: Some(1) }),
            "web" => Some(Standing::Here { workload: Some(2) }),
            "far" => Some(Standing::Elsewhere),
            "kata" => Some(Standing::Outside {
                here: true,
                why: "unsupported (kata)".to_owned(),
            }),
            "agent" => Some(Standing::HostNetwork {
                here: true,
                addresses: vec![addr(NODE)],
            }),
            _ => None,
        }
    }

    fn is_own_address(&self, address: &Addr) -> bool {
        *address == addr(NODE)
    }

    fn is_audited(&self, _: &str) -> bool {
        self.audited
    }

    fn audited(&self) -> Vec<String> {
        self.audited.then(|| "shop".to_owned()).into_iter().collect()
    }

    fn fails_closed(&self, _: &str) -> bool {
        self.closed
    }

    fn endpoints(&self, service: &ObjectName, port: u16, _: u8) -> Option<Vec<(Addr, Port)>> {
        match (&*service.name, port) {
            ("web", 80) => {
                let at = |it| (addr(it), Port::new(8080));
                Some(vec![at("10.0.0.2"), at("fd00::2")])
            }
            ("empty", 80) => Some(Vec::new()),
            _ => None,
        }
    }

    fn in_force(&self) -> &dyn InForce {
        self
    }
}

impl InForce for World {
    fn rule(&self, number: u32) -> Option<RuleRef> {
        self.tables.rules.get(number as usize).cloned()
    }

    fn set(&self, number: u32) -> Option<Vec<ObjectName>> {
        let set = self.sets().into_iter().find(|(set, ..)| *set == number);
        set.map(|(.., policies)| policies)
    }

    fn sets(&self) -> Vec<(u32, Direction, Vec<ObjectName>)> {
        let of_pod = |(&place, sets): (&usize, &[u32; 2])| {
            let pod = &self.cluster.pods[place];
            let isolating = |direction| {
                let policies = crate::model::policy::reference::isolating(&self.cluster, pod, direction);
                policies.map(|it| it.name.clone()).collect()
            };
            Direction::ALL.map(|direction| (sets[direction as usize], direction, isolating(direction)))
        };
        let sets: BTreeSet<_> = self.tables.pods.iter().flat_map(of_pod).collect();
        sets.into_iter().filter(|(set, ..)| *set != 0).collect()
    }

    fn is_settled(&self) -> bool {
        true
    }

    fn generation(&self, policy: &ObjectName) -> Option<i64> {
        self.in_force.get(policy).copied()
    }

    fn problems(&self) -> Vec<String> {
        vec!["no room".to_owned()]
    }
}

#[test]
fn a_flow_that_a_rule_lets_pass_is_told_with_the_rule_and_its_number() {
    let flow = World::new(&[web()]).flow(CLIENT, "shop/web:8080");
    assert_eq!(flow.verdict, Outcome::Allowed);
    assert_eq!(
        [flow.source.recognised_by, flow.destination.recognised_by],
        [Sight::Cookie; 2]
    );
    assert_eq!((flow.egress.says, flow.egress.judge), (Says::Open, Judge::Here));
    assert_eq!(flow.egress.kernel.unwrap().says, Looked::Open);
    let [policy] = &flow.ingress.policies[..] else {
        panic!("{:?}", flow.ingress)
    };
    assert_eq!((policy.rules.len(), policy.faults.len()), (1, 1));
    assert!(policy.rules[0].passes);
    let kernel = flow.ingress.kernel.unwrap();
    assert!(kernel.agrees && kernel.set > 0 && kernel.class > 0);
    assert_eq!(kernel.rule_name.as_deref(), Some("shop/web ingress[0]"));
    assert_eq!(kernel.set_policies, ["shop/web"]);
}

#[test]
fn what_becomes_of_a_flow_is_said_by_who_refuses_it() {
    let (web, deny) = ([web()], [deny()]);
    for (policies, from, to, verdict) in [
        (&web, CLIENT, "shop/web:8080", Outcome::Allowed),
        (&web, CLIENT, "shop/web:22", Outcome::Denied),
        (&web, "shop/far", "shop/web:8080", Outcome::Denied),
        (&web, "198.51.100.1", "shop/web:8080", Outcome::Denied),
        (&web, CLIENT, "198.51.100.1:443", Outcome::Allowed),
        (&web, NODE, "shop/web:22", Outcome::Allowed),
        (&web, "shop/agent", "shop/web:22", Outcome::Allowed),
        (&deny, CLIENT, "shop/client:22", Outcome::Allowed),
        (&deny, CLIENT, "127.0.0.1:22", Outcome::Allowed),
        (&deny, "198.51.100.1", "shop/far:22", Outcome::Denied),
        (&deny, "198.51.100.1", "shop/kata:22", Outcome::Unenforced),
        (&deny, "shop/kata", "198.51.100.1:22", Outcome::Unenforced),
        (&deny, CLIENT, "shop/kata:22", Outcome::Denied),
        (&deny, CLIENT, "shop/agent:22", Outcome::Denied),
    ] {
        let flow = World::new(policies).flow(from, to);
        assert_eq!(flow.verdict, verdict, "{from} -> {to}");
        assert!(!flow.drifts(), "{from} -> {to}");
    }
    let audited = World {
        audited: true,
        ..World::new(&web)
    };
    assert_eq!(audited.flow(CLIENT, "shop/web:22").verdict, Outcome::Audited);
    assert!(!audited.flow(CLIENT, "shop/web:22").drifts());
}

#[test]
fn a_kernel_that_says_something_else_drifts() {
    let mut world = World::new(&[web()]);
    world.tables = World::new(&[]).tables;
    let explained = world.ask(CLIENT, "shop/web:22").unwrap();
    assert!(explained.drift && explained.flows[0].drifts());
    assert_eq!(
        explained.flows[0].ingress.kernel.as_ref().unwrap().says,
        Looked::Open
    );
}

#[test]
fn where_the_kernel_knows_nothing_the_fail_mode_decides() {
    let mut world = World::new(&[deny()]);
    world.tables.pods.clear();
    assert!(world.ask(CLIENT, "198.51.100.1:22").unwrap().drift);
    world.closed = true;
    let flow = world.flow(CLIENT, "198.51.100.1:22");
    assert!(!flow.drifts());
    assert_eq!(
        (flow.egress.fail_mode, flow.egress.kernel.unwrap().says),
        (Fail::Closed, Looked::Unknown)
    );
}

#[test]
fn a_service_is_each_of_its_endpoints_that_can_be_reached() {
    let world = World::new(&[web()]);
    let ends = |from: &str| -> Vec<String> {
        let explained = world.ask(from, "service/shop/web:80").unwrap();
        let ends = explained.flows.iter();
        ends.map(|flow| format!("{}:{} {:?}", flow.destination.address, flow.port, flow.verdict))
            .collect()
    };
    assert_eq!(ends(CLIENT), ["10.0.0.2:8080 Allowed", "fd00::2:8080 Allowed"]);
    assert_eq!(ends("shop/far"), ["10.0.0.2:8080 Denied"]);
}

#[test]
fn the_family_is_that_of_the_address_that_was_given() {
    let flow = World::new(&[web()]).flow("fd00::1", "shop/web:8080");
    assert_eq!(
        (flow.source.pod.as_deref(), flow.destination.address.as_str()),
        (Some(CLIENT), "fd00::2")
    );
}

#[test]
fn an_address_of_two_pods_is_nobodys_for_certain() {
    let mut world = World::new(&[web()]);
    world.cluster.pods[2].addresses = vec![addr("10.0.0.1")];
    world.tables = Tables::new(&world.cluster, [0, 1]);
    let flow = world.flow("10.0.0.1", "shop/web:8080");
    assert!(flow.source.unsettled && flow.source.pod.is_none());
    assert_eq!(flow.verdict, Outcome::Denied);
}

#[test]
fn what_can_not_be_answered_names_the_object() {
    let world = World::new(&[]);
    for (from, to, why) in [
        ("shop/gone", "shop/web:80", "pod shop/gone is not known"),
        (CLIENT, "shop/gone:80", "pod shop/gone is not known"),
        (
            CLIENT,
            "service/shop/web:81",
            "service shop/web has no port 81 over TCP",
        ),
        (
            CLIENT,
            "service/shop/empty:80",
            "service shop/empty has no endpoint",
        ),
        ("shop/far", "[fd00::2]:80", "no addresses of the same family"),
        ("far", "shop/web:80", "far is nobody who could open a flow"),
    ] {
        let said = world.ask(from, to).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    assert!(
        world
            .ask_over("ICMP", CLIENT, "shop/web:80")
            .unwrap_err()
            .contains("ICMP is no protocol")
    );
}

#[test]
fn the_list_says_whom_policies_select_and_what_is_in_force() {
    let mut world = World::new(&[deny(), web()]);
    world.in_force.insert(name("shop/deny"), 2);
    let rows = list(&world, "");
    let short = |row: &PolicyRow| {
        (
            row.name.clone(),
            row.directions.join(","),
            [row.rules, row.pods, row.unenforced, row.faults.len()],
            row.generation,
            row.in_force,
        )
    };
    assert_eq!(
        rows.iter().map(short).collect::<Vec<_>>(),
        [
            (
                "deny".into(),
                "ingress,egress".into(),
                [0, 3, 1, 0],
                Some(3),
                Some(2)
            ),
            ("web".into(), "ingress".into(), [1, 1, 0, 1], Some(3), Some(3)),
        ]
    );
    assert_eq!(list(&world, "shop").len(), 2);
    assert_eq!(list(&world, "other"), []);
}

#[test]
fn a_policy_is_shown_with_its_pods_and_their_sets() {
    let world = World::new(&[deny(), web()]);
    let shown = show(&world, &world.kernel(), &name("shop/web")).unwrap();
    assert_eq!(shown.selector, "app=web");
    let rules = shown.ingress.unwrap();
    assert_eq!(
        (rules[0].peers.join(";"), rules[0].ports.join(";")),
        ("pods app=client".into(), "TCP/8080".into())
    );
    assert_eq!(shown.egress, None);
    let [pod] = &shown.selected[..] else {
        panic!("{:?}", shown.selected)
    };
    let [set] = &shown.sets[..] else {
        panic!("{:?}", shown.sets)
    };
    assert_eq!((pod.pod.as_str(), pod.ingress_set), ("shop/web", Some(set.set)));
    assert_eq!(set.policies, ["shop/deny", "shop/web"]);
    assert!(set.entries > 0);

    let deny = show(&world, &world.kernel(), &name("shop/deny")).unwrap();
    let unenforced: Vec<_> = deny
        .selected
        .iter()
        .filter_map(|pod| pod.unenforced.as_deref())
        .collect();
    assert_eq!((deny.selected.len(), unenforced), (3, vec!["unsupported (kata)"]));
    assert_eq!(show(&world, &world.kernel(), &name("shop/none")), None);
}

#[test]
fn the_state_counts_whom_policies_isolate() {
    let world = World {
        audited: true,
        ..World::new(&[deny()])
    };
    assert_eq!(
        state(&world),
        PolicyState {
            policies: 1,
            pods: 2,
            audited: vec!["shop".to_owned()],
            unenforced: vec!["shop/kata: unsupported (kata)".to_owned()],
            problems: vec!["no room".to_owned()],
        }
    );
    let counts = state(&world).counts();
    assert_eq!(
        [
            counts.enforced,
            counts.unenforced,
            counts.audited,
            counts.problems
        ],
        [2, 1, 1, 1]
    );
    assert_eq!(state(&World::new(&[])).pods, 0);
}
