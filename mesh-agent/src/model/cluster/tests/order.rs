//! Laws: the order of objects does not matter, and what is not dirty has not changed.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::model::object::network_policy::Cidr;
use crate::model::policy::{NamespaceFacts, PodFacts};

/// What a cluster says.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    services: BTreeMap<ObjectName, ServicePorts>,
    pods: BTreeMap<PodKey, (Workload, PodFacts, Vec<Cidr>)>,
    policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    namespaces: BTreeMap<String, NamespaceFacts>,
}

impl View {
    fn of(cluster: &Cluster) -> Self {
        let mut view = Self::default();
        let all = Dirty {
            services: cluster.services().cloned().collect(),
            pods: cluster.pods().cloned().collect(),
            policies: cluster.policies().cloned().collect(),
            namespaces: cluster.namespaces().map(str::to_owned).collect(),
        };
        view.refresh(cluster, all);
        view
    }

    fn refresh(&mut self, cluster: &Cluster, dirty: Dirty) {
        for name in dirty.services {
            match cluster.service(&name) {
                Some(ports) => drop(self.services.insert(name, ports)),
                None => drop(self.services.remove(&name)),
            }
        }
        for key in dirty.pods {
            match cluster.workload(&key).zip(cluster.policy_pod(&key)) {
                Some((workload, facts)) => {
                    let sources = cluster.allowed_sources(&key.object.namespace).to_vec();
                    self.pods.insert(key, (workload, facts, sources));
                }
                None => drop(self.pods.remove(&key)),
            }
        }
        for name in dirty.policies {
            match cluster.policy(&name) {
                Some(policy) => drop(self.policies.insert(name, policy)),
                None => drop(self.policies.remove(&name)),
            }
        }
        for name in dirty.namespaces {
            match cluster.namespace_facts(&name) {
                Some(facts) => drop(self.namespaces.insert(name, facts)),
                None => drop(self.namespaces.remove(&name)),
            }
        }
    }
}

/// Few addresses, so that objects have to do with each other.
fn any_ip() -> impl Strategy<Value = String> {
    (1..5_u8).prop_map(|it| format!("10.0.0.{it}"))
}

fn any_pod() -> impl Strategy<Value = Object> {
    let patches = select(vec![
        json!({}),
        json!({ "status": { "phase": "Succeeded" } }),
        json!({ "metadata": { "deletionTimestamp": "2026-11-20T16:04:08Z" } }),
        json!({ "spec": { "hostNetwork": true } }),
        json!({ "spec": { "nodeName": "there" } }),
        json!({ "status": { "phase": "Pending" } }),
        json!({ "metadata": { "uid": null } }),
        json!({ "metadata": { "labels": { "mesh-agent.io/dataplane": "disabled" } } }),
        json!({ "metadata": { "creationTimestamp": "2026-11-20T16:04:08Z" } }),
    ]);
    (0..3_u8, any_ip(), 0..3_u8, select(vec!["web", "db"]), patches).prop_map(
        |(name, ip, uid, app, patch)| {
            let name = format!("p{name}");
            let labels = json!({ "app": app, "name": name });
            let mut own = json!({ "metadata": { "uid": format!("uid-{uid}"), "labels": labels } });
            merge(&mut own, patch);
            pod(&name, &ip, own)
        },
    )
}

fn any_service() -> impl Strategy<Value = Object> {
    let patches = select(vec![
        json!({}),
        json!({ "internalTrafficPolicy": "Local" }),
        json!({ "publishNotReadyAddresses": true }),
        json!({ "selector": { "app": "db", "name": "p1" } }),
        json!({ "clusterIP": "None" }),
        json!({ "selector": null }),
    ]);
    (0..3_u8, patches).prop_map(|(number, patch)| {
        let mut spec = json!({ "clusterIP": format!("10.96.0.{}", number + 1) });
        merge(&mut spec, patch);
        service(json!({ "metadata": { "name": format!("s{number}") }, "spec": spec }))
    })
}

