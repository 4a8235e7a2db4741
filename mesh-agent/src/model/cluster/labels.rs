//! What objects are called besides their names: labels, for those who look for them by selector.

use super::{Cluster, Event};
use crate::model::desired::{ObjectName, PodKey};
use crate::model::object::{Object, ObjectRef};

impl Cluster {
    /// The labels of a pod, in order; none where there is no such pod.
    pub fn pod_labels(&self, key: &PodKey) -> impl Iterator<Item = (&str, &str)> {
        self.pod(key).into_iter().flat_map(|pod| pod.labels.iter())
    }

    /// The labels of a Service, in order; none where there is no such Service.
    pub fn service_labels(&self, name: &ObjectName) -> impl Iterator<Item = (&str, &str)> {
        self.services
            .get(name)
            .into_iter()
            .flat_map(|service| service.labels.iter())
    }

    /// Whether an event may change what `meshctl` says of an object besides its ids: labels, what is dialled, and who
    /// is not in the mesh.
    #[must_use]
    pub fn relabels(&self, event: &Event) -> bool {
        match event {
            Event::Upsert(Object::Pod(new)) => self.pod(&new.key).map_or_else(
                || self.is_kept_out(new),
                |old| {
                    old.labels != new.labels
                        || old.workload != new.workload
                        || self.is_kept_out(old) != self.is_kept_out(new)
                        || old.unenrolled != new.unenrolled
                },
            ),
            Event::Delete(ObjectRef::Pod(name)) => self.pods.get(name).is_some_and(|it| self.is_kept_out(it)),
            Event::Upsert(Object::Namespace(new)) => {
                self.namespaces.get(&new.name).map(AsRef::as_ref) != Some(new.as_ref())
            }
            Event::Delete(ObjectRef::Namespace(name)) => self.namespaces.contains_key(name),
            Event::Upsert(Object::Service(new)) => self.services.get(&new.name) != Some(new.as_ref()),
            Event::Delete(ObjectRef::Service(name)) => self.services.get(name).is_some(),
            Event::Upsert(_) | Event::Delete(_) => false,
        }
    }
}
