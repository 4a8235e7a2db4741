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

    /// Whether an event may change what `meshctl` says of an object besides its ids: labels, and what is dialled.
    #[must_use]
    pub fn relabels(&self, event: &Event) -> bool {
        match event {
            Event::Upsert(Object::Pod(new)) => self
                .pod(&new.key)
                .is_some_and(|old| old.labels != new.labels || old.workload != new.workload),
            Event::Upsert(Object::Service(new)) => self.services.get(&new.name) != Some(new.as_ref()),
            Event::Delete(ObjectRef::Service(name)) => self.services.get(name).is_some(),
            Event::Upsert(_) | Event::Delete(_) => false,
        }
    }
}
