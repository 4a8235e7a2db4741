//! The writes of a plan, in the order in which every flow is judged by all of the change or by none of it.
//!
//! 1. What has rested goes, and with it what only that looked at.
//! 2. Pods that are gone lose their entries.
//! 3. Classes that are new are listed in all sets that are there; nobody is in them yet.
//! 4. Prefixes and addresses move to their new classes.
//! 5. New sets are written.
//! 6. Pods go over to their new sets: both numbers of a pod are one value.
//! 7. Flows are judged again.
//! 8. Where that changes nothing for any set in force, members go on to the class they share with others.
//! 9. What nobody refers to any more begins to rest; its numbers come back after it went.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mesh_common::policy::{ANYBODY, OPEN, PolicyKey};
use mesh_common::rules::{CidrKey, NOTHING};
use mesh_common::tag::{Tagged, hash_addr};

use super::choose::{Choice, Wanted};
use super::classes::Member;
use super::divide::{Division, Fresh};
use super::listing::Listing;
use super::set::{Set, SetId};
use super::sets::whole;
use super::tenant::{self, Tenant};
use super::traits::Traits;
use super::universe::PrefixRoom;
use super::{Enforcement, Observed, Op, REST, Shortage};
use crate::model::object::network_policy::Cidr;

impl Enforcement {
    /// The writes that bring the kernel's tables to what the facts say, to be done in this order. `now` is on a clock
    /// that never goes back.
    pub fn plan(&mut self, now: Duration) -> Vec<Op> {
        self.now = now;
        let due = self.next_due().is_some_and(|due| due <= now);
        if self.dirty.is_clean() && !due {
            return Vec::new();
        }
        self.again = false;
        let mut ops = Vec::new();
        self.expire(now, &mut ops);
        self.place_again();
        self.dirty.workloads.append(&mut self.shut_out);
        let mut choice = self.choose();
        self.evacuate(&choice, &mut ops);
        let division = self.divide(&choice);
        let unaware = self.keep_unaware(&division, &choice, &mut ops);
        self.introduce(&division.fresh, &unaware, &mut choice, &mut ops);
        self.relocate(&division.moves, &mut ops);
        self.write_new(&mut choice, &mut ops);
        let mut judge_again = division.judge_again;
        judge_again |= self.switch(&choice, &mut ops);
        if judge_again {
            ops.push(Op::JudgeAgain);
        }
        self.settle(&division, &mut ops);
        self.rest(now);
        ops
    }

    /// Removes what has rested.
    fn expire(&mut self, now: Duration, ops: &mut Vec<Op>) {
        let rested = |set: &Set| set.rests_until.is_some_and(|until| until <= now);
        let sets: Vec<SetId> = self
            .sets
            .all
            .iter()
            .filter(|(_, set)| rested(set))
            .map(|(id, _)| *id)
            .collect();
        for id in sets {
            self.drop_set(id, ops);
        }
        for class in self.classes.rested(now) {
            let traits = self.classes.traits(class).cloned().unwrap_or_default();
            let ids = traits
                .terms
                .iter()
                .copied()
                .chain(traits.ports.iter().map(|&(name, _)| name));
            let mut sets = self.sets.looking(ids);
            sets.extend(&self.sets.passing);
            for id in sets {
                let number = self.sets.all.get(&id).and_then(|set| set.number);
                if let (Some(number), Some(listing)) = (number, self.sets.strike(id, class)) {
                    ops.extend(listing.written(number, class).map(|(key, _)| Op::RemoveRule(key)));
                }
            }
            self.classes.forget(class);
        }
        ops.append(&mut self.strays);
        if self.sets.passing.is_empty() {
            for number in self.foreign_rules.drain(..) {
                self.policies.numbers.give_back(number);
            }
        }
    }

    /// Takes a set that no pod has out of the table, and gives up what it looked at.
    fn drop_set(&mut self, id: SetId, ops: &mut Vec<Op>) {
        let Some(set) = self.sets.remove(id) else { return };
        if let Some(number) = set.number {
            for (&class, listing) in &set.listed {
                ops.extend(listing.written(number, class).map(|(key, _)| Op::RemoveRule(key)));
            }
        }
        for rule in &set.rules {
            for &term in rule.peers.iter().flatten() {
                self.universe.release_term(term);
            }
            for name in rule.names() {
                self.universe.release_name(name);
            }
        }
        for edition in set.editions {
            self.policies.release(edition);
        }
    }

