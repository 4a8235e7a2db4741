//! Whose connections end, from the objects that tell of it.

use std::time::Duration;

use mesh_common::addr::{Port, Protocol};

use super::*;
use crate::model::ending::{Judge, Target, Why};
use crate::model::ledger::{Capacity, Ledger};

const ROOM: Capacity = Capacity {
    services: 64,
    service_info: 64,
    lb_table: 4_096,
    backends: 64,
    members: 64,
    workloads: 64,
    pods: 64,
    pending_pods: 64,
};

/// A cluster, its ledger, and connections of `shop/web` to the pod `a`.
struct Watched {
    cluster: Cluster,
    ledger: Ledger,
    now: Duration,
    /// UDP, TCP.
    targets: [Target; 2],
}

fn ports() -> Value {
    json!([
        { "name": "web", "port": 80 },
        { "name": "dns", "port": 53, "protocol": "UDP" },
    ])
}

fn endpoint(conditions: Value) -> Value {
    let target = json!({ "kind": "Pod", "name": "a", "uid": "uid-a" });
    json!({ "addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": target })
}

fn endpoints(endpoints: Value) -> Event {
    Event::Upsert(slice_of("web", "s", "IPv4", ports(), endpoints))
}

fn deleted(pod: &str) -> Event {
    Event::Delete(ObjectRef::Pod(ObjectName::new("shop", pod)))
}

impl Watched {
    fn new() -> Self {
        let mut watched = Self {
            cluster: Cluster::for_manifests("here"),
            ledger: Ledger::new(ROOM),
            now: Duration::from_secs(1_000),
            targets: [target(Protocol::Udp, 53), target(Protocol::Tcp, 80)],
        };
        watched.after([
            Event::Upsert(service(json!({ "spec": { "ports": ports() } }))),
            endpoints(json!([endpoint(json!({}))])),
            Event::Upsert(pod("a", "10.0.0.1", json!({}))),
        ]);
        let id = |port| {
            let mut services = watched.ledger.services();
            services.find(|(_, _, key, _)| key.port == port).unwrap().0
        };
        let ids = [id(53), id(80)];
        let (workload, _) = watched.ledger.workloads().next().unwrap();
        for (target, service) in watched.targets.iter_mut().zip(ids) {
            (target.service, target.pod) = (service, workload);
        }
        assert_eq!(watched.whys(), [None, None]);
        watched
    }

    /// Takes in events; why the connections over UDP and over TCP end.
    fn after(&mut self, events: impl IntoIterator<Item = Event>) -> [Option<Why>; 2] {
        let mut dirty = Dirty::default();
        for event in events {
            dirty.merge(self.cluster.apply(event));
        }
        for pod in &dirty.pods {
            let workload = self.cluster.workload(pod);
            self.ledger.plan_workload(pod, workload.as_ref(), self.now);
        }
        for service in &dirty.services {
            let ports = self.cluster.service(service);
            self.ledger.plan_service(service, ports.as_ref(), self.now);
        }
        self.whys()
    }

    fn whys(&self) -> [Option<Why>; 2] {
        let mut judge = Judge::new(&self.cluster, &self.ledger);
        self.targets.map(|target| judge.why(&target))
    }
}

fn target(protocol: Protocol, port: u16) -> Target {
    Target {
        protocol,
        service: 0,
        asked: addr("10.96.0.1"),
        addr: addr("10.0.0.1"),
        port: Port::new(port),
        pod: 0,
    }
}

#[test]
fn a_pod_that_ends_takes_datagrams_first_and_streams_when_it_is_gone() {
    let mut web = Watched::new();
    let draining = json!({ "ready": false, "serving": true, "terminating": true });
    assert_eq!(web.after([endpoints(json!([endpoint(draining)]))]), [None, None]);
    let done = json!({ "ready": false, "serving": false, "terminating": true });
    let not_serving = [Some(Why::NotServing), None];
    assert_eq!(web.after([endpoints(json!([endpoint(done)]))]), not_serving);
    assert_eq!(
        web.after([endpoints(json!([endpoint(json!({}))]))]),
        [None, None],
        "again"
    );
    assert_eq!(web.after([endpoints(json!([]))]), [Some(Why::Removed), None]);
    assert_eq!(web.after([deleted("a")]), [Some(Why::PodGone); 2]);
}

#[test]
fn a_pod_that_is_gone_before_its_slice_says_so() {
    let mut web = Watched::new();
    let ended = pod("a", "10.0.0.1", json!({ "status": { "phase": "Failed" } }));
    assert_eq!(web.after([Event::Upsert(ended)]), [Some(Why::PodGone); 2]);
}

#[test]
fn an_address_that_another_pod_has_by_now() {
    let mut web = Watched::new();
    let b = || Event::Upsert(pod("b", "10.0.0.1", json!({})));
    // As when the slice had named the new pod before the pod itself was seen: the record names the old one.
    assert_eq!(web.after([deleted("a"), b()]), [None, None]);
    assert_eq!(web.after([endpoints(json!([]))]), [Some(Why::Removed), None]);
}

#[test]
fn a_pod_that_shows_its_address_after_its_slice() {
    let mut web = Watched::new();
    let waiting = || {
        Event::Upsert(pod(
            "a",
            "10.0.0.1",
            json!({ "status": { "podIPs": [], "podIP": null } }),
        ))
    };
    assert_eq!(web.after([waiting()]), [None, None]);
    let next =
        json!([{ "addresses": ["10.0.0.1"], "targetRef": { "kind": "Pod", "name": "b", "uid": "uid-b" } }]);
    assert_eq!(
        web.after([endpoints(next), deleted("a")]),
        [None, None],
        "b's by now"
    );
    assert_eq!(web.after([endpoints(json!([]))]), [Some(Why::PodGone); 2]);
}

#[test]
fn a_service_that_goes_ends_datagrams_only() {
    let mut web = Watched::new();
    let gone = Event::Delete(ObjectRef::Service(super::web()));
    assert_eq!(web.after([gone]), [Some(Why::Removed), None]);
}

#[test]
fn where_no_pod_was_known_nobody_can_tell_that_it_is_gone() {
    let mut web = Watched::new();
    for target in &mut web.targets {
        target.pod = 0;
    }
    assert_eq!(web.after([deleted("a")]), [None, None]);
    assert_eq!(web.after([endpoints(json!([]))]), [Some(Why::Removed), None]);
}

/// An id is another Service's by now, but the frontend tells; or the other way round.
#[test]
fn a_connection_goes_on_if_either_id_or_frontend_says_so() {
    let mut web = Watched::new();
    let [udp, _] = &mut web.targets;
    let id = std::mem::replace(&mut udp.service, 77);
    assert_eq!(web.whys(), [None, None]);
    web.targets[0].asked = addr("10.96.0.9");
    assert_eq!(web.whys(), [Some(Why::Removed), None]);
    web.targets[0].service = id;
    assert_eq!(web.whys(), [None, None]);
}
