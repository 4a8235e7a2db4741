//! Follows the pods' interfaces with the packet programs.

use std::collections::{BTreeMap, BTreeSet};

use super::readiness::Readiness;
use crate::{
    datapath::packets::{Owner, PacketError, Packets},
    model::desired::PodKey,
    pods::{
        assign::Assignment,
        links::{self, Link},
    },
};

/// What is pending as long as packets of a pod are not counted.
pub const READINESS: &str = "packets";

/// The packet programs, and where they are.
pub struct Wire {
    packets: Packets,
    readiness: Readiness,
    seen: BTreeMap<PodKey, Vec<Link>>,
    owners: BTreeMap<PodKey, Owner>,
    ends: BTreeMap<u32, PodKey>,
    failed: bool,
}

impl Wire {
    /// Nothing is followed yet.
    #[must_use]
    pub fn new(packets: Packets, readiness: Readiness) -> Self {
        tracing::info!(way = %packets.way(), "packets are counted at the pods' interfaces");
        Self {
            packets,
            readiness,
            seen: BTreeMap::new(),
            owners: BTreeMap::new(),
            ends: BTreeMap::new(),
            failed: true,
        }
    }

    /// Attaches where the pods' interfaces are now, and says whose they are; does nothing where all is as it was.
    pub fn follow(&mut self, assignment: &Assignment, owner: impl Fn(&PodKey) -> Option<Owner>) {
        let mut pods = assignment.links.keys();
        let same = pods.all(|pod| self.owners.get(pod).copied() == owner(pod));
        if !self.failed && self.seen == assignment.links && same {
            return;
        }
        let before = self.wanted();
        self.seen.clone_from(&assignment.links);
        let pods = assignment.links.keys();
        self.owners = pods.filter_map(|pod| Some((pod.clone(), owner(pod)?))).collect();
        if self.locate() && self.attach() {
            let fresh = self.wanted().difference(&before).copied().collect();
            self.judge(&fresh);
        }
    }

    /// Asks the kernel whether the programs run where they should, and mends what was taken away.
    pub fn keep(&mut self) {
        // Pods may have gone meanwhile: what is missing is missing where their interfaces are now.
        if !self.locate() || self.judge(&self.wanted()) && !self.failed {
            return;
        }
        if self.attach() && self.judge(&self.wanted()) {
            tracing::warn!("packet programs that were no longer attached are attached again");
        }
    }

    /// Pods by the index of the host end of their interface.
    #[must_use]
    pub fn ends(&self) -> &BTreeMap<u32, PodKey> {
        &self.ends
    }

    /// Pods of whose packets only some are counted, or none, each with the reason.
    #[must_use]
    pub fn partial(&self) -> Vec<String> {
        let ends: BTreeSet<&PodKey> = self.ends.values().collect();
        let endless = self.seen.keys().filter(|pod| !ends.contains(pod));
        let endless =
            endless.map(|pod| format!("{pod}: its interface has no end on the host: no packets are counted"));
        let one_way = self
            .ends
            .iter()
            .filter(|(end, _)| self.packets.one_way().contains(end));
        let one_way = one_way.map(|(end, pod)| {
            format!("{pod}: another tool's ingress qdisc is at interface {end}: only packets from the pod are counted")
        });
        endless.chain(one_way).collect()
    }

    fn wanted(&self) -> BTreeSet<u32> {
        self.ends.keys().copied().collect()
    }

    /// Finds the host ends; returns whether that could be done.
    fn locate(&mut self) -> bool {
        match self.packets.host().run(links::list) {
            Ok(host) => {
                self.ends = host_ends(&self.seen, &host);
                true
            }
            Err(error) => {
                self.failed = true;
                let why = format!("the host's interfaces can't be listed: {error}");
                self.readiness.block(READINESS, why);
                false
            }
        }
    }

    /// Attaches what is missing, as far as is known; returns whether all of it is attached.
    fn attach(&mut self) -> bool {
        let owned = |(end, pod): (&u32, &PodKey)| (*end, self.owners.get(pod).copied());
        let errors = self.packets.sync(&self.ends.iter().map(owned).collect());
        self.failed = !errors.is_empty();
        if self.failed {
            let lines: Vec<_> = errors.iter().map(PacketError::to_string).collect();
            self.readiness.block(READINESS, lines.join("; "));
        }
        !self.failed
    }

    /// Asks the kernel about these interfaces; returns whether the programs run there.
    fn judge(&mut self, interfaces: &BTreeSet<u32>) -> bool {
        let missing = self.packets.verify(interfaces);
        if missing.is_empty() {
            if !self.failed {
                self.readiness.clear(READINESS);
            }
            return true;
        }
        let line = |(end, why): (&u32, &String)| Some(format!("{}: {why}", self.ends.get(end)?));
        let lines: Vec<_> = missing.iter().filter_map(line).collect();
        self.readiness.block(READINESS, lines.join("; "));
        self.failed = true;
        false
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
