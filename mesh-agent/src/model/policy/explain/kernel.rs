//! What the kernel's tables say of a flow, read back and looked up as its programs do.

use std::collections::HashMap;

use mesh_common::addr::{Addr, Port};
use mesh_common::decide::policy::{self as decide, Question as Probe, Verdict};
use mesh_common::policy::{ANYBODY, Direction, OPEN, PolicyKey};
use mesh_common::rules::{CidrKey, PodRules, flag};
use mesh_common::tag::{Tagged, hash_addr};

use super::super::{Observed, Question, RuleRef, Side};

/// The tables of policies, as read back.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    rules: HashMap<PolicyKey, Tagged>,
    classes: HashMap<Addr, Tagged>,
    cidrs: HashMap<CidrKey, u32>,
    pods: HashMap<u32, PodRules>,
}

/// What they say of a flow at one end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Said {
    /// Number of the pod's rule set.
    pub set: u32,
    /// Class of the other end.
    pub class: u32,
    /// Whether what the set refuses passes and is reported.
    pub audited: bool,
    /// What the set says.
    pub verdict: Verdict,
}

impl From<Observed> for Kernel {
    fn from(observed: Observed) -> Self {
        Self {
            rules: observed.rules.into_iter().collect(),
            classes: observed.classes.into_iter().collect(),
            cidrs: observed.cidrs.into_iter().collect(),
            pods: observed.pods.into_iter().collect(),
        }
    }
}

impl Kernel {
    /// What is said of a flow at the pod with that workload id; `None` where nothing is known of the pod, so that the
    /// fail mode of its namespace decides.
    #[must_use]
    pub fn ask(
        &self,
        workload: u32,
        direction: Direction,
        other: &Addr,
        question: &Question,
    ) -> Option<Said> {
        let sets = self.sets(workload)?;
        let (set, class) = (sets[direction as usize], self.class(other));
        let probe = Probe {
            set,
            peer: class,
            protocol: question.protocol,
            port: Port::new(question.port),
        };
        let lookup = |key: &PolicyKey| {
            let value = self.rules.get(key).copied();
            value.filter(|value| value.belongs_to(key.hash()))
        };
        Some(Said {
            set,
            class,
            audited: self.pods[&workload].sets.flags() & flag::AUDIT != 0,
            verdict: decide::judge(probe, lookup),
        })
    }

    /// Numbers of a pod's sets, in the order of [`Direction::ALL`]; `None` where nothing is known of it.
    #[must_use]
    pub fn sets(&self, workload: u32) -> Option<[u32; 2]> {
        let sets = self.pods.get(&workload)?.sets;
        sets.belongs_to(workload)
            .then(|| Direction::ALL.map(|direction| sets.of(direction)))
    }

    /// How many entries a set has.
    #[must_use]
    pub fn entries(&self, set: u32) -> usize {
        let of_set = |key: &&PolicyKey| set != OPEN && key.set == set;
        self.rules.keys().filter(of_set).count()
    }

    /// The class of an address: what pods have, else the longest prefix.
    fn class(&self, addr: &Addr) -> u32 {
        let pod = self.classes.get(addr).filter(|it| it.belongs_to(hash_addr(addr)));
        let by_prefix = || {
            let holding = self.cidrs.iter().filter(|(prefix, _)| holds(prefix, addr));
            holding
                .max_by_key(|(prefix, _)| prefix.length)
                .map(|(_, &class)| class)
        };
        pod.map(|it| it.id()).or_else(by_prefix).unwrap_or(ANYBODY)
    }
}

/// Whether a prefix holds an address.
fn holds(prefix: &CidrKey, addr: &Addr) -> bool {
    let bits = |addr: Addr| match std::net::IpAddr::from(addr) {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        std::net::IpAddr::V6(v6) => v6.to_bits(),
    };
    let free = 128_u32.saturating_sub(prefix.length);
    (bits(prefix.addr) ^ bits(*addr)).checked_shr(free).unwrap_or(0) == 0
}

/// Whether the kernel says of a flow what the policies say: the same passes, and by a rule that does let it pass. `named`
/// is the rule behind the number, where that is known; `audited` whether the namespace is in audit mode.
#[must_use]
pub fn agrees<'a>(
    side: &Side,
    mut allowing: impl Iterator<Item = &'a RuleRef>,
    audited: bool,
    said: &Said,
    named: Option<&RuleRef>,
) -> bool {
    match (side, said.verdict) {
        // Where nothing was looked up there is nothing to compare.
        (Side::Open, Verdict::Open) | (Side::NoPod | Side::Exempt(_), _) => true,
        (Side::Isolated, Verdict::Denied) => said.audited == audited,
        (Side::Allowed(_), Verdict::Allowed { .. }) => {
            said.audited == audited && named.is_none_or(|named| allowing.any(|rule| rule == named))
        }
        _ => false,
    }
}
