//! All endpoints a port of a Service has: from its slices or, where objects are written by hand and there is none, from
//! its pods.

use mesh_common::addr::Addr;

use super::Cluster;
use super::choice::Candidate;
use crate::model::desired::PodKey;
use crate::model::object::endpoint_slice::{Conditions, SliceEndpoint, TargetPod};
use crate::model::object::service::{ServicePort, TargetPort};
use crate::model::object::{EndpointSlice, Pod, Service};

impl Cluster {
    /// The endpoints of one port, in both families, those that repeat included.
    pub(super) fn candidates(&self, service: &Service, port: &ServicePort) -> Vec<Candidate<'_>> {
        let mut slices = self.slices.of_service(&service.name).peekable();
        if slices.peek().is_some() || !self.by_hand {
            slices.flat_map(|slice| self.of_slice(slice, port)).collect()
        } else {
            let pods = self.pods.selected_by(service);
            pods.flat_map(|pod| self.of_pod(pod, service, port)).collect()
        }
    }

    fn of_slice<'a>(
        &'a self,
        slice: &'a EndpointSlice,
        port: &ServicePort,
    ) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        let numbers: Vec<u16> = slice
            .ports
            .iter()
            .filter(|it| it.name == port.name && it.protocol == port.protocol)
            .map(|it| it.port)
            .collect();
        numbers.into_iter().flat_map(move |number| {
            let endpoints = slice.endpoints.iter();
            endpoints.map(move |it| self.of_endpoint(it, number))
        })
    }

    fn of_endpoint<'a>(&'a self, endpoint: &'a SliceEndpoint, port: u16) -> Candidate<'a> {
        let pod = self.pod_behind(endpoint.addr, endpoint.target.as_ref());
        let local = match &endpoint.node {
            Some(node) => **node == *self.node,
            None => pod.is_some_and(|pod| self.is_local(pod)),
        };
        let hints = endpoint.hints.as_ref();
        Candidate {
            addr: endpoint.addr,
            port,
            pod: pod.map(|pod| &pod.key),
            conditions: endpoint.conditions,
            local,
            zones: hints.map_or(&[], |hints| &hints.zones),
            nodes: hints.map_or(&[], |hints| &hints.nodes),
        }
    }

    /// What Kubernetes' own controller would write into a slice about a pod.
    fn of_pod<'a>(
        &'a self,
        pod: &'a Pod,
        service: &Service,
        port: &ServicePort,
    ) -> impl Iterator<Item = Candidate<'a>> + use<'a> {
        let number = match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => pod.named_port(name, port.protocol),
        };
        let number = number.filter(|_| !pod.has_ended());
        let conditions = Conditions {
            ready: service.publish_not_ready || (pod.ready && !pod.is_ending()),
            serving: pod.ready,
            terminating: pod.is_ending(),
        };
        number.into_iter().flat_map(move |port| {
            pod.addresses.iter().map(move |&addr| Candidate {
                addr,
                port,
                pod: self.owner_key(addr).filter(|_| !pod.host_network),
                conditions,
                local: self.is_local(pod),
                zones: &[],
                nodes: &[],
            })
        })
    }

    /// The pod that an endpoint is: the one it refers to, else the one its address belongs to.
    fn pod_behind(&self, addr: Addr, target: Option<&TargetPod>) -> Option<&Pod> {
        target
            .and_then(|target| self.target(addr, target))
            .or_else(|| self.pods.owner(&addr))
    }

    /// The pod a reference means. A pod that was created anew under the old name is another pod.
    fn target(&self, addr: Addr, target: &TargetPod) -> Option<&Pod> {
        let pod = self.pods.get(&target.name).filter(|pod| pod.is_workload())?;
        let meant = match &target.uid {
            Some(uid) if pod.has_uid => *uid == pod.key.uid,
            _ => pod.addresses.is_empty() || pod.addresses.contains(&addr),
        };
        meant.then_some(pod)
    }

    /// The pod an address belongs to.
    #[must_use]
    pub fn owner_key(&self, addr: Addr) -> Option<&PodKey> {
        self.pods.owner(&addr).map(|pod| &pod.key)
    }
}