    fn place_again(&mut self) {
        let classes = &self.classes;
        let mut room = PrefixRoom {
            free: whole(self.limits.cidrs).saturating_sub(classes.prefixes),
            there: &|cut| classes.at(&Member::Prefix(*cut)).is_some(),
        };
        self.universe.place_again(&mut room);
    }

    /// Pods that are gone.
    fn evacuate(&mut self, choice: &Choice, ops: &mut Vec<Op>) {
        for (workload, wanted) in &choice.pods {
            if wanted.is_none() && self.tenants.remove(workload).is_some() {
                ops.push(Op::RemovePodRules(*workload));
            }
        }
    }

    /// Sees to it that sets that pods leave say of everybody what they said before, and returns them. Where others have
    /// such a set, those who leave go over to a copy first.
    fn keep_unaware(&mut self, division: &Division, choice: &Choice, ops: &mut Vec<Op>) -> BTreeSet<SetId> {
        let mut unaware = BTreeSet::new();
        for &id in &division.unaware {
            if self.sets.passing.contains(&id) {
                unaware.insert(id);
            } else if self.sets.all[&id].users == 0 {
                self.sets.pass(id);
                unaware.insert(id);
            } else {
                let copy = self.copy(id, ops);
                let number = copy.map_or(NOTHING, |(_, number)| number);
                for workload in choice.left.get(&id).into_iter().flatten() {
                    if let Some(tenant) = self.tenants.get_mut(workload) {
                        tenant.numbers[self.sets.all[&id].direction as usize] = number;
                        ops.push(tenant.written(*workload));
                    }
                }
                unaware.extend(copy.map(|(id, _)| id));
            }
        }
        unaware
    }

    /// Writes a set once more, without a subject; `None` where it finds no room.
    fn copy(&mut self, id: SetId, ops: &mut Vec<Op>) -> Option<(SetId, u32)> {
        let set = &self.sets.all[&id];
        let mut copy = Set::new(set.namespace.clone(), set.direction);
        copy.listed.clone_from(&set.listed);
        copy.policies.clone_from(&set.policies);
        copy.entries = set.entries;
        self.sets.fits(&self.limits, &copy, copy.entries).ok()?;
        let number = self.sets.numbers.take()?;
        copy.number = Some(number);
        for (&class, listing) in &copy.listed {
            ops.extend(listing.written(number, class).map(set_rule));
        }
        Some((self.sets.add(copy), number))
    }

    /// Lists new classes in all sets in the table that say more of them than of everybody.
    fn introduce(
        &mut self,
        fresh: &[Fresh],
        unaware: &BTreeSet<SetId>,
        choice: &mut Choice,
        ops: &mut Vec<Op>,
    ) {
        for it in fresh {
            let ids = it
                .traits
                .terms
                .iter()
                .copied()
                .chain(it.traits.ports.iter().map(|&(name, _)| name));
            for id in self.sets.looking(ids) {
                let set = &self.sets.all[&id];
                let Some(number) = set.number else { continue };
                if let Some(listing) = set.lists(&it.traits)
                    && !self.enter(id, number, it.class, listing, ops)
                {
                    self.outgrow(id, choice);
                }
            }
            let Some(like) = it.like.filter(|&like| like != ANYBODY) else {
                continue;
            };
            for &id in unaware {
                let set = &self.sets.all[&id];
                // Without room, less passes until those who have this set have left it.
                if let (Some(number), Some(listing)) = (set.number, set.listed.get(&like).cloned()) {
                    self.enter(id, number, it.class, listing, ops);
                }
            }
        }
    }

    /// Lists a class in a set, if there is room.
    fn enter(
        &mut self,
        id: SetId,
        number: u32,
        class: u32,
        listing: Arc<Listing>,
        ops: &mut Vec<Op>,
    ) -> bool {
        let needed = listing.len(class);
        let fits = self.sets.fits(&self.limits, &self.sets.all[&id], needed);
        if fits.is_err() {
            return false;
        }
        ops.extend(listing.written(number, class).map(set_rule));
        self.sets.list(id, class, listing);
        true
    }

