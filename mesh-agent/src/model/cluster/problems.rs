//! What is wrong with the objects of users.

use mesh_common::names::{dataplane, istio};

use super::Cluster;
use crate::model::object::{Fault, Invalid, Pod};

impl Cluster {
    /// What users should know about their objects now: settings that mean nothing or do not count, parts of policies
    /// that can't be read, and addresses that two pods claim.
    pub fn problems(&self) -> impl Iterator<Item = Invalid> {
        let contested = self.pods.contested().map(|(addr, pod, owner)| Invalid {
            object: pod.reference(),
            field: "status.podIPs".to_owned(),
            fault: Fault::AddressTaken {
                address: addr.to_string(),
                by: owner.object.to_string(),
            },
        });
        let doubts = self.doubts.values().flatten().cloned();
        doubts.chain(self.overruled()).chain(contested)
    }

    /// The pods that say they are not in the mesh, in vain.
    fn overruled(&self) -> impl Iterator<Item = Invalid> {
        let closed = self.namespaces.values().filter(|it| it.fails_closed());
        let pods = closed.flat_map(|namespace| self.pods.in_namespace(&namespace.name));
        pods.filter(|pod| self.is_overruled(pod)).map(|pod| Invalid {
            object: pod.reference(),
            field: format!("metadata.labels[{}]", label_in_vain(pod)),
            fault: Fault::Overruled,
        })
    }
}

const fn label_in_vain(pod: &Pod) -> &'static str {
    match pod.dataplane.value() {
        Some(_) => dataplane::LABEL,
        None => istio::DATAPLANE_MODE,
    }
}
