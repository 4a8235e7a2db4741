//! Where the kernel's tables differ from what they should hold.

use std::cmp::Ordering;
use std::fmt;

use mesh_common::abi::map;
use mesh_common::addr::socket_addr;
use mesh_common::service::{Backend, ServiceInfo, Slot};
use mesh_common::tag::Tagged;
use mesh_common::workload::PodRef;

use super::refusal::frontend_text;
use crate::model::op::Observed;

/// One entry that differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Drift {
    /// Name of the map.
    pub table: &'static str,
    /// The key.
    pub key: String,
    /// What should be there; `None` for nothing.
    pub expected: Option<String>,
    /// What is there; `None` for nothing.
    pub found: Option<String>,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let (expected, found) = (text(&self.expected), text(&self.found));
        write!(
            f,
            "{}[{}]: expected {expected}, found {found}",
            self.table, self.key
        )
    }
}

/// Every entry that differs, in the order of the tables and their keys.
#[must_use]
pub fn diff(expected: &Observed, observed: &Observed) -> Vec<Drift> {
    let members = |side: &Observed| side.members.iter().map(|&member| (member, ())).collect();
    [
        compare(
            map::SERVICES,
            [expected, observed].map(|side| side.frontends.clone()),
            frontend_text,
            tagged_text,
        ),
        compare(
            map::SERVICE_INFO,
            [expected, observed].map(|side| side.services.clone()),
            u32::to_string,
            info_text,
        ),
        compare(
            map::LB_TABLE,
            [expected, observed].map(slots),
            u32::to_string,
            slot_text,
        ),
        compare(
            map::BACKENDS,
            [expected, observed].map(|side| side.backends.clone()),
            u32::to_string,
            backend_text,
        ),
        compare(
            map::MEMBERS,
            [expected, observed].map(members),
            |member| format!("service {}, backend {}", member.service, member.backend),
            |()| "a member".to_owned(),
        ),
        compare(
            map::WORKLOADS,
            [expected, observed].map(|side| side.workloads.clone()),
            ToString::to_string,
            tagged_text,
        ),
        compare(
            map::PODS,
            [expected, observed].map(|side| side.pods.clone()),
            u64::to_string,
            pod_text,
        ),
        compare(
            map::PENDING_PODS,
            [expected, observed].map(|side| side.pending.clone()),
            u64::to_string,
            pod_text,
        ),
    ]
    .concat()
}

/// Walks both sides in the order of their keys.
pub(in crate::model) fn compare<K: Copy + Ord, V: Copy + PartialEq>(
    table: &'static str,
    sides: [Vec<(K, V)>; 2],
    key_text: impl Fn(&K) -> String,
    value_text: impl Fn(V) -> String,
) -> Vec<Drift> {
    let [mut expected, mut found] = sides.map(|mut side| {
        side.sort_by_key(|&(key, _)| key);
        side.dedup_by_key(|&mut (key, _)| key);
        side.into_iter().peekable()
    });
    let mut drifts = Vec::new();
    loop {
        let next = match (expected.peek(), found.peek()) {
            (None, None) => return drifts,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
        };
        let expected = if next.is_le() { expected.next() } else { None };
        let found = if next.is_ge() { found.next() } else { None };
        if let Some((key, _)) = expected.or(found)
            && expected.map(|(_, value)| value) != found.map(|(_, value)| value)
        {
            drifts.push(Drift {
                table,
                key: key_text(&key),
                expected: expected.map(|(_, value)| value_text(value)),
                found: found.map(|(_, value)| value_text(value)),
            });
        }
    }
}

/// Slot by slot, so that a region is compared wherever it begins.
fn slots(side: &Observed) -> Vec<(u32, Slot)> {
    let regions = side.regions.iter();
    let slots = regions.flat_map(|(offset, slots)| (*offset..).zip(slots.iter().copied()));
    slots.collect()
}

pub(in crate::model) fn tagged_text(value: Tagged) -> String {
    let (id, flags, check) = (value.id(), value.flags(), value.0 >> 40);
    format!("id {id}, flags {flags:#x}, check {check:06x}")
}

fn info_text(info: ServiceInfo) -> String {
    let (offset, len, algorithm) = (info.region.offset(), info.region.len(), info.region.algorithm());
    let affinity = info.affinity_seconds;
    format!("{len} slots from {offset}, {algorithm:?}, affinity {affinity} s")
}

fn slot_text(slot: Slot) -> String {
    format!("backend {} of service {}", slot.backend, slot.service)
}

fn backend_text(backend: Backend) -> String {
    let workload = backend.workload;
    format!("{}, workload {workload}", socket_addr(backend.addr, backend.port))
}

fn pod_text(pod: PodRef) -> String {
    format!("{}, seed {:08x}", tagged_text(pod.workload), pod.seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_common::service::{Algorithm, Region};

    fn observed() -> Observed {
        let slot = |backend| Slot { backend, service: 1 };
        let info = ServiceInfo {
            region: Region::new(4, 2, Algorithm::Random),
            ..ServiceInfo::default()
        };
        Observed {
            services: vec![(1, info)],
            regions: vec![(4, vec![slot(1), slot(2)])],
            backends: vec![(2, Backend::default()), (1, Backend::default())],
            ..Observed::default()
        }
    }

    #[test]
    fn order_is_no_drift() {
        let mut other = observed();
        other.backends.reverse();
        assert_eq!(diff(&observed(), &other), []);
    }

    #[test]
    fn every_difference_names_table_and_key() {
        let mut other = observed();
        other.regions[0].1[1].service = 9;
        other.backends.remove(1);
        other.pods.push((77, PodRef::default()));
        let texts: Vec<String> = diff(&observed(), &other)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            texts,
            [
                "LB_TABLE[5]: expected backend 2 of service 1, found backend 2 of service 9",
                "BACKENDS[1]: expected [::]:0, workload 0, found nothing",
                "PODS[77]: expected nothing, found id 0, flags 0x0, check 000000, seed 00000000",
            ]
        );
    }
}
