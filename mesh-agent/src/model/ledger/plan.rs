//! The outcome of planning: writes in the order that keeps every reader right.

use super::refusal::Refusal;
use crate::model::op::Op;

/// What to write for one object, and what of it is refused.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// The writes. Carry them out in this order; if one fails, stop and adopt the tables again.
    pub ops: Vec<Op>,
    /// What is left out.
    pub refusals: Vec<Refusal>,
}

impl Plan {
    /// Whether the kernel already holds all of it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.refusals.is_empty()
    }

    /// From writes in any order.
    pub(super) fn new(mut ops: Vec<Op>, refusals: Vec<Refusal>) -> Self {
        ops.sort_by_key(rank);
        Self { ops, refusals }
    }
}

/// Whatever is pointed at is written before what points at it, and removed after it. A pod that is to be known in another
/// way is known in both for a moment, rather than in none.
const fn rank(op: &Op) -> u8 {
    match op {
        Op::SetPending { .. } => 0,
        Op::RemovePod(_) => 1,
        Op::SetWorkload { .. } => 2,
        Op::SetPod { .. } => 3,
        Op::RemovePending(_) => 4,
        Op::RemoveWorkload(_) => 5,
        Op::SetBackend { .. } => 6,
        Op::AddMember(_) => 7,
        Op::SetSlots { .. } => 8,
        Op::SetServiceInfo { .. } => 9,
        Op::SetFrontend { .. } => 10,
        Op::RemoveFrontend(_) => 11,
        Op::RemoveMember(_) => 12,
    }
}