    /// A set in force that finds no room any more: its pods get one that is in no table yet.
    fn outgrow(&mut self, id: SetId, choice: &mut Choice) {
        let set = &self.sets.all[&id];
        let (subject, namespace, users) = (set.subject.clone(), set.namespace.clone(), set.users);
        self.sets.pass(id);
        let Some(subject) = subject.filter(|_| users > 0) else {
            return;
        };
        let mut free = 0;
        let mut set = self.make(subject, &namespace, &mut free);
        set.users = users;
        let new = self.sets.add(set);
        for _ in 0..users {
            self.sets.leave(id);
        }
        for (&workload, tenant) in &self.tenants {
            let as_it_is = || {
                let pod = tenant.pod.clone()?;
                let (sets, flags) = (tenant.sets, tenant.flags);
                Some(Wanted { pod, sets, flags })
            };
            let entry = match choice.pods.get_mut(&workload) {
                Some(wanted) => wanted,
                None if tenant.sets.contains(&Some(id)) => {
                    choice.pods.entry(workload).or_insert_with(as_it_is)
                }
                None => continue,
            };
            let sets = entry.iter_mut().flat_map(|wanted| &mut wanted.sets);
            sets.filter(|set| **set == Some(id))
                .for_each(|set| *set = Some(new));
        }
        let arriving = choice
            .pods
            .iter_mut()
            .filter(|(workload, _)| !self.tenants.contains_key(workload));
        let sets = arriving.flat_map(|(_, wanted)| wanted.iter_mut().flat_map(|wanted| &mut wanted.sets));
        sets.filter(|set| **set == Some(id))
            .for_each(|set| *set = Some(new));
    }

    /// Moves prefixes and addresses, and tells the pods of this node their classes.
    fn relocate(&mut self, moves: &[(Member, Option<u32>)], ops: &mut Vec<Op>) {
        // Prefixes first, then what has no entry of its own any more reads right; then what frees room.
        let rank = |&&(member, class): &&(Member, Option<u32>)| match (member, class) {
            (Member::Prefix(_), Some(_)) => 0,
            (Member::Prefix(_), None) => 1,
            (Member::Address(_), None) => 2,
            (Member::Address(_), Some(_)) => 3,
        };
        let mut ordered: Vec<_> = moves.iter().collect();
        ordered.sort_by_key(rank);
        for &(member, class) in ordered {
            self.classes.put(member, class);
            ops.push(written(member, class));
        }
        if !moves.is_empty() {
            self.refresh(ops);
        }
    }

    /// Writes the sets that are in no table yet, as far as there is room.
    fn write_new(&mut self, choice: &mut Choice, ops: &mut Vec<Op>) {
        let unwritten = |(id, set): (&SetId, &Set)| (set.number.is_none() && set.users > 0).then_some(*id);
        let unwritten: Vec<SetId> = self.sets.all.iter().filter_map(unwritten).collect();
        for id in unwritten {
            match self.write_set(id, ops) {
                Err(shortage) => drop(self.sets.closed.insert(id, shortage)),
                Ok(()) => {
                    if self.sets.closed.remove(&id).is_some() {
                        self.reopen(id, choice);
                    }
                }
            }
        }
    }

    fn write_set(&mut self, id: SetId, ops: &mut Vec<Op>) -> Result<(), Shortage> {
        let set = &self.sets.all[&id];
        let terms = || set.rules.iter().flat_map(|rule| rule.peers.iter().flatten());
        if terms().any(|&term| self.universe.is_unplaced(term)) {
            return Err(Shortage::Prefixes);
        }
        let looks_at = set.looks_at();
        let classes: BTreeSet<u32> = looks_at.iter().flat_map(|&id| self.classes.with(id)).collect();
        let anybody = set.of_anybody();
        // Classes that agree in what the set looks at have the same.
        let mut read: HashMap<Traits, Arc<Listing>> = HashMap::new();
        let mut listed: Vec<(u32, Arc<Listing>)> = vec![(ANYBODY, anybody.clone())];
        for class in classes {
            let Some(traits) = self.classes.traits(class) else {
                continue;
            };
            let seen = traits.as_seen(&looks_at);
            let listing = if let Some(listing) = read.get(&seen) {
                listing.clone()
            } else {
                let listing = set.read(&seen);
                read.insert(seen, listing.clone());
                listing
            };
            if listing != anybody {
                listed.push((class, listing));
            }
        }
        let needed = listed.iter().map(|(class, listing)| listing.len(*class)).sum();
        self.sets.fits(&self.limits, set, needed)?;
        let number = self.sets.numbers.take().ok_or(Shortage::Numbers)?;
        self.sets.number(id, number);
        for (class, listing) in listed {
            ops.extend(listing.written(number, class).map(set_rule));
            self.sets.list(id, class, listing);
        }
        Ok(())
    }

    /// Pods of a set that found room at last.
    fn reopen(&self, id: SetId, choice: &mut Choice) {
        for (&workload, tenant) in &self.tenants {
            if let (true, Some(pod)) = (tenant.sets.contains(&Some(id)), &tenant.pod) {
                let (sets, flags) = (tenant.sets, tenant.flags);
                let as_it_is = || {
                    let pod = pod.clone();
                    Some(Wanted { pod, sets, flags })
                };
                choice.pods.entry(workload).or_insert_with(as_it_is);
            }
        }
    }

