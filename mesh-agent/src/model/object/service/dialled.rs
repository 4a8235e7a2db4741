//! The addresses of a Service that clients dial on its ports, and those that are left to the host.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as api;
use mesh_common::addr::Addr;

use super::super::field;
use super::super::invalid::{At, Misfit};
use crate::model::desired::Family;

/// Why clients dial an address.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum FrontendType {
    /// One of the `clusterIPs`.
    ClusterIp,
    /// One of the `externalIPs`.
    ExternalIp,
    /// An address of a load balancer that leaves the rest to the node (`ipMode: VIP`).
    LoadBalancer,
    /// An address of this node, on the `nodePort`.
    NodePort,
}

impl FrontendType {
    /// The name, as Kubernetes spells types of Services.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::ExternalIp => "ExternalIP",
            Self::LoadBalancer => "LoadBalancer",
            Self::NodePort => "NodePort",
        }
    }
}

/// Why what is dialled at an address is left to the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Untouched {
    /// The host has the address, so that a listener of its own is meant (as that of `NodeLocal DNSCache`).
    #[error("address of the host")]
    HostAddress,
    /// The host filters by client, which is not to be bypassed.
    #[error("loadBalancerSourceRanges")]
    SourceRanges,
    /// The load balancer wants to see the traffic itself.
    #[error("ipMode Proxy")]
    ProxyMode,
}

/// The addresses of a Service besides those of nodes.
#[derive(Default)]
pub(super) struct Dialled {
    pub(super) addresses: BTreeMap<Addr, FrontendType>,
    pub(super) untouched: BTreeMap<Addr, Untouched>,
}

impl Dialled {
    /// Reads them. As for kube-proxy, an address is nobody's where the Service has no cluster IP of its family.
    pub(super) fn of(spec: &api::ServiceSpec, status: Option<&api::ServiceStatus>) -> Result<Self, Misfit> {
        let mut dialled = Self::default();
        for (path, ip) in cluster_ips(spec) {
            let addr = field::address(ip).at(|| path)?;
            dialled.addresses.insert(addr, FrontendType::ClusterIp);
        }
        let families: BTreeSet<Family> = dialled.addresses.keys().map(Family::of).collect();
        let is_served = |addr: &Addr| families.is_empty() || families.contains(&Family::of(addr));

        for (index, ip) in spec.external_ips.iter().flatten().enumerate() {
            let addr = field::address(ip).at(|| format!("spec.externalIPs[{index}]"))?;
            if is_served(&addr) {
                dialled.addresses.entry(addr).or_insert(FrontendType::ExternalIp);
            }
        }
        let filtered = spec.load_balancer_source_ranges.iter().flatten().next().is_some();
        let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref());
        for (index, ingress) in ingress.unwrap_or_default().iter().enumerate() {
            let Some(ip) = ingress.ip.as_deref().filter(|ip| !ip.is_empty()) else {
                continue;
            };
            let addr = field::address(ip).at(|| format!("status.loadBalancer.ingress[{index}].ip"))?;
            if is_served(&addr) {
                dialled.balancer(addr, ingress.ip_mode.as_deref() == Some("Proxy"), filtered);
            }
        }
        Ok(dialled)
    }

    /// Takes in the address of a load balancer, which may be one of the Service's others as well.
    fn balancer(&mut self, addr: Addr, is_proxy: bool, filtered: bool) {
        let known = self.addresses.get(&addr).copied();
        match known {
            Some(FrontendType::ClusterIp) => {}
            // kube-proxy, too, filters what goes to that address, whoever else has it.
            _ if filtered && !is_proxy => {
                self.addresses.remove(&addr);
                self.untouched.insert(addr, Untouched::SourceRanges);
            }
            Some(_) => {}
            None if is_proxy => drop(self.untouched.insert(addr, Untouched::ProxyMode)),
            None => drop(self.addresses.insert(addr, FrontendType::LoadBalancer)),
        }
    }
}

/// `clusterIPs`, else `clusterIP`, each with its path.
pub(super) fn cluster_ips(spec: &api::ServiceSpec) -> impl Iterator<Item = (String, &str)> {
    let many = spec.cluster_ips.iter().flatten().enumerate();
    let many = many.map(|(index, ip)| (format!("spec.clusterIPs[{index}]"), ip.as_str()));
    let one = spec
        .cluster_ip
        .iter()
        .filter(|_| spec.cluster_ips.as_ref().is_none_or(Vec::is_empty));
    let one = one.map(|ip| ("spec.clusterIP".to_owned(), ip.as_str()));
    many.chain(one).filter(|(_, ip)| !ip.is_empty())
}
