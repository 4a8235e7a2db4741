//! What operators should find with `kubectl describe pod`: the Events there should be now.
//!
//! Of pods of this node only. What is wrong with a Service or a Namespace is seen from every node, and a thousand agents
//! would all say so: that stays in `meshctl status`.

use std::collections::{BTreeMap, BTreeSet};

use mesh_common::names::event;

use super::cluster::Cluster;
use super::desired::PodKey;
use super::ledger::{Object, Refusal};
use super::object::{Fault, Invalid, ObjectRef, Unenrolled};

mod diary;

pub use diary::{Diary, Entry, REFRESH};

/// What an Event is about. There is one of each, and what it says may change.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Notice {
    /// The pod.
    pub pod: PodKey,
    /// The reason.
    pub reason: Reason,
}

/// What is said, by what it is about.
pub type Notices = BTreeMap<Notice, String>;

/// Why there is an Event.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// Another mesh takes the pod's connections.
    OtherMesh,
    /// The pod's sockets are not in this kernel.
    Unsupported,
    /// A label or annotation of ours says what nobody understands, or what does not count.
    InvalidSetting,
    /// Another pod has the pod's address.
    AddressTaken,
    /// The pod's network namespace is not known.
    NoNetworkNamespace,
    /// A table is full.
    NoRoom,
}

impl Reason {
    /// As it stands in the Event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherMesh => event::OTHER_MESH,
            Self::Unsupported => event::UNSUPPORTED,
            Self::InvalidSetting => event::INVALID_SETTING,
            Self::AddressTaken => event::ADDRESS_TAKEN,
            Self::NoNetworkNamespace => event::NO_NETWORK_NAMESPACE,
            Self::NoRoom => event::NO_ROOM,
        }
    }
}

/// What there is to say; `lost` are the pods whose network namespace is not known, with the reason.
#[must_use]
pub fn notices<'a>(
    cluster: &Cluster,
    refusals: impl Iterator<Item = &'a Refusal>,
    lost: impl Iterator<Item = (&'a PodKey, String)>,
) -> Notices {
    let kept_out = cluster.unenrolled().filter_map(|(pod, why)| {
        let reason = match why {
            Unenrolled::OtherMesh(_) => Reason::OtherMesh,
            Unenrolled::Unsupported(_) => Reason::Unsupported,
            // Whoever asked for it sees it in the pod.
            Unenrolled::HostNetwork => return None,
        };
        Some((pod.clone(), reason, format!("not in the mesh: {why}")))
    });
    let problems = cluster.problems().filter_map(|Invalid { object, field, fault }| {
        let ObjectRef::Pod(name) = object else { return None };
        let pod = cluster.own_pod(&name)?;
        let reason = match fault {
            Fault::AddressTaken { .. } => Reason::AddressTaken,
            _ => Reason::InvalidSetting,
        };
        Some((pod.key.clone(), reason, format!("{field}: {fault}")))
    });
    let refused: BTreeSet<&PodKey> = refusals
        .filter_map(|refusal| match &refusal.object {
            Object::Pod(pod) => Some(pod),
            Object::Service(_) => None,
        })
        .filter(|pod| cluster.own_pod(&pod.object).is_some_and(|own| own.key == **pod))
        .collect();
    // How many are free differs from moment to moment, and each word would be another Event.
    let refused = refused.into_iter().map(|pod| {
        let note = "a table of the mesh has no room for it: see `meshctl status` on its node";
        (pod.clone(), Reason::NoRoom, note.to_owned())
    });
    let lost = lost.map(|(pod, why)| (pod.clone(), Reason::NoNetworkNamespace, why));

    let all = kept_out.chain(problems).chain(refused).chain(lost);
    all.map(|(pod, reason, note)| (Notice { pod, reason }, note))
        .collect()
}

