//! Which addresses and prefixes change their class, and how each gets there without anybody seeing half of a change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use mesh_common::addr::Addr;
use mesh_common::policy::ANYBODY;

use super::Enforcement;
use super::choose::Choice;
use super::classes::Member;
use super::counted::Id;
use super::set::{Set, SetId};
use super::traits::Traits;
use super::universe::Universe;
use crate::model::object::network_policy::Cidr;

/// A member whose traits changed.
#[derive(Clone, Debug)]
struct Shift {
    member: Member,
    /// The class it has now, its own or by the prefix around it.
    from: u32,
    /// What it gets an entry for; `None`: it has none, or loses it.
    to: Option<Arc<Traits>>,
    /// What it is to rules afterwards, entry or not.
    becomes: Arc<Traits>,
}

/// A class that came up, and how sets in force learn of it.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) class: u32,
    pub(super) traits: Arc<Traits>,
    /// Those sets that go on without the change say of it what they say of this class.
    pub(super) like: Option<u32>,
}

/// How members move.
#[derive(Clone, Debug, Default)]
pub(super) struct Division {
    pub(super) fresh: Vec<Fresh>,
    /// First where each goes; `None`: its entry goes.
    pub(super) moves: Vec<(Member, Option<u32>)>,
    /// Once all pods have their new sets: what has no entry of its own.
    pub(super) removed: Vec<Member>,
    /// Sets that pods leave and that must not learn of the change: see [`Enforcement::divide`].
    pub(super) unaware: BTreeSet<SetId>,
    /// Whether some set in force says something else of a member than before.
    pub(super) judge_again: bool,
}

impl Enforcement {
    /// Finds the class of everybody about whom something changed.
    ///
    /// Where a term came or went, no set in force looks at it: what it says of a member stays the same when the member
    /// goes from the class of its old traits to that of its new ones. That is not so where the member itself changed, which
    /// is no matter for pods whose sets stay: to them the move is the change. But pods that get other sets in the same
    /// plan would first see the member as it is now with the rules as they were. So the sets that they leave must not
    /// learn of it: the member goes to a class of its own, of which these sets say what they said of the old one, and all
    /// others what is so now. With sets of a previous agent, of which nothing is known, all moves are of this kind.
    pub(super) fn divide(&mut self, choice: &Choice) -> Division {
        let shifts = self.shifts();
        let shifts = self.rename(shifts);
        let foreign: BTreeSet<SetId> = self.foreign();
        let mut division = Division {
            unaware: foreign.clone(),
            ..Division::default()
        };
        let mut bridges: HashMap<(u32, Arc<Traits>), u32> = HashMap::new();
        for shift in shifts {
            let differing = self.differing(&shift);
            division.judge_again |= differing.iter().any(|id| self.sets.all[id].users > 0);
            let left = differing
                .iter()
                .copied()
                .filter(|id| choice.left.contains_key(id));
            let left: Vec<SetId> = left.collect();
            let class = if left.is_empty() && foreign.is_empty() {
                let to = shift.to.as_ref();
                to.map(|traits| self.primary(traits, &mut division))
            } else {
                division.unaware.extend(left);
                let key = (shift.from, shift.becomes.clone());
                let bridge = match bridges.get(&key) {
                    Some(&bridge) => Some(bridge),
                    None => self.classes.create(&shift.becomes),
                };
                if let Some(bridge) = bridge {
                    if bridges.insert(key, bridge).is_none() {
                        division.fresh.push(Fresh {
                            class: bridge,
                            traits: shift.becomes.clone(),
                            like: Some(shift.from),
                        });
                    }
                    if shift.to.is_none() {
                        division.removed.push(shift.member);
                    }
                }
                bridge
            };
            division.moves.push((shift.member, class));
        }
        for &bridge in bridges.values().collect::<BTreeSet<_>>() {
            self.classes.make_primary(bridge);
        }
        division
    }

    /// The class that members with these traits go to.
    fn primary(&mut self, traits: &Arc<Traits>, division: &mut Division) -> u32 {
        if let Some(class) = self.classes.primary(traits) {
            return class;
        }
        // Without a number left, it is read as nobody in particular, to whom no rules but those for everybody apply.
        let Some(class) = self.classes.create(traits) else {
            return ANYBODY;
        };
        self.classes.make_primary(class);
        division.fresh.push(Fresh {
            class,
            traits: traits.clone(),
            like: None,
        });
        class
    }

