//! The services the kernel knows, by their ids.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mesh_common::service::{Algorithm, Frontend, Member, Region, ServiceInfo, Slot};

use super::buddy::Block;
use super::frontends::Frontends;
use super::ids::Ids;
use crate::model::desired::{ObjectName, PortKey};

/// Service ids and all that hangs on them.
#[derive(Clone, Debug)]
pub(super) struct Services {
    pub(super) ids: Ids,
    pub(super) by_id: BTreeMap<u32, Service>,
    pub(super) names: HashMap<ObjectName, BTreeMap<PortKey, u32>>,
    pub(super) frontends: Frontends,
    /// Number of entries in `MEMBERS`.
    pub(super) members: usize,
}

/// What the kernel holds under a service id.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    /// Nobody where a previous agent left it, or where its owner is gone and frontends still lead to it
    /// until their next owner takes them.
    pub(super) owner: Option<Owner>,
    /// Who may become its owner while it has none.
    pub(super) heir: Heir,
    pub(super) info: ServiceInfo,
    /// The slots it has to itself.
    pub(super) block: Option<Block>,
    /// Backend of each slot, as far as known.
    pub(super) slots: Vec<u32>,
    /// Whether the slots are all there, all its own and all name a backend.
    pub(super) sound: bool,
    /// Its endpoints' backends in the order of the endpoints, once planned.
    pub(super) backends: Option<Vec<u32>>,
    /// The backends it refers to, each once.
    pub(super) holds: Vec<u32>,
    /// Its entries in `MEMBERS`.
    pub(super) members: BTreeSet<u32>,
    /// The frontends that lead to it.
    pub(super) frontends: BTreeSet<Frontend>,
}

/// A Service's port, as the owner of a service id.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) name: ObjectName,
    pub(super) port: PortKey,
    pub(super) port_name: String,
}

/// Who may take over a service id with all that leads to it. Whoever else did would draw clients of its
/// former owner, preempted on the way, to endpoints of its own.
#[derive(Clone, Debug, Default)]
pub(super) enum Heir {
    /// Nobody: its former owner is gone.
    #[default]
    Nobody,
    /// Its former owner, of before a write failed.
    Former(ObjectName, PortKey),
    /// A previous agent's, whose owner only its frontends tell. Until it has rested no slots can be had, so
    /// that nobody who takes it for his own can change where it leads.
    Unknown,
}

impl Service {
    /// Whether a port with these frontends may take it over. If its owner is not known, all that leads to it
    /// must be the port's: else it may have been another's, who has not come yet.
    pub(super) fn is_heir(&self, name: &ObjectName, port: PortKey, frontends: &BTreeSet<Frontend>) -> bool {
        let allowed = match &self.heir {
            Heir::Nobody => false,
            Heir::Former(former, key) => former == name && *key == port,
            Heir::Unknown => self.frontends.is_subset(frontends),
        };
        self.owner.is_none() && allowed
    }

    /// Whether these backends are certainly the ones its slots were made from.
    pub(super) fn was_made_from(&self, backends: &[u32], algorithm: Algorithm) -> bool {
        self.sound && self.info.region.algorithm() == algorithm && self.backends.as_deref() == Some(backends)
    }

    /// Whether its slots are as good as these.
    pub(super) fn serves(&self, slots: &[u32], algorithm: Algorithm) -> bool {
        self.sound && self.info.region.algorithm() == algorithm && self.has_slots(slots, algorithm)
    }

    /// The slots as the kernel holds them.
    pub(super) fn tagged_slots(id: u32, slots: &[u32]) -> Vec<Slot> {
        let tagged = slots.iter().map(|&backend| Slot { backend, service: id });
        tagged.collect()
    }

    /// Its members as the kernel holds them.
    pub(super) fn tagged_members(&self, id: u32) -> impl Iterator<Item = Member> {
        let members = self.members.iter();
        members.map(move |&backend| Member { service: id, backend })
    }

    fn has_slots(&self, slots: &[u32], algorithm: Algorithm) -> bool {
        match algorithm {
            // A backend drawn at random does not mind the order.
            Algorithm::Random => sorted(&self.slots) == sorted(slots),
            Algorithm::Maglev => self.slots == slots,
        }
    }
}

/// The region of a service with that many slots in a block.
pub(super) fn region(block: Option<Block>, len: usize, algorithm: Algorithm) -> Region {
    let len = u32::try_from(len).unwrap_or(Region::MAX_LEN);
    block.map_or(Region::new(0, 0, algorithm), |block| {
        Region::new(block.offset, len, algorithm)
    })
}

fn sorted(slots: &[u32]) -> Vec<u32> {
    let mut slots = slots.to_vec();
    slots.sort_unstable();
    slots
}
