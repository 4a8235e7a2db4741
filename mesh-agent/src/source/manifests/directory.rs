//! What the files of a directory say together, and what changes when one of them does. Pure.
//!
//! - A file that holds a mistake adds and changes objects, but takes none away: what it said before stays
//!   until it can be read again in full.
//! - A file without a mistake says all: what it no longer lists is gone, as is what a removed file said.
//! - Of an object in several files the first file counts, by name. What a file said before a mistake
//!   counts only where no file says it now.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use super::decode::Contents;
use super::problem::{Fault, Note, Place, Problem};
use crate::model::cluster::Event;
use crate::model::groups::Groups;
use crate::model::object::{Object, ObjectRef};

#[cfg(test)]
mod tests;

/// What became of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// It was read.
    Contents(Contents),
    /// It is there and cannot be read.
    Failed(Fault),
    /// It is gone.
    Gone,
}

/// The files of a directory.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    files: BTreeMap<Arc<str>, File>,
    /// The files that say something of an object, best first.
    sayings: Groups<ObjectRef, Saying>,
    /// Objects that more than one file says something of.
    shared: BTreeSet<ObjectRef>,
}

/// One file.
#[derive(Clone, Debug, Default)]
struct File {
    /// What it says.
    present: BTreeMap<ObjectRef, (Object, Place)>,
    /// What it said before a mistake hid it.
    retained: BTreeMap<ObjectRef, Object>,
    problems: Vec<Problem>,
    notes: Vec<Note>,
}

/// That a file says something of an object; the lesser counts.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Saying {
    retained: bool,
    file: Arc<str>,
}

impl Directory {
    /// Takes in what was read of some files and says what that changes.
    pub fn update(&mut self, readings: impl IntoIterator<Item = (String, Reading)>) -> Vec<Event> {
        let mut before: BTreeMap<ObjectRef, Option<Object>> = BTreeMap::new();
        for (name, reading) in readings {
            let name: Arc<str> = name.into();
            let old = self.files.remove(&name);
            let new = File::after(&name, old.as_ref(), reading);
            let objects = [old.as_ref(), new.as_ref()].into_iter().flatten();
            for object in objects.flat_map(File::objects) {
                if !before.contains_key(object) {
                    before.insert(object.clone(), self.effective(object, &name, old.as_ref()));
                }
            }
            self.retract(&name, old.as_ref());
            self.state(&name, new);
        }
        before
            .into_iter()
            .filter_map(|(object, before)| self.event(object, before.as_ref()))
            .collect()
    }

    /// All that is wrong now, in the order of the files and of what is in them.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let own = self.files.values().flat_map(|file| &file.problems).cloned();
        let mut problems: Vec<Problem> = own.chain(self.repeated()).collect();
        problems.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        problems
    }

    /// All objects that are not for the mesh.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        self.files
            .values()
            .flat_map(|file| &file.notes)
            .cloned()
            .collect()
    }

    /// The names of the files it knows.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(AsRef::as_ref)
    }

    /// What the files say of an object; `file` is out of the map at the moment, and is called `name`.
    fn effective(&self, object: &ObjectRef, name: &str, file: Option<&File>) -> Option<Object> {
        let best = self.sayings.get(object).next()?;
        let file = if *best.file == *name {
            file
        } else {
            self.files.get(&best.file)
        };
        file?.object(object, best.retained)
    }

    fn event(&self, object: ObjectRef, before: Option<&Object>) -> Option<Event> {
        match self.effective(&object, "", None) {
            Some(after) if before == Some(&after) => None,
            Some(after) => Some(Event::Upsert(after)),
            None if before.is_some() => Some(Event::Delete(object)),
            None => None,
        }
    }

    fn retract(&mut self, name: &Arc<str>, file: Option<&File>) {
        for (object, retained) in file.into_iter().flat_map(File::sayings) {
            let saying = Saying {
                retained,
                file: name.clone(),
            };
            self.sayings.remove(object, &saying);
            if self.sayings.len(object) < 2 {
                self.shared.remove(object);
            }
        }
    }

    fn state(&mut self, name: &Arc<str>, file: Option<File>) {
        let Some(file) = file else { return };
        for (object, retained) in file.sayings() {
            let saying = Saying {
                retained,
                file: name.clone(),
            };
            self.sayings.insert(object.clone(), saying);
            if self.sayings.len(object) > 1 {
                self.shared.insert(object.clone());
            }
        }
        self.files.insert(name.clone(), file);
    }

    /// Objects that a file says although an earlier one does.
    fn repeated(&self) -> impl Iterator<Item = Problem> {
        self.shared.iter().flat_map(move |object| {
            let sayings = self.sayings.get(object);
            let mut present = sayings.filter(|saying| !saying.retained);
            let first = present.next();
            present.filter_map(move |saying| {
                let (_, place) = self.files.get(&saying.file)?.present.get(object)?;
                Some(twice(&saying.file, *place, object.clone(), &first?.file))
            })
        })
    }
}

impl File {
    /// The file after a reading; `None` where it is gone.
    fn after(name: &str, old: Option<&Self>, reading: Reading) -> Option<Self> {
        let mut file = match reading {
            Reading::Gone => return None,
            Reading::Failed(fault) => Self {
                problems: vec![Problem {
                    file: name.to_owned(),
                    place: Place::default(),
                    fault,
                }],
                ..Self::default()
            },
            Reading::Contents(contents) => Self {
                problems: contents.problems,
                notes: contents.notes,
                ..Self::default()
            }
            .with(name, contents.objects, old),
        };
        if let (true, Some(old)) = (file.is_broken(), old) {
            let present = old.present.iter().map(|(object, (said, _))| (object, said));
            let missing = present
                .chain(&old.retained)
                .filter(|(object, _)| !file.present.contains_key(object))
                .map(|(object, said)| (object.clone(), said.clone()));
            file.retained = missing.collect();
        }
        Some(file)
    }

    /// Of an object that is there twice the first counts. One that says what it said before stays the one that
    /// everybody shares.
    fn with(mut self, name: &str, objects: Vec<(Object, Place)>, old: Option<&Self>) -> Self {
        for (object, place) in objects {
            let reference = object.reference();
            match self.present.entry(reference) {
                Entry::Occupied(first) => {
                    self.problems.push(twice(name, place, first.key().clone(), name));
                }
                Entry::Vacant(slot) => {
                    let former = old.and_then(|old| old.object(slot.key(), false));
                    let object = former.filter(|former| *former == object).unwrap_or(object);
                    slot.insert((object, place));
                }
            }
        }
        self
    }

    /// Whether something is hidden by a mistake.
    fn is_broken(&self) -> bool {
        let hides = |problem: &Problem| !matches!(problem.fault, Fault::Twice { .. });
        self.problems.iter().any(hides)
    }

    fn object(&self, object: &ObjectRef, retained: bool) -> Option<Object> {
        if retained {
            self.retained.get(object).cloned()
        } else {
            self.present.get(object).map(|(said, _)| said.clone())
        }
    }

    fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.sayings().map(|(object, _)| object)
    }

    fn sayings(&self) -> impl Iterator<Item = (&ObjectRef, bool)> {
        let present = self.present.keys().map(|object| (object, false));
        present.chain(self.retained.keys().map(|object| (object, true)))
    }
}

fn twice(file: &str, place: Place, object: ObjectRef, first: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        place,
        fault: Fault::Twice {
            object,
            first: first.to_owned(),
        },
    }
}