    /// Sets of a previous agent that pods have.
    fn foreign(&self) -> BTreeSet<SetId> {
        if self.sets.passing.is_empty() {
            return BTreeSet::new();
        }
        let sets = self
            .tenants
            .values()
            .flat_map(|tenant| tenant.sets.into_iter().flatten());
        sets.filter(|id| self.sets.passing.contains(id)).collect()
    }

    /// The sets in the table that say something else of a member afterwards.
    fn differing(&self, shift: &Shift) -> Vec<SetId> {
        let Some(before) = self.classes.traits(shift.from) else {
            return Vec::new();
        };
        let looked_at = before.difference(&shift.becomes).into_iter();
        let looked_at: Vec<Id> = looked_at.filter(|id| !self.universe.is_new(*id)).collect();
        let differs = |set: &Set| {
            let after = set.read(&shift.becomes);
            set.number.is_some() && set.says(shift.from) != Some(&after)
        };
        let sets = self.sets.looking(looked_at).into_iter();
        sets.filter(|id| differs(&self.sets.all[id])).collect()
    }

    /// Where all members of a class change, most of them alike, the class goes with those: it is its traits that change.
    /// Sets in force need to learn nothing, since what they look at stays the same; of a class of a previous agent, its
    /// sets know what they know.
    fn rename(&mut self, shifts: Vec<Shift>) -> Vec<Shift> {
        let mut by_class: HashMap<u32, Vec<&Shift>> = HashMap::new();
        for shift in &shifts {
            let class = self.classes.at(&shift.member).filter(|&class| class != ANYBODY);
            by_class.entry(class.unwrap_or(ANYBODY)).or_default().push(shift);
        }
        by_class.remove(&ANYBODY);
        let mut by_class: Vec<_> = by_class.into_iter().collect();
        by_class.sort_unstable_by_key(|&(class, _)| class);
        for (class, shifts) in by_class {
            if self.classes.all[&class].members.len() != shifts.len() {
                continue;
            }
            let mut counts: HashMap<&Arc<Traits>, usize> = HashMap::new();
            for traits in shifts.iter().filter_map(|shift| shift.to.as_ref()) {
                *counts.entry(traits).or_default() += 1;
            }
            let before = self.classes.traits(class).cloned();
            let alike = |traits: &Traits| {
                let unseen = |before: &Arc<Traits>| {
                    before
                        .difference(traits)
                        .into_iter()
                        .all(|id| self.universe.is_new(id))
                };
                before.as_ref().is_none_or(unseen) && self.classes.primary(traits).is_none()
            };
            let most = counts
                .into_iter()
                .filter(|(traits, _)| alike(traits))
                .max_by_key(|&(_, count)| count);
            if let Some((traits, _)) = most {
                self.classes.rename(class, &traits.clone());
            }
        }
        let arrived = |shift: &Shift| {
            let class = self.classes.at(&shift.member);
            class.is_some() && class == shift.to.as_ref().and_then(|traits| self.classes.primary(traits))
        };
        shifts.into_iter().filter(|shift| !arrived(shift)).collect()
    }

    /// Everybody who is not in the class of its traits.
    fn shifts(&mut self) -> Vec<Shift> {
        let members = self.touched();
        let mut free = self.free_classes();
        let mut shifts = Vec::new();
        for member in members {
            let (to, becomes) = self.traits_of(&member);
            let at = self.classes.at(&member);
            let stays = match (&to, at) {
                (None, None) => true,
                (Some(to), Some(at)) => self.classes.primary(to) == Some(at),
                _ => false,
            };
            if let Member::Address(addr) = member {
                if to.is_some() && at.is_none() {
                    let evicted = free == 0 && *becomes == Traits::default();
                    match free.checked_sub(1) {
                        Some(less) => free = less,
                        None if evicted && self.evict(&addr, &mut shifts) => {}
                        None => {
                            self.homeless.insert(addr);
                            continue;
                        }
                    }
                }
                self.homeless.remove(&addr);
            }
            if !stays {
                shifts.push(Shift {
                    member,
                    from: self.classes.of_member(&member),
                    to,
                    becomes,
                });
            }
        }
        shifts
    }

