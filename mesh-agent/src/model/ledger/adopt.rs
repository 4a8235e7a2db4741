//! Taking over the tables as a previous agent left them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use mesh_common::service::Backend;
use mesh_common::tag::hash_addr;
use mesh_common::workload::{PodRef, hash_cookie};

use super::capacity::Capacity;
use super::claims::Claims;
use super::endpoints::Endpoints;
use super::found::Found;
use super::ids::Ids;
use super::intern::{Interned, Used};
use super::pods::{Hints, Pods};
use super::refused::Refused;
use super::regions::Regions;
use super::services::Services;
use super::workloads::Workloads;
use super::{Ledger, ids};
use crate::model::desired::PodKey;
use crate::model::op::Observed;

/// Where the tables come from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// This process made them.
    New,
    /// Another process wrote them, until a moment ago for all we know.
    Unknown,
    /// This ledger's writes are in them, except some of its last plan.
    Own(&'a Ledger),
}

impl Ledger {
    /// For tables that this process has just created: they hold nothing, and no program has ever read them.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self::build(&Observed::default(), capacity, Duration::ZERO, Origin::New)
    }

    /// Takes over the tables of a previous agent, so that planning what they hold already writes nothing.
    ///
    /// What contradicts itself is never relied on: the plan of its owner replaces it, or
    /// [`Ledger::retire_unclaimed`] removes it. What is not in use must rest first, even in tables that hold
    /// nothing any more, since the previous agent may have freed it just before; what was never used is free at once
    /// ([`Observed::touched`]).
    #[must_use]
    pub fn adopt(observed: &Observed, capacity: Capacity, now: Duration) -> Self {
        Self::build(observed, capacity, now, Origin::Unknown)
    }

    /// Takes over the tables after a write of `old`'s last plan failed: as [`Ledger::adopt`], but what rested
    /// by then goes on resting, and what never was in use need not rest. Plan every object
    /// again, then retire what is left.
    #[must_use]
    pub fn readopt(observed: &Observed, now: Duration, old: &Self) -> Self {
        Self::build(observed, old.capacity, now, Origin::Own(old))
    }

    fn build(observed: &Observed, capacity: Capacity, now: Duration, origin: Origin<'_>) -> Self {
        let mut regions = match origin {
            Origin::New => Regions::unused(capacity.lb_table),
            Origin::Unknown | Origin::Own(_) => Regions::unknown(capacity.lb_table, now),
        };
        let mut found = Found::read(observed, &capacity, &mut regions);
        let touched = observed.touched;
        if let (Origin::Unknown, Some(touched)) = (origin, touched) {
            regions.rest_touched(touched.slots, now);
        }
        if let Origin::Own(old) = origin {
            found.inherit_owners(&old.services);
            let given = old.services.by_id.values();
            regions.inherit_rest(&old.regions, given.filter_map(|service| service.block), now);
        }

        let backends = used_backends(observed, &found);
        let (pods, hints) = used_pods(observed, &backends);
        let service_ids: BTreeSet<u32> = found.services.keys().copied().collect();
        let old = |ids: fn(&Self) -> &Ids| match origin {
            Origin::Own(old) => Some(ids(old)),
            Origin::New | Origin::Unknown => None,
        };
        let start = |last, used: &BTreeSet<u32>, old: Option<&Ids>, touched| match (origin, old) {
            (Origin::New, _) => Ids::unused(last),
            (_, Some(old)) => old.readopt(used, now),
            (_, None) => Ids::adopt(last, used, now, touched),
        };
        Self {
            capacity,
            regions,
            services: Services {
                ids: start(
                    capacity.service_info.saturating_sub(1),
                    &service_ids,
                    old(|old| &old.services.ids),
                    touched.map(|touched| touched.services),
                ),
                members: observed.members.iter().collect::<BTreeSet<_>>().len(),
                by_id: found.services,
                names: HashMap::new(),
                frontends: found.frontends,
            },
            endpoints: Endpoints {
                ids: Interned::adopt(
                    start(
                        capacity.backends.saturating_sub(1),
                        &keys(&backends),
                        old(|old| old.endpoints.ids.ids()),
                        touched.map(|touched| touched.backends),
                    ),
                    backends,
                ),
                pods: Pods {
                    ids: Interned::adopt(
                        start(
                            ids::LAST_WORKLOAD,
                            &keys(&pods),
                            old(|old| old.endpoints.pods.ids.ids()),
                            None,
                        ),
                        pods,
                    ),
                    hints,
                },
            },
            workloads: adopt_workloads(observed),
            refused: Refused::default(),
        }
    }
}

fn keys<K>(used: &Used<K>) -> BTreeSet<u32> {
    used.keys().copied().collect()
}

/// How often the services refer to each backend.
fn used_backends(observed: &Observed, found: &Found) -> Used<Backend> {
    let records: BTreeMap<u32, Backend> = observed.backends.iter().copied().collect();
    let mut used = Used::new();
    for &id in found.services.values().flat_map(|service| &service.holds) {
        let record = || (records.get(&id).copied(), 0);
        used.entry(id).or_insert_with(record).1 += 1;
    }
    used
}

/// How often backends, addresses, network namespaces and cgroups refer to each workload id, and what that says of it.
fn used_pods(observed: &Observed, backends: &Used<Backend>) -> (Used<PodKey>, Hints) {
    let mut hints = Hints::default();
    let mut used = Used::new();
    let mut refer = |id| used.entry(id).or_insert((None, 0)).1 += 1;
    for record in backends.values().filter_map(|(record, _)| record.as_ref()) {
        if record.workload != 0 {
            refer(record.workload);
            let endpoint = hints.endpoints.entry((record.addr, record.port));
            endpoint.or_default().push(record.workload);
        }
    }
    for &(addr, value) in &observed.workloads {
        if value.id() != 0 && value.belongs_to(hash_addr(&addr)) {
            refer(value.id());
            hints.addresses.insert(addr, value.id());
        }
    }
    for &(cookie, pod) in &observed.pods {
        if pod.workload.id() != 0 && pod.workload.belongs_to(hash_cookie(cookie)) {
            refer(pod.workload.id());
            hints.netns.insert(cookie, pod.workload.id());
        }
    }
    for &(cgroup, pod) in &observed.pending {
        if pod.workload.id() != 0 && pod.workload.belongs_to(hash_cookie(cgroup)) {
            refer(pod.workload.id());
            hints.pending.insert(cgroup, pod.workload.id());
        }
    }
    (used, hints)
}

fn adopt_workloads(observed: &Observed) -> Workloads {
    let addresses = observed.workloads.iter().map(|&(addr, value)| {
        let sound = value.belongs_to(hash_addr(&addr));
        (addr, value, if sound { value.id() } else { 0 })
    });
    let with_id = |&(key, pod): &(u64, PodRef)| {
        let sound = pod.workload.belongs_to(hash_cookie(key));
        (key, pod, if sound { pod.workload.id() } else { 0 })
    };
    Workloads {
        pods: HashMap::new(),
        addresses: Claims::adopt(addresses),
        netns: Claims::adopt(observed.pods.iter().map(with_id)),
        pending: Claims::adopt(observed.pending.iter().map(with_id)),
    }
}
