//! A plan in the making.

use std::collections::BTreeSet;

use mesh_common::service::Frontend;

use super::plan::Plan;
use super::refusal::{Object, Part, Reason, Refusal};
use crate::model::op::Op;

/// Writes and refusals of one object, in any order.
pub(super) struct Draft {
    object: Object,
    pub(super) ops: Vec<Op>,
    pub(super) refusals: Vec<Refusal>,
    /// Frontends that may be unwanted now.
    pub(super) touched_frontends: BTreeSet<Frontend>,
    /// Service ids that may be out of reach now.
    pub(super) touched_services: BTreeSet<u32>,
    /// How many members are removed, which is the last that happens: until then they take up room.
    pub(super) removed_members: usize,
}

impl Draft {
    pub(super) const fn new(object: Object) -> Self {
        Self {
            object,
            ops: Vec::new(),
            refusals: Vec::new(),
            touched_frontends: BTreeSet::new(),
            touched_services: BTreeSet::new(),
            removed_members: 0,
        }
    }

    pub(super) fn refuse(&mut self, part: Part, reason: Reason, keeps: bool) {
        self.refusals.push(Refusal {
            object: self.object.clone(),
            part,
            reason,
            keeps,
        });
    }

    pub(super) fn finish(self) -> Plan {
        Plan::new(self.ops, self.refusals)
    }
}
