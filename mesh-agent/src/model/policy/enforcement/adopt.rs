//! Taking over what a previous agent left in the kernel's tables.
//!
//! Its numbers mean nothing here: what its sets say is known, not why. They stay in force, untouched, until the sets of
//! this agent are complete; the first plan sees to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use mesh_common::addr::Addr;
use mesh_common::policy::{ANYBODY, Direction, OPEN, PolicyKey};
use mesh_common::rules::{MOST_CLASSES, NOTHING, PodRules};
use mesh_common::tag::{Tagged, hash_addr};

use super::classes::Member;
use super::listing::{Listing, Said};
use super::set::Set;
use super::tenant::Tenant;
use super::{Enforcement, Limits, Observed, Op};
use crate::model::object::network_policy::Cidr;
use crate::model::policy::ports::Prefix;

/// Entries of a set by class: the flags of the listing, if there is one, and what is listed.
type Found = BTreeMap<u32, (Option<u8>, BTreeMap<Prefix, Said>)>;

impl Enforcement {
    /// Of a node whose tables hold what a previous agent wrote, to its last write or not. The facts of all pods, policies
    /// and namespaces must be set before the first plan: what is not known then is taken to be gone.
    #[must_use]
    pub fn adopt(observed: &Observed, limits: Limits) -> Self {
        let mut it = Self::new(limits);
        it.adopt_rules(&observed.rules);
        for &(addr, value) in &observed.classes {
            if value.belongs_to(hash_addr(&addr)) && value.id() <= MOST_CLASSES {
                it.adopt_member(Member::Address(addr), value.id());
            } else {
                it.strays.push(Op::RemoveClass(addr));
            }
        }
        for &(key, class) in &observed.cidrs {
            match Cidr::of_key(&key) {
                Some(prefix) if class <= MOST_CLASSES => it.adopt_member(Member::Prefix(prefix), class),
                _ => it.strays.push(Op::RemoveCidr(key)),
            }
        }
        for &(workload, rules) in &observed.pods {
            it.adopt_pod(workload, rules);
        }
        it.dirty.all = true;
        it
    }

    fn adopt_member(&mut self, member: Member, class: u32) {
        self.classes.adopt(class);
        self.classes.put(member, Some(class));
    }

    /// What can be read of the entries becomes sets; the others are never read, and go.
    fn adopt_rules(&mut self, rules: &[(PolicyKey, Tagged)]) {
        let rules: HashMap<PolicyKey, Tagged> = rules.iter().copied().collect();
        let mut sets: BTreeMap<u32, Found> = BTreeMap::new();
        let mut numbers = BTreeSet::new();
        for (&key, &value) in &rules {
            let is_listing = key == PolicyKey::listing(key.set, key.peer);
            let readable =
                value.belongs_to(key.hash()) && (1..NOTHING).contains(&key.set) && key.peer <= MOST_CLASSES;
            if !readable || (is_listing && key.peer == ANYBODY) {
                self.strays.push(Op::RemoveRule(key));
                continue;
            }
            let listed = sets.entry(key.set).or_default().entry(key.peer).or_default();
            if is_listing {
                listed.0 = Some(value.flags());
            } else {
                let prefix = Prefix {
                    protocol: key.protocol,
                    length: key.length,
                    first: key.port.get(),
                };
                let said = Said {
                    rule: value.id(),
                    flags: value.flags(),
                };
                listed.1.insert(prefix, said);
                numbers.insert(value.id());
            }
        }
        for (number, classes) in sets {
            self.adopt_set(number, classes);
        }
        for &number in &numbers {
            self.policies.numbers.reserve(number);
        }
        self.foreign_rules = numbers.into_iter().collect();
    }

    fn adopt_set(&mut self, number: u32, classes: Found) {
        // Which way it goes, and whose it is, does not matter for one that only has to last.
        let mut set = Set::new(Arc::from(""), Direction::Ingress);
        set.number = Some(number);
        for (class, (lengths, said)) in classes {
            self.classes.adopt(class);
            let listing = Listing {
                entries: said.into_iter().collect(),
                lengths: lengths.unwrap_or_default(),
            };
            if class != ANYBODY && lengths.is_none() {
                // Not listed, so never read: a write that was interrupted.
                let entries = listing
                    .entries
                    .iter()
                    .map(|(prefix, _)| prefix.key(number, class));
                self.strays.extend(entries.map(Op::RemoveRule));
                continue;
            }
            set.entries += listing.len(class);
            set.listed.insert(class, Arc::new(listing));
        }
        self.sets.numbers.reserve(number);
        self.sets.add(set);
    }

    fn adopt_pod(&mut self, workload: u32, rules: PodRules) {
        let numbers = Direction::ALL.map(|direction| rules.sets.of(direction));
        let sets = if rules.sets.belongs_to(workload) {
            for number in numbers {
                // A set through which nothing passes has no entries.
                if number != OPEN && number != NOTHING && !self.sets.by_number.contains_key(&number) {
                    self.adopt_set(number, Found::new());
                }
            }
            numbers.map(|number| self.sets.by_number.get(&number).copied())
        } else {
            [None; 2]
        };
        sets.into_iter().flatten().for_each(|set| self.sets.take(set));
        let families = [Addr::from(Ipv4Addr::UNSPECIFIED), Addr::default()];
        let mut tenant = Tenant {
            pod: None,
            sets,
            numbers,
            flags: rules.sets.flags(),
            classes: families.map(|addr| rules.classes.towards(&addr)),
            addrs: rules.addrs,
            found: None,
        };
        tenant
            .classes
            .into_iter()
            .for_each(|class| self.classes.adopt(class));
        tenant.found = (tenant.rules(workload) != rules).then_some(rules);
        self.tenants.insert(workload, tenant);
        self.dirty.workloads.insert(workload);
    }
}
