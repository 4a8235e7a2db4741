//! What is refused for now, remembered until it is planned again.

use std::collections::BTreeMap;

use super::refusal::Refusal;
use crate::model::desired::{ObjectName, PodKey};

/// The refusals of the last plan of every object that had any.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    pub(super) services: BTreeMap<ObjectName, Vec<Refusal>>,
    pub(super) pods: BTreeMap<PodKey, Vec<Refusal>>,
}

/// Replaces what is remembered of an object.
pub(super) fn remember<K: Clone + Ord>(map: &mut BTreeMap<K, Vec<Refusal>>, key: &K, refusals: &[Refusal]) {
    if refusals.is_empty() {
        map.remove(key);
    } else {
        map.insert(key.clone(), refusals.to_vec());
    }
}
