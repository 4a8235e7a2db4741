//! What is known of one resource, and what news changes of it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Problem;
use super::item::Item;
use super::line::Tombstone;
use crate::model::cluster::Event;
use crate::model::object::{Object, ObjectRef};

/// The objects of one resource.
#[derive(Clone, Debug, Default)]
pub struct Known {
    objects: BTreeMap<ObjectRef, Entry>,
    problems: BTreeMap<ObjectRef, Problem>,
}

/// An object that is there.
#[derive(Clone, Debug)]
struct Entry {
    uid: Option<Arc<str>>,
    version: Option<u64>,
    /// What it last said that could be used.
    object: Option<Object>,
}

impl Known {
    /// Takes in an object of a watch; says what that changes. One that is older than what is known is a repetition,
    /// and changes nothing.
    pub fn upsert(&mut self, item: Item) -> Option<Event> {
        let former = self.objects.get(&item.reference);
        let known = former.and_then(|former| former.version);
        if known.is_some_and(|known| item.version.is_before(known)) {
            return None;
        }
        let before = former.and_then(|former| former.object.clone());
        let reference = item.reference.clone();
        let entry = Entry::after(former, &item);
        self.note(item, entry.object.is_some());
        let event = change(&reference, before.as_ref(), entry.object.as_ref());
        self.objects.insert(reference, entry);
        event
    }

    /// Takes in that an object is gone; says what that changes. Where the name belongs to another object by now,
    /// nothing.
    pub fn delete(&mut self, gone: &Tombstone) -> Option<Event> {
        let former = self.objects.get(&gone.reference)?;
        if former.uid.is_some() && gone.uid.is_some() && former.uid != gone.uid {
            return None;
        }
        self.problems.remove(&gone.reference);
        let former = self.objects.remove(&gone.reference)?;
        former.object.map(|_| Event::Delete(gone.reference.clone()))
    }

    /// Begins to take in all objects anew.
    #[must_use]
    pub fn relist(self) -> Relist {
        Relist {
            former: self,
            next: Self::default(),
        }
    }

    /// All that is wrong with the objects.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// What is wrong with an object, of which something stays or not.
    fn note(&mut self, item: Item, stays: bool) {
        let problem = match item.object {
            Ok(_) => return drop(self.problems.remove(&item.reference)),
            Err(unfit) if stays => Problem::Unfit(unfit),
            Err(unfit) => Problem::Unusable(unfit),
        };
        self.problems.insert(item.reference, problem);
    }
}

impl Entry {
    /// An object that says what it said before stays the one that everybody shares; one that can't be used goes on
    /// as it was before, if it is the same object.
    fn after(former: Option<&Self>, item: &Item) -> Self {
        let before = former.and_then(|former| former.object.as_ref());
        let object = match &item.object {
            Ok(object) => before.filter(|before| *before == object).or(Some(object)),
            Err(_) => before.filter(|_| former.is_some_and(|former| former.uid == item.uid)),
        };
        Self {
            uid: item.uid.clone(),
            version: item.version.number(),
            object: object.cloned(),
        }
    }
}

fn change(reference: &ObjectRef, before: Option<&Object>, after: Option<&Object>) -> Option<Event> {
    match (before, after) {
        (before, after) if before == after => None,
        (_, Some(after)) => Some(Event::Upsert(after.clone())),
        (_, None) => Some(Event::Delete(reference.clone())),
    }
}

/// A list that comes in, object by object.
#[derive(Debug)]
pub struct Relist {
    former: Known,
    next: Known,
}

impl Relist {
    /// Takes in an object.
    pub fn take(&mut self, item: Item) {
        let entry = Entry::after(self.former.objects.get(&item.reference), &item);
        let stays = entry.object.is_some();
        self.next.objects.insert(item.reference.clone(), entry);
        self.next.note(item, stays);
    }

    /// The list is complete: what is known now, and what changed. What is not in it is gone.
    #[must_use]
    pub fn finish(self) -> (Known, Vec<Event>) {
        let Self { former, next } = self;
        let object = |known: &Known, reference| {
            let entry: Option<&Entry> = known.objects.get(reference);
            entry.and_then(|entry| entry.object.clone())
        };
        let gone = former.objects.keys().filter(|it| !next.objects.contains_key(it));
        let events = gone
            .chain(next.objects.keys())
            .filter_map(|it| change(it, object(&former, it).as_ref(), object(&next, it).as_ref()))
            .collect();
        (next, events)
    }

    /// The list ended too early: what was known stays.
    #[must_use]
    pub fn abort(self) -> Known {
        self.former
    }
}

#[cfg(test)]
mod tests;
