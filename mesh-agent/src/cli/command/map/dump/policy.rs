//! What the agent writes of policies, in words.

use mesh_common::{
    abi::map,
    addr::Addr,
    packet::InterfaceSlot,
    policy::{ALLOW, Direction, LENGTHS, OPEN, PolicyKey},
    rules::{self, CidrKey, NOTHING, PodRules, Source, SourceKey},
    tag::Tagged,
    workload::flag,
};

use super::{Entry, elements, entries, fields, shown, used};
use crate::{
    cli::{command::map::fields::Fields, held::Held, output::joined},
    datapath::{
        pins::Pins,
        tables::{TableError, prefixes},
    },
    telemetry::denial,
};

/// The entries of a map, or `None` for one of another kind.
pub fn read(pins: &Pins, held: &Held, name: &str) -> Option<Result<Vec<Entry>, TableError>> {
    Some(match name {
        map::POLICY => entries(pins, map::POLICY).map(|all| shown(all, |k, v| rule(held, k, v))),
        map::CLASSES => entries(pins, map::CLASSES).map(|all| shown(all, |k, v| class(held, k, v))),
        map::CIDRS => prefixes(pins, map::CIDRS).map(|all| {
            let all = all.into_iter();
            let all = all.map(|(length, addr, class)| (CidrKey { length, addr }, class));
            shown(all.collect(), cidr)
        }),
        map::POD_RULES => entries(pins, map::POD_RULES).map(|all| shown(all, |k, v| pod_rules(held, k, v))),
        map::SOURCES => prefixes(pins, map::SOURCES).map(|all| {
            let all = all.into_iter();
            let all = all.map(|(length, source, value)| (SourceKey { length, source }, value));
            shown(all.collect(), |k, _| source(held, k))
        }),
        map::INTERFACES => elements(pins, map::INTERFACES).map(|all| used(all, |k, v| interface(held, k, v))),
        _ => return None,
    })
}

/// A rule, or the listing of what lengths of ports a set has for a class.
pub fn rule(held: &Held, key: PolicyKey, value: Tagged) -> (Fields, Fields) {
    let shown = fields().number("set", key.set).number("class", key.peer);
    let (shown, facts) = if key == PolicyKey::listing(key.set, key.peer) {
        let listed = LENGTHS.into_iter().enumerate();
        let listed = listed.filter(|(bit, _)| value.flags() & 1 << bit != 0);
        let lengths: Vec<u8> = listed.map(|(_, length)| length).collect();
        (
            shown.flag("listing", true),
            fields().text("prefixLengths", joined(&lengths)),
        )
    } else {
        (
            shown
                .text("protocol", protocol(key.protocol))
                .text("ports", ports(&key)),
            fields()
                .number("rule", value.id())
                .flag("allow", value.flags() & ALLOW != 0),
        )
    };
    let facts = facts.maybe("direction", held.direction_of(key.set));
    (shown, facts.maybe("policies", held.policies_of(key.set)))
}

fn protocol(number: u8) -> String {
    match number {
        mesh_common::policy::OTHER_PROTOCOL => "others".to_owned(),
        number => denial::protocol(number.into()).into_owned(),
    }
}

/// The ports that have a prefix: one, a range, or all.
fn ports(key: &PolicyKey) -> String {
    let first = key.port.get();
    let others = u16::MAX.checked_shr(key.length.into()).unwrap_or(0);
    match (first, others) {
        (first, 0) => first.to_string(),
        (0, u16::MAX) => "all".to_owned(),
        (first, others) => format!("{first}-{}", first | others),
    }
}

pub fn class(held: &Held, addr: Addr, value: Tagged) -> (Fields, Fields) {
    let facts = fields().maybe("pod", held.pod_at(addr));
    (fields().text("address", addr), facts.number("class", value.id()))
}

pub fn cidr(prefix: CidrKey, class: u32) -> (Fields, Fields) {
    (fields().text("prefix", prefix), fields().number("class", class))
}

pub fn pod_rules(held: &Held, workload: u32, value: PodRules) -> (Fields, Fields) {
    let sets = value.sets;
    let (ingress, egress) = (sets.of(Direction::Ingress), sets.of(Direction::Egress));
    let facts = fields()
        .text("ingress", set(ingress))
        .maybe("ingressPolicies", held.policies_of(ingress))
        .text("egress", set(egress))
        .maybe("egressPolicies", held.policies_of(egress))
        .flag("audit", sets.flags() & rules::flag::AUDIT != 0);
    let has = value.addrs.into_iter().filter(|addr| *addr != Addr::default());
    let has: Vec<(Addr, u32)> = has.map(|addr| (addr, value.classes.towards(&addr))).collect();
    let addresses: Vec<Addr> = has.iter().map(|(addr, _)| *addr).collect();
    let classes: Vec<u32> = has.iter().map(|(_, class)| *class).collect();
    let facts = facts
        .text("addresses", joined(&addresses))
        .text("classes", joined(&classes));
    (owner(held, workload), facts)
}

/// A rule set's number, or the word for one that takes no look-up.
fn set(number: u32) -> String {
    match number {
        OPEN => "open".to_owned(),
        NOTHING => "nothing".to_owned(),
        number => number.to_string(),
    }
}

pub fn source(held: &Held, key: SourceKey) -> (Fields, Fields) {
    let Source { workload, addr } = key.source;
    let length = key.length.saturating_sub(SourceKey::OWNER_BITS);
    let shown = owner(held, workload).text("prefix", CidrKey { length, addr });
    (shown, fields().flag("allowed", true))
}

pub fn interface(held: &Held, place: u32, slot: InterfaceSlot) -> (Fields, Fields) {
    let shown = fields().number("place", place).number("ifindex", slot.ifindex);
    let closed = slot.pod.flags() & flag::CLOSED != 0;
    (shown, owner(held, slot.pod.id()).flag("closed", closed))
}

/// A pod, by its name and its workload id.
pub fn owner(held: &Held, workload: u32) -> Fields {
    fields().maybe("pod", held.pod(workload)).number("id", workload)
}

#[cfg(test)]
mod tests;
