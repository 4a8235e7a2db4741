//! What is said of a flow, as the admin interface and `meshctl policy explain -o json` have it.

use serde::{Deserialize, Serialize};

/// What is said of a flow; of one to a Service, for each of its endpoints.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Explained {
    /// Who opens it, as it was asked.
    pub from: String,
    /// Who is asked, as it was asked.
    pub to: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Whether the kernel says something else than the policies.
    pub drift: bool,
    /// The flows.
    pub flows: Vec<FlowAnswer>,
}

/// A flow from one end to the other.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlowAnswer {
    /// Who opens it.
    pub source: EndAnswer,
    /// Who is asked.
    pub destination: EndAnswer,
    /// Destination port.
    pub port: u16,
    /// What becomes of it.
    pub verdict: Outcome,
    /// What the source's policies say.
    pub egress: SideAnswer,
    /// What the destination's policies say.
    pub ingress: SideAnswer,
}

/// One end.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndAnswer {
    /// The pod, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its address in this flow.
    pub address: String,
    /// What it is recognised by.
    pub recognised_by: Sight,
    /// Whether more than one pod says that the address is its own, so that only rules for everybody apply.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unsettled: bool,
}

/// What an end is recognised by.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Sight {
    /// Its address.
    #[default]
    Address,
    /// Its network namespace, whose cookie the kernel vouches for.
    Cookie,
    /// It is a socket of this node itself.
    Host,
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It passes.
    #[default]
    Allowed,
    /// Policies refuse it, but those of a pod that is not in the mesh, so nobody of ours sees to it.
    Unenforced,
    /// It passes, and is reported: the namespace whose policies refuse it is in audit mode.
    Audited,
    /// It is refused.
    Denied,
}

/// What one end says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SideAnswer {
    /// In a word.
    pub says: Says,
    /// Why policies don't matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exempt: Option<Exempt>,
    /// The policies that isolate the pod in this direction.
    pub policies: Vec<PolicyAnswer>,
    /// Who sees to it.
    pub judge: Judge,
    /// Why nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unenforced: Option<String>,
    /// Whether what is refused passes and is reported.
    pub audited: bool,
    /// What holds as long as the kernel knows nothing of the pod.
    pub fail_mode: Fail,
    /// What the tables of this node's kernel say now, where it is this node that judges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelAnswer>,
}

/// What one end says, in a word.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Says {
    /// Nothing: it is no pod.
    #[default]
    NoPod,
    /// Nothing: policies don't matter.
    Exempt,
    /// It passes: no policy selects the pod in this direction.
    Open,
    /// It passes: a rule says so.
    Allowed,
    /// It does not: policies select the pod, and no rule of theirs matches.
    Isolated,
}

/// Why policies don't matter.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Exempt {
    /// This node's own sockets reach its pods.
    Host,
    /// A pod reaches itself.
    Itself,
}

/// Who sees to what one end says.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Judge {
    /// Nobody of ours.
    #[default]
    Nobody,
    /// This node's kernel.
    Here,
    /// The kernel of the pod's node.
    Elsewhere,
}

/// What holds as long as the kernel knows nothing of a pod.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fail {
    /// Everything passes.
    #[default]
    Open,
    /// Nothing does.
    Closed,
}

/// A policy that isolates a pod, and its rules.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyAnswer {
    /// Its name, as `namespace/name`.
    pub policy: String,
    /// Its rules in the direction.
    pub rules: Vec<RuleAnswer>,
    /// What of it could not be read, and so lets nothing pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// A rule, held against the flow.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleAnswer {
    /// Its name.
    pub rule: String,
    /// Whether it lets the flow pass.
    pub passes: bool,
    /// Whether it is about the other end.
    pub peer: bool,
    /// Whether it is about the protocol and port.
    pub port: bool,
}

/// What the kernel's tables say.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KernelAnswer {
    /// In a word.
    pub says: Looked,
    /// Number of the pod's rule set; 0 is none.
    pub set: u32,
    /// The policies it was made of, as `namespace/name`.
    pub set_policies: Vec<String>,
    /// Class of the other end; 0 is anybody.
    pub class: u32,
    /// Number of the rule that lets the flow pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Its name, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_name: Option<String>,
    /// Whether what the set refuses passes and is reported.
    pub audited: bool,
    /// Whether the pod's rules found no room, so that nothing passes.
    pub no_room: bool,
    /// Whether that is what the policies say.
    pub agrees: bool,
}

/// What the kernel's tables say, in a word.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Looked {
    /// Nothing is known of the pod: the fail mode decides.
    #[default]
    Unknown,
    /// It has no rules.
    Open,
    /// A rule lets the flow pass.
    Allowed,
    /// None does.
    Denied,
}

impl FlowAnswer {
    /// Whether the kernel says something else than the policies.
    #[must_use]
    pub fn drifts(&self) -> bool {
        let sides = [&self.egress, &self.ingress].into_iter();
        sides.flat_map(|side| &side.kernel).any(|kernel| !kernel.agrees)
    }
}

impl SideAnswer {
    /// What becomes of a flow as far as this end goes.
    pub(super) const fn outcome(&self) -> Outcome {
        match (self.says, self.judge, self.audited) {
            (Says::Isolated, Judge::Nobody, _) => Outcome::Unenforced,
            (Says::Isolated, _, true) => Outcome::Audited,
            (Says::Isolated, _, false) => Outcome::Denied,
            _ => Outcome::Allowed,
        }
    }
}