/// Without what comes and goes by itself: a namespace that is found a moment later, entries that have to rest. It is said
/// when it was already so `before`, at the last look.
#[must_use]
pub fn lasting(notices: &Notices, before: &Notices) -> Notices {
    let passes = |notice: &Notice| matches!(notice.reason, Reason::NoNetworkNamespace | Reason::NoRoom);
    let lasting = notices
        .iter()
        .filter(|(notice, _)| !passes(notice) || before.contains_key(notice));
    lasting
        .map(|(notice, note)| (notice.clone(), note.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1 as api;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::cluster::Event;
    use crate::model::desired::ObjectName;
    use crate::model::ledger::{Part, Reason as RefusalReason};
    use crate::model::object::{Object as Known, Pod};

    fn cluster(pods: impl IntoIterator<Item = Value>) -> Cluster {
        let mut cluster = Cluster::new("here");
        for pod in pods {
            let pod: api::Pod = serde_json::from_value(pod).unwrap();
            let pod = Pod::try_from(pod).unwrap();
            let _ = cluster.apply(Event::Upsert(Known::Pod(Arc::new(pod))));
        }
        cluster
    }

    fn pod(name: &str, label: &str, ip: &str, spec: &Value) -> Value {
        json!({
            "metadata": {
                "namespace": "shop", "name": name, "uid": format!("uid-{name}"),
                "labels": { "mesh-agent.io/dataplane": label },
            },
            "spec": spec,
            "status": { "podIP": ip },
        })
    }

    fn key(name: &str) -> PodKey {
        PodKey {
            object: ObjectName::new("shop", name),
            uid: format!("uid-{name}").into(),
        }
    }

    fn said(notices: Notices) -> Vec<String> {
        let said = notices.into_iter();
        said.map(|(notice, note)| format!("{} {}: {note}", notice.pod, notice.reason.name()))
            .collect()
    }

    #[test]
    fn pods_of_this_node_that_are_kept_out_or_wrong_are_told_of() {
        let here = |mut spec: Value| {
            spec["nodeName"] = json!("here");
            spec
        };
        let sidecar = || json!({ "containers": [{ "name": "istio-proxy" }] });
        let cluster = cluster([
            pod("a", "enabled", "10.0.0.1", &here(sidecar())),
            pod(
                "b",
                "enabled",
                "10.0.0.2",
                &here(json!({ "runtimeClassName": "gvisor" })),
            ),
            pod("c", "enabled", "10.0.0.3", &here(json!({ "hostNetwork": true }))),
            pod("d", "maybe", "10.0.0.4", &here(json!({}))),
            pod("e", "enabled", "10.0.0.1", &here(json!({}))),
            pod("f", "enabled", "10.0.0.6", &sidecar()),
            pod("g", "maybe", "10.0.0.7", &json!({ "nodeName": "there" })),
            pod("h", "enabled", "10.0.0.8", &here(json!({}))),
        ]);
        assert_eq!(
            said(notices(&cluster, [].iter(), [].into_iter())),
            [
                "shop/a OtherMesh: not in the mesh: other-mesh (istio-proxy)",
                "shop/a AddressTaken: status.podIPs: 10.0.0.1 belongs to pod shop/e now",
                "shop/b Unsupported: not in the mesh: unsupported (gvisor)",
                "shop/d InvalidSetting: metadata.labels[mesh-agent.io/dataplane]: \"maybe\" is not one of enabled, \
                 disabled",
            ]
        );
    }

    #[test]
    fn what_has_no_room_is_told_once_and_of_pods_of_this_node() {
        let cluster = cluster([
            pod("a", "enabled", "10.0.0.1", &json!({ "nodeName": "here" })),
            pod("b", "enabled", "10.0.0.2", &json!({ "nodeName": "there" })),
        ]);
        let refusal = |object, part| Refusal {
            object,
            part,
            reason: RefusalReason::NoWorkloadId,
            keeps: false,
        };
        let refusals = [
            refusal(Object::Pod(key("a")), Part::Addresses),
            refusal(Object::Pod(key("a")), Part::Netns(7)),
            refusal(Object::Pod(key("b")), Part::Addresses),
            refusal(Object::Service(ObjectName::new("shop", "web")), Part::Addresses),
        ];
        let gone = key("gone");
        let lost = [(&gone, "nowhere".to_owned())];
        assert_eq!(
            said(notices(&cluster, refusals.iter(), lost.into_iter())),
            [
                "shop/a NoRoom: a table of the mesh has no room for it: see `meshctl status` on its node",
                "shop/gone NoNetworkNamespace: nowhere",
            ]
        );
    }

    #[test]
    fn what_passes_by_itself_is_told_when_it_lasts() {
        let all: Notices = [Reason::OtherMesh, Reason::NoNetworkNamespace, Reason::NoRoom]
            .map(|reason| {
                (
                    Notice {
                        pod: key("a"),
                        reason,
                    },
                    "x".to_owned(),
                )
            })
            .into();
        let reasons = |notices: Notices| notices.into_keys().map(|it| it.reason).collect::<Vec<_>>();
        assert_eq!(reasons(lasting(&all, &Notices::new())), [Reason::OtherMesh]);
        assert_eq!(lasting(&all, &all), all);
    }
}
