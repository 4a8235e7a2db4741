//! Whose connections end, from the objects that tell of it.

use mesh_common::addr::{Protocol, socket_addr};

use super::*;
use crate::model::ending::{Backends, follow};

/// A cluster with what is remembered of `shop/web`.
struct Watched {
    cluster: Cluster,
    remembered: Backends,
}

impl Watched {
    fn new(endpoints: Value) -> Self {
        let ports = json!([
            { "name": "web", "port": 80 },
            { "name": "dns", "port": 53, "protocol": "UDP" },
        ]);
        let cluster = cluster([
            service(json!({ "spec": { "ports": ports } })),
            slice_of("web", "s", "IPv4", ports, endpoints),
            pod("a", "10.0.0.1", json!({})),
        ]);
        let remembered = cluster.backends(&web());
        Self { cluster, remembered }
    }

    /// Takes in an event; the connections that end, each as `address/protocol: why`.
    fn after(&mut self, event: Event) -> Vec<String> {
        let _ = self.cluster.apply(event);
        let there = |pod: &PodKey| self.cluster.workload(pod).is_some();
        let endings = follow(&mut self.remembered, self.cluster.backends(&web()), there);
        let text = |it: &crate::model::ending::Ending| {
            let listener = it.listener;
            let socket = socket_addr(listener.addr, listener.port);
            format!("{socket}/{}: {}", listener.protocol.name(), it.why)
        };
        endings.iter().map(text).collect()
    }

    fn staffed(&mut self, endpoints: Value) -> Vec<String> {
        let ports = json!([
            { "name": "web", "port": 80 },
            { "name": "dns", "port": 53, "protocol": "UDP" },
        ]);
        self.after(Event::Upsert(slice_of("web", "s", "IPv4", ports, endpoints)))
    }
}

fn endpoint(conditions: Value) -> Value {
    let target = json!({ "kind": "Pod", "name": "a", "uid": "uid-a" });
    json!({ "addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": target })
}

#[test]
fn a_pod_that_ends_takes_datagrams_first_and_streams_when_it_is_gone() {
    let mut web = Watched::new(json!([endpoint(json!({}))]));
    let protocols: Vec<_> = web.remembered.keys().map(|it| it.protocol).collect();
    assert_eq!(protocols, [Protocol::Udp, Protocol::Tcp]);
    let draining = json!({ "ready": false, "serving": true, "terminating": true });
    assert_eq!(
        web.staffed(json!([endpoint(draining)])),
        [""; 0],
        "it still serves"
    );
    let done = json!({ "ready": false, "serving": false, "terminating": true });
    assert_eq!(
        web.staffed(json!([endpoint(done)])),
        ["10.0.0.1:53/UDP: the endpoint does not serve any more"]
    );
    assert_eq!(web.staffed(json!([])), [""; 0], "streams end with the pod");
    let gone = Event::Delete(ObjectRef::Pod(ObjectName::new("shop", "a")));
    assert_eq!(web.after(gone), ["10.0.0.1:80/TCP: its pod is gone"]);
    assert_eq!(web.staffed(json!([])), [""; 0]);
}

#[test]
fn a_pod_that_is_gone_before_its_slice_says_so() {
    let mut web = Watched::new(json!([endpoint(json!({}))]));
    let ended = Event::Upsert(pod("a", "10.0.0.1", json!({ "status": { "phase": "Failed" } })));
    assert_eq!(
        web.after(ended),
        [
            "10.0.0.1:53/UDP: its pod is gone",
            "10.0.0.1:80/TCP: its pod is gone"
        ]
    );
    assert_eq!(web.staffed(json!([])), ["10.0.0.1:53/UDP: the endpoint is gone"]);
}

#[test]
fn a_service_that_goes_ends_datagrams_only() {
    let mut web = Watched::new(json!([endpoint(json!({}))]));
    let gone = Event::Delete(ObjectRef::Service(super::web()));
    assert_eq!(web.after(gone), ["10.0.0.1:53/UDP: the endpoint is gone"]);
}
