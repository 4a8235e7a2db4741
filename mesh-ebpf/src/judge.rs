//! May a flow pass, as far as the policies of one pod go?

use core::ptr::{addr_of, read_volatile};

use mesh_common::{
    addr::{Addr, Port},
    decide::policy::{self, Question, Verdict},
    policy::{ANYBODY, Direction, OPEN, PolicyKey},
    rules::{CidrKey, Classes, PodRules, Sets, flag},
    tag::{Tagged, hash_addr},
};

use crate::{
    lookup::{Lookup, checked},
    maps::{CIDRS, CLASSES, POD_RULES, POLICY},
};

/// What a pod's policies say.
#[derive(Clone, Copy)]
pub enum Judgement {
    /// No policy selects the pod in this direction.
    Open,
    /// A rule lets it pass.
    Allowed,
    /// No rule lets it pass.
    Denied {
        /// Number of the rule set.
        set: u32,
        /// Whether that is only reported.
        audited: bool,
    },
}

/// The other end of a flow, and what it wants.
#[derive(Clone, Copy)]
pub struct Flow {
    /// Class of the other end.
    pub peer: u32,
    /// IANA number of the protocol.
    pub protocol: u8,
    /// Destination port; 0 where the protocol has none.
    pub port: Port,
}

/// What the policies of a pod say to a flow.
#[inline(always)]
pub fn judge(sets: Sets, direction: Direction, flow: Flow) -> Judgement {
    let set = sets.of(direction);
    if set == OPEN {
        return Judgement::Open;
    }
    if mesh_rules_allow(
        set,
        flow.peer,
        u32::from(flow.protocol),
        u32::from(flow.port.get()),
    ) != 0
    {
        return Judgement::Allowed;
    }
    Judgement::Denied {
        set,
        audited: sets.flags() & flag::AUDIT != 0,
    }
}

/// Whether a set has a rule for a flow: 1 or 0. A global function: the verifier goes through it once, and not from every
/// call, of which the packet programs have many.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mesh_rules_allow(set: u32, peer: u32, protocol: u32, port: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "both were widened by the caller")]
    let question = Question {
        set,
        peer,
        protocol: protocol as u8,
        port: Port::new(port as u16),
    };
    u32::from(matches!(policy::judge(question, rule), Verdict::Allowed { .. }))
}

/// The rule sets of a pod of this node; `None` where nothing is known of it yet.
#[inline(always)]
pub fn sets(workload: u32) -> Option<Sets> {
    checked(|| {
        let Some(rules) = POD_RULES.get_ptr(workload) else {
            return Lookup::Absent;
        };
        let rules: *const PodRules = rules;
        // SAFETY: `rules` points into the map's value for as long as the program runs; one word, read at once.
        let sets: Sets = unsafe { read_volatile(addr_of!((*rules).sets)) };
        if sets.belongs_to(workload) {
            Lookup::Found(sets)
        } else {
            Lookup::Recycled
        }
    })
}

/// A pod of this node as others see it: its class, and its address, of the family of an address of theirs.
#[inline(always)]
pub fn seen_from(workload: u32, other: &Addr) -> Option<(u32, Addr)> {
    let rules: *const PodRules = POD_RULES.get_ptr(workload)?;
    // Both are read: without `CAP_PERFMON` nothing but constants may be added to the value's address.
    // SAFETY: `rules` points into the map's value for as long as the program runs. The word with the check is read last.
    let (v4, v6, classes) = unsafe {
        let v4 = read_volatile(addr_of!((*rules).addrs[0]));
        let v6 = read_volatile(addr_of!((*rules).addrs[1]));
        let classes: Classes = read_volatile(addr_of!((*rules).classes));
        (v4, v6, classes)
    };
    let addr = if other.is_v4() { v4 } else { v6 };
    classes
        .belongs_to(workload)
        .then(|| (classes.towards(other), addr))
}

/// The class of an address. A function of its own, since hooks would run out of stack.
#[inline(never)]
pub fn class_of(addr: &Addr) -> u32 {
    let pod = checked(|| {
        let Some(value) = CLASSES.get_ptr(addr) else {
            return Lookup::Absent;
        };
        // SAFETY: `value` points into the map's value for as long as the program runs; one word, read at once.
        let value: Tagged = unsafe { read_volatile(value) };
        if value.belongs_to(hash_addr(addr)) {
            Lookup::Found(value.id())
        } else {
            Lookup::Recycled
        }
    });
    pod.unwrap_or_else(|| by_prefix(addr))
}

#[inline(always)]
fn by_prefix(addr: &Addr) -> u32 {
    let key = CidrKey::host(*addr);
    // The kernel frees the elements of this kind of table after a grace period.
    CIDRS
        .get(&aya_ebpf::btf_maps::lpm_trie::Key::new(key.length, key.addr))
        .copied()
        .unwrap_or(ANYBODY)
}

/// An entry that was recycled counts as gone: sets are removed long after the last pod left them, and nothing passes
/// that no rule names.
#[inline(always)]
fn rule(key: &PolicyKey) -> Option<Tagged> {
    // SAFETY: the pointer leads into the map's value for as long as the program runs; one word, read at once.
    let value: Tagged = unsafe { read_volatile(POLICY.get_ptr(key)?) };
    value.belongs_to(key.hash()).then_some(value)
}