    /// Pods go over to their sets. Whether a flow may be judged otherwise now.
    fn switch(&mut self, choice: &Choice, ops: &mut Vec<Op>) -> bool {
        let mut judge_again = false;
        for (&workload, wanted) in &choice.pods {
            let Some(wanted) = wanted else { continue };
            let number = |id: SetId| {
                self.sets
                    .all
                    .get(&id)
                    .and_then(|set| set.number)
                    .unwrap_or(NOTHING)
            };
            let numbers = wanted.sets.map(|set| set.map_or(OPEN, number));
            let facts = self.pods.get(&wanted.pod).and_then(|pod| pod.facts.as_ref());
            let addrs = facts.map(tenant::addresses).unwrap_or_default();
            let before = self.tenants.get(&workload);
            if before.is_none() && self.tenants.len() >= whole(self.limits.pods) {
                self.shut_out.insert(workload);
                wanted
                    .sets
                    .into_iter()
                    .flatten()
                    .for_each(|set| self.sets.leave(set));
                continue;
            }
            let after = Tenant {
                pod: Some(wanted.pod.clone()),
                sets: wanted.sets,
                numbers,
                flags: wanted.flags,
                classes: tenant::classes(&self.classes, addrs),
                addrs,
                found: None,
            };
            let judged = |tenant: Option<&Tenant>| {
                let tenant = tenant.map(|it| it.rules(workload).sets);
                tenant.filter(|sets| !sets.is_open())
            };
            judge_again |= judged(before) != judged(Some(&after));
            if before.map(|before| before.rules(workload)) != Some(after.rules(workload)) {
                ops.push(after.written(workload));
            }
            self.tenants.insert(workload, after);
        }
        judge_again
    }

    /// Members that went through a class of their own go on to the one they share.
    fn settle(&mut self, division: &Division, ops: &mut Vec<Op>) {
        let mut moves: BTreeMap<Member, Option<u32>> =
            division.removed.iter().map(|&it| (it, None)).collect();
        for &(member, class) in &division.moves {
            let traits = class.and_then(|class| self.classes.traits(class));
            let primary = traits.and_then(|traits| self.classes.primary(traits));
            if primary.is_some() && primary != class {
                moves.entry(member).or_insert(primary);
            }
        }
        self.relocate(&moves.into_iter().collect::<Vec<_>>(), ops);
    }

    /// What nobody refers to any more begins to rest.
    fn rest(&mut self, now: Duration) {
        let idle = |(id, set): (&SetId, &Set)| (set.users == 0 && set.rests_until.is_none()).then_some(*id);
        let idle: Vec<SetId> = self.sets.all.iter().filter_map(idle).collect();
        for id in idle {
            let Some(set) = self.sets.all.get_mut(&id) else {
                continue;
            };
            if set.number.is_some() {
                set.rests_until = Some(now + REST);
            } else {
                self.drop_set(id, &mut Vec::new());
                self.again = true;
            }
        }
        self.classes.rest(now + REST);
        for name in std::mem::take(&mut self.dirty.policies) {
            match self
                .policies
                .get(&name)
                .and_then(|policy| policy.object.generation)
            {
                Some(generation) => drop(self.generations.insert(name, generation)),
                None => drop(self.generations.remove(&name)),
            }
        }
        self.universe.settle();
    }
}

fn set_rule((key, value): (PolicyKey, Tagged)) -> Op {
    Op::SetRule { key, value }
}

/// The write that puts a member into a class.
fn written(member: Member, class: Option<u32>) -> Op {
    match (member, class) {
        (Member::Prefix(prefix), Some(class)) => Op::SetCidr {
            prefix: key(&prefix),
            class,
        },
        (Member::Prefix(prefix), None) => Op::RemoveCidr(key(&prefix)),
        (Member::Address(addr), Some(class)) => Op::SetClass {
            addr,
            value: Tagged::new(class, 0, hash_addr(&addr)),
        },
        (Member::Address(addr), None) => Op::RemoveClass(addr),
    }
}

fn key(prefix: &Cidr) -> CidrKey {
    CidrKey {
        length: prefix.length().into(),
        addr: prefix.addr(),
    }
}

/// What the tables hold of a member.
pub(super) fn expect(member: Member, class: u32, expected: &mut Observed) {
    match written(member, Some(class)) {
        Op::SetCidr { prefix, class } => expected.cidrs.push((prefix, class)),
        Op::SetClass { addr, value } => expected.classes.push((addr, value)),
        _ => {}
    }
}
