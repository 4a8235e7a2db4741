//! Follows the pods' interfaces with the packet programs.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    datapath::packets::Packets,
    model::desired::PodKey,
    pods::{
        assign::Assignment,
        links::{self, Link},
    },
};

/// The packet programs, and where they are.
pub struct Wire {
    packets: Packets,
    seen: BTreeMap<PodKey, Vec<Link>>,
    ends: BTreeMap<u32, PodKey>,
    failed: bool,
}

impl Wire {
    /// Nothing is followed yet.
    #[must_use]
    pub fn new(packets: Packets) -> Self {
        Self {
            packets,
            seen: BTreeMap::new(),
            ends: BTreeMap::new(),
            failed: true,
        }
    }

    /// Attaches where the pods' interfaces are now; does nothing where they are where they were.
    pub fn follow(&mut self, assignment: &Assignment) {
        if !self.failed && self.seen == assignment.links {
            return;
        }
        let host = match links::list() {
            Ok(host) => host,
            Err(error) => return tracing::warn!(%error, "the host's interfaces can't be listed"),
        };
        self.ends = host_ends(&assignment.links, &host);
        self.seen.clone_from(&assignment.links);
        let errors = self.packets.sync(&self.ends.keys().copied().collect());
        self.failed = !errors.is_empty();
        for error in errors {
            tracing::warn!(%error, "packets of a pod are not counted");
        }
    }

    /// Pods by the index of the host end of their interface.
    #[must_use]
    pub fn ends(&self) -> &BTreeMap<u32, PodKey> {
        &self.ends
    }

    /// Pods that have no end on the host: their packets are not counted.
    pub fn partial(&self) -> impl Iterator<Item = &PodKey> {
        let ends: BTreeSet<&PodKey> = self.ends.values().collect();
        self.seen.keys().filter(move |pod| !ends.contains(pod))
    }
}

/// The host end of each pod's interface; an end that two pods seem to have is nobody's.
fn host_ends(pods: &BTreeMap<PodKey, Vec<Link>>, host: &[Link]) -> BTreeMap<u32, PodKey> {
    let mut ends: BTreeMap<u32, Vec<&PodKey>> = BTreeMap::new();
    for (pod, links) in pods {
        if let Some(end) = links::host_end(links, host) {
            ends.entry(end).or_default().push(pod);
        }
    }
    let only = |(end, pods): (u32, Vec<&PodKey>)| match pods[..] {
        [pod] => Some((end, pod.clone())),
        _ => None,
    };
    ends.into_iter().filter_map(only).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::desired::ObjectName;

    #[test]
    fn an_end_has_one_pod() {
        let pod = |name: &str| PodKey {
            object: ObjectName::new("shop", name),
            uid: name.into(),
        };
        let link = |index, peer| Link {
            index,
            peer: Some(peer),
            is_pair: true,
        };
        let pods = [
            (pod("a"), vec![link(2, 7)]),
            (pod("b"), vec![link(2, 8)]),
            (pod("c"), vec![link(2, 8)]),
            (pod("d"), vec![link(2, 99)]),
        ];
        let ends = host_ends(&pods.into(), &[link(7, 2), link(8, 2)]);
        assert_eq!(ends, [(7, pod("a"))].into());
    }
}
