//! The Services of the cluster, and which of them look for which pods.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mesh_common::addr::Addr;

use super::pair::{Pair, rarest};
use crate::model::desired::ObjectName;
use crate::model::groups::Groups;
use crate::model::object::{Pod, Service};

/// All Services.
#[derive(Clone, Debug, Default)]
pub(super) struct Services {
    all: BTreeMap<Arc<ObjectName>, Arc<Service>>,
    by_label: Groups<Pair, Arc<ObjectName>>,
    /// The one label of its selector that a Service is found by.
    found_by: HashMap<Arc<ObjectName>, Pair>,
}

impl Services {
    pub(super) fn get(&self, name: &ObjectName) -> Option<&Service> {
        self.all.get(name).map(AsRef::as_ref)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.all.keys().map(AsRef::as_ref)
    }

    /// The Services that select a pod and that anybody can dial.
    pub(super) fn selecting(&self, pod: &Pod) -> impl Iterator<Item = &Service> {
        let pairs = Pair::all(&pod.key.object.namespace, &pod.labels);
        let names = pairs.flat_map(|pair| self.by_label.get(&pair).collect::<Vec<_>>());
        let services = names.filter_map(|name| self.get(name));
        services.filter(|service| service.selects(&pod.labels))
    }

    /// The Services that are dialled at nodes.
    pub(super) fn with_node_ports(&self) -> impl Iterator<Item = &ObjectName> {
        let at_nodes = |service: &Service| service.ports.iter().any(|port| port.node_port.is_some());
        self.all
            .values()
            .filter(move |it| at_nodes(it))
            .map(|it| &it.name)
    }

    /// The Services that are dialled at one of these addresses.
    pub(super) fn dialled_at(&self, addresses: &BTreeSet<Addr>) -> impl Iterator<Item = &ObjectName> {
        let concerned = |service: &Service| service.addresses.keys().any(|addr| addresses.contains(addr));
        self.all
            .values()
            .filter(move |it| concerned(it))
            .map(|it| &it.name)
    }

    /// The Services that have an address, also where it is left to the host.
    pub(super) fn at(&self, addr: Addr) -> impl Iterator<Item = &ObjectName> {
        let has =
            move |it: &&Arc<Service>| it.addresses.contains_key(&addr) || it.untouched.contains_key(&addr);
        self.all.values().filter(has).map(|it| &it.name)
    }

    /// Puts a Service in the place of the one of that name, or removes it.
    pub(super) fn replace(&mut self, name: &ObjectName, service: Option<Arc<Service>>) {
        self.all.remove(name);
        if let Some((name, pair)) = self.found_by.remove_entry(name) {
            self.by_label.remove(&pair, &name);
        }
        if let Some(service) = service {
            let name = Arc::new(name.clone());
            self.index(&name, &service);
            self.all.insert(name, service);
        }
    }

    fn index(&mut self, name: &Arc<ObjectName>, service: &Service) {
        if service.addresses.is_empty() && service.untouched.is_empty() {
            return;
        }
        if let Some(pair) = rarest(&name.namespace, &service.selector, &self.by_label) {
            self.found_by.insert(name.clone(), pair.clone());
            self.by_label.insert(pair, name.clone());
        }
    }
}
