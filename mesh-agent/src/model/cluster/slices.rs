//! The `EndpointSlices` of the cluster, by the Service, the addresses and the pods they are about.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mesh_common::addr::Addr;

use crate::model::desired::ObjectName;
use crate::model::groups::Groups;
use crate::model::object::EndpointSlice;
use crate::model::object::endpoint_slice::SliceEndpoint;

/// All slices that belong to a Service.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices {
    all: HashMap<Arc<ObjectName>, Arc<EndpointSlice>>,
    by_service: Groups<ObjectName, Arc<ObjectName>>,
    by_address: Groups<Addr, Arc<ObjectName>>,
    by_pod: Groups<ObjectName, Arc<ObjectName>>,
}

impl Slices {
    pub(super) fn get(&self, name: &ObjectName) -> Option<&EndpointSlice> {
        self.all.get(name).map(AsRef::as_ref)
    }

    /// Whether a Service has slices.
    pub(super) fn has(&self, service: &ObjectName) -> bool {
        self.by_service.len(service) > 0
    }

    /// The slices of a Service.
    pub(super) fn of_service(&self, service: &ObjectName) -> impl Iterator<Item = &EndpointSlice> {
        self.by_service.get(service).filter_map(|name| self.get(name))
    }

    /// The Services with an endpoint that is meant for a zone.
    pub(super) fn services_with_zones(&self) -> impl Iterator<Item = &ObjectName> {
        let zoned = |it: &SliceEndpoint| it.hints.as_ref().is_some_and(|hints| !hints.zones.is_empty());
        let slices = self
            .all
            .values()
            .filter(move |slice| slice.endpoints.iter().any(zoned));
        slices.filter_map(|slice| slice.service.as_ref())
    }

    /// The slices with an endpoint of that address.
    pub(super) fn at(&self, addr: &Addr) -> impl Iterator<Item = &EndpointSlice> {
        self.by_address.get(addr).filter_map(|name| self.get(name))
    }

    /// The Services with an endpoint of that address.
    pub(super) fn services_at(&self, addr: &Addr) -> impl Iterator<Item = &ObjectName> {
        self.services_of(self.by_address.get(addr))
    }

    /// The Services with an endpoint that refers to that pod.
    pub(super) fn services_naming(&self, pod: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        self.services_of(self.by_pod.get(pod))
    }

    fn services_of<'a>(
        &'a self,
        slices: impl Iterator<Item = &'a Arc<ObjectName>>,
    ) -> impl Iterator<Item = &'a ObjectName> {
        slices.filter_map(|name| self.all.get(name)?.service.as_ref())
    }

    /// Puts a slice in the place of the one of that name, or removes it. Only what differs is indexed
    /// anew: a slice of a thousand endpoints mostly changes in one.
    pub(super) fn replace(&mut self, name: &ObjectName, slice: Option<Arc<EndpointSlice>>) {
        let old = self.all.remove_entry(name);
        let name = old
            .as_ref()
            .map_or_else(|| Arc::new(name.clone()), |(name, _)| name.clone());
        let (gone, come) = (
            Keys::of(old.as_ref().map(|it| it.1.as_ref())),
            Keys::of(slice.as_deref()),
        );

        for &service in gone.service.difference(&come.service) {
            self.by_service.remove(service, &name);
        }
        for &service in come.service.difference(&gone.service) {
            self.by_service.insert(service.clone(), name.clone());
        }
        for addr in gone.addresses.difference(&come.addresses) {
            self.by_address.remove(addr, &name);
        }
        for &addr in come.addresses.difference(&gone.addresses) {
            self.by_address.insert(addr, name.clone());
        }
        for &pod in gone.pods.difference(&come.pods) {
            self.by_pod.remove(pod, &name);
        }
        for &pod in come.pods.difference(&gone.pods) {
            self.by_pod.insert(pod.clone(), name.clone());
        }
        if let Some(slice) = slice {
            self.all.insert(name, slice);
        }
    }
}

/// What a slice is found by.
#[derive(Default)]
struct Keys<'a> {
    service: BTreeSet<&'a ObjectName>,
    addresses: BTreeSet<Addr>,
    pods: BTreeSet<&'a ObjectName>,
}

impl<'a> Keys<'a> {
    fn of(slice: Option<&'a EndpointSlice>) -> Self {
        let Some(slice) = slice else {
            return Self::default();
        };
        let endpoints = || slice.endpoints.iter();
        let targets = endpoints().filter_map(|endpoint| endpoint.target.as_ref());
        Self {
            service: slice.service.iter().collect(),
            addresses: endpoints().map(|endpoint| endpoint.addr).collect(),
            pods: targets.map(|target| &target.name).collect(),
        }
    }
}
