//! Which endpoints traffic from this node goes to now, out of all that a Service has.

use mesh_common::addr::Addr;

use crate::model::desired::PodKey;
use crate::model::object::endpoint_slice::Conditions;

#[cfg(test)]
mod tests;

/// An endpoint that could serve a port of a Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Candidate<'a> {
    pub(super) addr: Addr,
    pub(super) port: u16,
    pub(super) pod: Option<&'a PodKey>,
    pub(super) conditions: Conditions,
    /// Whether it is on this node.
    pub(super) local: bool,
    /// The zones it should serve; empty for no hint.
    pub(super) zones: &'a [String],
    /// The nodes it should serve; empty for no hint.
    pub(super) nodes: &'a [String],
}

/// What the choice depends on besides the endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewpoint<'a> {
    /// This node.
    pub(super) node: &'a str,
    /// Its zone.
    pub(super) zone: Option<&'a str>,
    /// Whether the Service wants to stay on the node.
    pub(super) local_only: bool,
}

/// Why an endpoint is not used now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unused {
    /// The Service wants to stay on the node.
    #[error("on another node")]
    Elsewhere,
    /// It is not ready, and does not serve while it ends.
    #[error("not ready")]
    NotReady,
    /// It serves while it ends, and others are ready.
    #[error("terminating")]
    Terminating,
    /// Its hints are for other nodes or zones.
    #[error("hints for others")]
    Hints,
}

/// Why an endpoint is not among those that were chosen.
pub(super) fn why_not(candidate: &Candidate<'_>, view: Viewpoint<'_>) -> Unused {
    match candidate.conditions {
        _ if view.local_only && !candidate.local => Unused::Elsewhere,
        Conditions { ready: true, .. } => Unused::Hints,
        Conditions {
            serving: true,
            terminating: true,
            ..
        } => Unused::Terminating,
        _ => Unused::NotReady,
    }
}

/// The endpoints to use, as kube-proxy has it (`CategorizeEndpoints`, 1.33): the ready ones; while there are
/// none, those that still serve although they are about to end. Of ready ones those meant for this node or zone.
pub(super) fn choose<'a>(mut candidates: Vec<Candidate<'a>>, view: Viewpoint<'_>) -> Vec<Candidate<'a>> {
    if view.local_only {
        candidates.retain(|it| it.local);
    }
    if !candidates.iter().any(|it| it.conditions.ready) {
        candidates.retain(|it| it.conditions.serving && it.conditions.terminating);
        return candidates;
    }
    candidates.retain(|it| it.conditions.ready);
    if !view.local_only {
        keep_hinted(&mut candidates, view);
    }
    candidates
}

/// Follows topology hints: for the node, else for the zone. Hints hold only when all endpoints have one,
/// else some would get more traffic than planned, and when they leave any.
fn keep_hinted(candidates: &mut Vec<Candidate<'_>>, view: Viewpoint<'_>) {
    let for_node = |it: &Candidate<'_>| it.nodes.iter().any(|node| node == view.node);
    let for_zone = |it: &Candidate<'_>| it.zones.iter().any(|zone| Some(zone.as_str()) == view.zone);

    if candidates.iter().all(|it| !it.nodes.is_empty()) && candidates.iter().any(for_node) {
        candidates.retain(for_node);
    } else if candidates.iter().all(|it| !it.zones.is_empty()) && candidates.iter().any(for_zone) {
        candidates.retain(for_zone);
    }
}