    /// Makes room for an address of which nothing is known for certain. Blocks would speak for it else; those that speak
    /// for another one, that loses its entry, let no more pass than its own traits do.
    fn evict(&mut self, needy: &Addr, shifts: &mut Vec<Shift>) -> bool {
        let moving: HashSet<Member> = shifts.iter().map(|shift| shift.member).collect();
        let evictable = |(member, class): (&Member, u32)| match member {
            Member::Address(addr) if class != ANYBODY && addr != needy && !moving.contains(member) => {
                Some(*addr)
            }
            _ => None,
        };
        let Some(addr) = self.classes.members().filter_map(evictable).min() else {
            return false;
        };
        self.homeless.insert(addr);
        shifts.push(Shift {
            member: Member::Address(addr),
            from: self.classes.of(&addr),
            to: None,
            becomes: Arc::new(self.universe.of_address(&addr)),
        });
        true
    }

    /// What a member gets an entry for, and what it is to rules, entry or not.
    fn traits_of(&self, member: &Member) -> (Option<Arc<Traits>>, Arc<Traits>) {
        let (entry, becomes) = match member {
            Member::Prefix(prefix) => match self.universe.of_prefix(prefix) {
                Some(traits) => (true, traits),
                None => (false, Traits::new(self.universe.holding(prefix), Vec::new())),
            },
            Member::Address(addr) => self.traits_of_address(addr),
        };
        let becomes = Arc::new(becomes);
        (entry.then(|| becomes.clone()), becomes)
    }

    fn traits_of_address(&self, addr: &Addr) -> (bool, Traits) {
        let claims = self.pods.claims.get(addr).map_or(&[][..], Vec::as_slice);
        let blocks = self.universe.holding(&Cidr::host(addr));
        let [key] = claims else {
            // Of two pods at one address, neither is known to be there: blocks must not speak for it either.
            let disputed = !claims.is_empty() && !blocks.is_empty();
            let traits = if disputed { Vec::new() } else { blocks };
            return (disputed, Traits::new(traits, Vec::new()));
        };
        let Some(facts) = self.pods.get(key).and_then(|pod| pod.facts.as_ref()) else {
            return (false, Traits::new(blocks, Vec::new()));
        };
        let namespace = &key.object.namespace;
        let selecting = self
            .universe
            .selecting(namespace, self.namespaces.get(namespace), &facts.labels);
        let ports = self.universe.ports(facts);
        let entry = !selecting.is_empty() || !ports.is_empty();
        (entry, Traits::new([selecting, blocks].concat(), ports))
    }

    /// Everybody about whom something may have changed.
    fn touched(&mut self) -> BTreeSet<Member> {
        let mut touched: BTreeSet<Member> = self.universe.take_touched().map(Member::Prefix).collect();
        let dirty = std::mem::take(&mut self.dirty.addresses);
        touched.extend(
            dirty
                .into_iter()
                .chain(self.homeless.iter().copied())
                .map(Member::Address),
        );
        let with_gone = self.universe.gone().iter().flat_map(|&id| self.classes.with(id));
        for class in with_gone.collect::<BTreeSet<_>>() {
            touched.extend(&self.classes.all[&class].members);
        }
        if self.universe.has_changed() {
            // What blocks say of an address does not show in the class of a disputed one.
            let disputed = self.pods.claims.iter().filter(|(_, claims)| claims.len() > 1);
            touched.extend(disputed.map(|(addr, _)| Member::Address(*addr)));
        }
        if let Some(newcomers) = self.universe.newcomers() {
            self.touched_by(&newcomers, &mut touched);
        }
        if std::mem::take(&mut self.dirty.all) {
            touched.extend(self.classes.members().map(|(member, _)| *member));
            touched.extend(self.universe.prefixes().map(Member::Prefix));
        }
        touched
    }

    /// Whom terms that came, or names, are about.
    fn touched_by(&self, newcomers: &Universe, touched: &mut BTreeSet<Member>) {
        for (key, pod) in &self.pods.all {
            let Some(facts) = pod.facts.as_ref().filter(|_| pod.present) else {
                continue;
            };
            let namespace = &key.object.namespace;
            let facts_of_it = self.namespaces.get(namespace);
            let named = !newcomers.ports(facts).is_empty();
            if named
                || !newcomers
                    .selecting(namespace, facts_of_it, &facts.labels)
                    .is_empty()
            {
                touched.extend(facts.addresses.iter().copied().map(Member::Address));
            }
        }
        for (member, _) in self.classes.members() {
            let part = match member {
                Member::Prefix(prefix) => *prefix,
                Member::Address(addr) => Cidr::host(addr),
            };
            if !newcomers.holding(&part).is_empty() {
                touched.insert(*member);
            }
        }
    }
}
