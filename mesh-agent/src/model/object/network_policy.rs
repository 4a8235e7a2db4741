//! Network policies: which pods are isolated, and what still passes.
//!
//! Rules only ever allow. So what can't be read is left out, with a fault that says where, and the pods stay isolated:
//! a rule with an unreadable part allows nothing, a selector that can't be read selects all pods of the namespace, and
//! an unknown policy type isolates both ways. An API server takes no such object; a manifest's author is told.

use k8s_openapi::api::networking::v1 as api;
use mesh_common::policy::Direction;

use super::invalid::{At, Misfit};
use super::{Invalid, ObjectRef, field};
use crate::model::desired::ObjectName;

mod cidr;
mod rule;
mod selector;
#[cfg(test)]
mod tests;
mod text;

pub use cidr::{Cidr, IpBlock};
pub use rule::{Peer, PortRange, PortRule, Rule};
pub use selector::{Requirement, Selector};

/// What the mesh uses of a `NetworkPolicy`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkPolicy {
    /// Its name.
    pub name: ObjectName,
    /// Which version of it this is (`metadata.generation`), where an API server says so.
    pub generation: Option<i64>,
    /// The pods of its namespace it isolates.
    pub pods: Selector,
    /// What may come to them nevertheless; `None` where it does not isolate them in this direction.
    pub ingress: Option<Vec<Rule>>,
    /// What they may send nevertheless; `None` where it does not isolate them in this direction.
    pub egress: Option<Vec<Rule>>,
    /// What could not be read and was left out.
    pub faults: Vec<Invalid>,
}

impl NetworkPolicy {
    /// Which object this is.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef::NetworkPolicy(self.name.clone())
    }

    /// What passes in a direction; `None` where it does not isolate pods in it.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

impl TryFrom<api::NetworkPolicy> for NetworkPolicy {
    type Error = Invalid;

    /// # Errors
    /// Only its name can make it useless as a whole.
    fn try_from(policy: api::NetworkPolicy) -> Result<Self, Invalid> {
        let metadata = policy.metadata;
        let name = field::object_name(&metadata);
        let object = ObjectRef::NetworkPolicy(name.clone());
        field::check_object_name(&name).map_err(|misfit| misfit.of(&object))?;

        let spec = policy.spec.unwrap_or_default();
        let mut faults = Vec::new();
        let pods = Selector::of(spec.pod_selector.unwrap_or_default(), || "spec.podSelector");
        let pods = keep(pods, &mut faults).unwrap_or_default();
        let egress = spec.egress.unwrap_or_default();
        let types = policy_types(&spec.policy_types.unwrap_or_default(), !egress.is_empty());
        let types = keep(types, &mut faults).unwrap_or([true, true]);

        let ingress = spec.ingress.unwrap_or_default().into_iter();
        let ingress = ingress.map(|rule| (rule.from, rule.ports));
        let egress = egress.into_iter().map(|rule| (rule.to, rule.ports));
        let ingress = types[0].then(|| rules(ingress, ["ingress", "from"], &mut faults));
        let egress = types[1].then(|| rules(egress, ["egress", "to"], &mut faults));
        Ok(Self {
            generation: metadata.generation,
            pods,
            ingress,
            egress,
            faults: faults.into_iter().map(|misfit| misfit.of(&object)).collect(),
            name,
        })
    }
}

/// Whether it isolates ingress and egress. Where nothing is said: ingress, and egress if there is a rule for it, as the
/// API server fills it in.
fn policy_types(types: &[String], egress_rules: bool) -> Result<[bool; 2], Misfit> {
    if types.is_empty() {
        return Ok([true, egress_rules]);
    }
    let mut isolated = [false; 2];
    let known = [("Ingress", Direction::Ingress), ("Egress", Direction::Egress)];
    for (index, name) in types.iter().enumerate() {
        let direction = field::one_of(name, &known, "Ingress, Egress");
        let direction = direction.at(|| format!("spec.policyTypes[{index}]"))?;
        isolated[direction as usize] = true;
    }
    Ok(isolated)
}

type ApiRule = (
    Option<Vec<api::NetworkPolicyPeer>>,
    Option<Vec<api::NetworkPolicyPort>>,
);

fn rules(
    rules: impl Iterator<Item = ApiRule>,
    [direction, peers_field]: [&str; 2],
    faults: &mut Vec<Misfit>,
) -> Vec<Rule> {
    let read = |(index, (peers, ports))| {
        let path = format!("spec.{direction}[{index}]");
        Rule::of(index, peers, ports, &path, peers_field)
    };
    rules
        .enumerate()
        .map(read)
        .filter_map(|rule| keep(rule, faults))
        .collect()
}

fn keep<T>(read: Result<T, Misfit>, faults: &mut Vec<Misfit>) -> Option<T> {
    read.map_err(|misfit| faults.push(misfit)).ok()
}