fn any_endpoint() -> impl Strategy<Value = Value> {
    let targets = (0..3_u8, 0..3_u8, 0..3_u8).prop_map(|(how, pod, uid)| match how {
        0 => Value::Null,
        1 => json!({ "kind": "Pod", "name": format!("p{pod}") }),
        _ => json!({ "kind": "Pod", "name": format!("p{pod}"), "uid": format!("uid-{uid}") }),
    });
    (any_ip(), targets, any::<bool>(), select(vec!["a", "b"])).prop_map(|(ip, target, ready, zone)| {
        json!({
            "addresses": [ip],
            "targetRef": target,
            "conditions": { "ready": ready, "serving": true, "terminating": !ready },
            "hints": { "forZones": [{ "name": zone }] },
        })
    })
}

fn any_slice() -> impl Strategy<Value = Object> {
    let endpoints = prop::collection::vec(any_endpoint(), 0..4);
    (0..3_u8, 0..3_u8, endpoints).prop_map(|(name, service, endpoints)| {
        let ports = json!([{ "port": 8080 }]);
        let (service, name) = (format!("s{service}"), format!("e{name}"));
        slice_of(&service, &name, "IPv4", ports, json!(endpoints))
    })
}

fn any_namespace() -> impl Strategy<Value = Object> {
    let annotations = select(vec![
        json!({}),
        json!({ "mesh-agent.io/fail-mode": "closed" }),
        json!({ "mesh-agent.io/policy-mode": "audit" }),
        json!({ "mesh-agent.io/allowed-sources": "10.0.0.0/8" }),
    ]);
    let dataplanes = select(vec!["", "enabled", "disabled"]);
    (dataplanes, annotations).prop_map(|(dataplane, annotations)| {
        let labels = json!({ "mesh-agent.io/dataplane": dataplane });
        let metadata = json!({ "name": "shop", "labels": labels, "annotations": annotations });
        object(json!({ "kind": "Namespace", "metadata": metadata }))
    })
}

fn any_policy() -> impl Strategy<Value = Object> {
    (0..2_u8, select(vec!["Ingress", "Egress"])).prop_map(|(name, direction)| {
        object(json!({
            "kind": "NetworkPolicy",
            "metadata": { "namespace": "shop", "name": format!("n{name}") },
            "spec": { "podSelector": {}, "policyTypes": [direction] },
        }))
    })
}

fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![
        4 => any_pod(),
        3 => any_service(),
        3 => any_slice(),
        2 => any_namespace(),
        1 => any_policy(),
        1 => select(vec!["a", "b"]).prop_map(|zone| node("here", zone)),
    ]
}

/// A cluster's worth of objects, each once, in two orders.
fn two_orders() -> impl Strategy<Value = (Vec<Object>, Vec<Object>)> {
    let objects = prop::collection::vec(any_object(), 0..24).prop_map(|objects| {
        let unique: BTreeMap<_, _> = objects.into_iter().map(|it| (it.reference(), it)).collect();
        unique.into_values().collect::<Vec<_>>()
    });
    objects.prop_flat_map(|objects| (Just(objects.clone()), Just(objects).prop_shuffle()))
}

proptest! {
    #[test]
    fn the_order_of_objects_does_not_matter((one, other) in two_orders()) {
        prop_assert_eq!(View::of(&cluster(one)), View::of(&cluster(other)));
    }

    #[test]
    fn what_is_not_dirty_has_not_changed(
        changes in prop::collection::vec((any_object(), any::<bool>()), 0..60)
    ) {
        let mut cluster = Cluster::for_manifests("here");
        let (mut view, mut objects) = (View::default(), BTreeMap::new());
        for (object, keep) in changes {
            let event = if keep {
                objects.insert(object.reference(), object.clone());
                Event::Upsert(object)
            } else {
                objects.remove(&object.reference());
                Event::Delete(object.reference())
            };
            let dirty = cluster.apply(event);
            view.refresh(&cluster, dirty);
            prop_assert_eq!(&view, &View::of(&cluster));
        }
        prop_assert_eq!(view, View::of(&super::cluster(objects.into_values())));
    }

    #[test]
    fn the_pod_of_an_endpoint_is_a_workload((objects, _) in two_orders()) {
        let cluster = cluster(objects);
        let ports = cluster.services().filter_map(|name| cluster.service(name));
        for port in ports.flat_map(ServicePorts::into_values) {
            for pod in port.endpoints.into_iter().filter_map(|endpoint| endpoint.pod) {
                prop_assert!(cluster.workload(&pod).is_some());
            }
        }
    }
}
