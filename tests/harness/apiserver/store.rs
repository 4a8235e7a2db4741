//! All objects with their versions, and what changed: etcd and the watch cache in one.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::failure::{Answer, Failure};
use super::object::Object;
use super::resource::{RESOURCES, Resource};

/// One write.
#[derive(Debug)]
pub struct Change {
    /// Its version: each write has its own, over all resources.
    pub version: u64,
    /// What was there.
    pub before: Option<Arc<Object>>,
    /// What is there now; of something deleted its last content, at the version of the deletion.
    pub object: Arc<Object>,
    /// Whether it is gone.
    pub deleted: bool,
}

/// The objects of a resource by key.
pub type Objects = BTreeMap<String, Arc<Object>>;

/// One resource.
#[derive(Debug, Default)]
struct Shelf {
    objects: Objects,
    history: VecDeque<Arc<Change>>,
    /// All changes after this version are in the history.
    floor: u64,
}

/// Everything the server holds.
#[derive(Debug)]
pub struct Store {
    version: u64,
    window: usize,
    shelves: Vec<Shelf>,
}

impl Store {
    /// Nothing yet; `window` is the number of changes kept for each resource.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self {
            version: 1,
            window,
            shelves: RESOURCES
                .iter()
                .map(|_| Shelf {
                    floor: 1,
                    ..Shelf::default()
                })
                .collect(),
        }
    }

    /// Version of the last write.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    fn shelf(&self, resource: &Resource) -> &Shelf {
        &self.shelves[resource.index()]
    }

    /// The object at a key.
    #[must_use]
    pub fn get(&self, resource: &Resource, key: &str) -> Option<&Arc<Object>> {
        self.shelf(resource).objects.get(key)
    }

    /// Everything there is now.
    #[must_use]
    pub fn objects(&self, resource: &Resource) -> &Objects {
        &self.shelf(resource).objects
    }

    /// Writes an object as it is, whatever was there.
    pub fn put(&mut self, resource: &'static Resource, value: Value) -> Arc<Object> {
        self.version += 1;
        let object = Arc::new(Object::new(resource, value, self.version));
        let objects = &mut self.shelves[resource.index()].objects;
        let before = objects.insert(object.key(), object.clone());
        self.remember(resource, before, object.clone(), false);
        object
    }

    /// Removes an object; gives what watchers are told.
    pub fn remove(&mut self, resource: &'static Resource, key: &str) -> Option<Arc<Object>> {
        let before = self.shelves[resource.index()].objects.remove(key)?;
        self.version += 1;
        let object = Arc::new(before.at_version(self.version));
        self.remember(resource, Some(before), object.clone(), true);
        Some(object)
    }

    fn remember(
        &mut self,
        resource: &Resource,
        before: Option<Arc<Object>>,
        object: Arc<Object>,
        deleted: bool,
    ) {
        let here = &mut self.shelves[resource.index()];
        here.history.push_back(Arc::new(Change {
            version: self.version,
            before,
            object,
            deleted,
        }));
        while here.history.len() > self.window {
            if let Some(change) = here.history.pop_front() {
                here.floor = change.version;
            }
        }
    }

    /// Changes after a version, at most `limit`; an error if some are forgotten.
    pub fn since(&self, resource: &Resource, version: u64, limit: usize) -> Answer<Vec<Arc<Change>>> {
        let kept = self.shelf(resource);
        if version < kept.floor {
            return Err(Failure::too_old(version, kept.floor));
        }
        let start = kept.history.partition_point(|change| change.version <= version);
        Ok(kept.history.range(start..).take(limit).cloned().collect())
    }

    /// What was there at a version; `None` if that is forgotten.
    #[must_use]
    pub fn objects_at(&self, resource: &Resource, version: u64) -> Option<Cow<'_, Objects>> {
        let kept = self.shelf(resource);
        if version < kept.floor {
            return None;
        }
        let mut objects = Cow::Borrowed(&kept.objects);
        let newer = |change: &&Arc<Change>| change.version > version;
        for change in kept.history.iter().rev().take_while(newer) {
            let objects = objects.to_mut();
            match &change.before {
                Some(before) => objects.insert(before.key(), before.clone()),
                None => objects.remove(&change.object.key()),
            };
        }
        Some(objects)
    }

    /// Forgets the changes so far, as etcd's compaction does: who asks for older versions is told so.
    pub fn compact(&mut self) {
        for shelf in &mut self.shelves {
            shelf.history.clear();
            shelf.floor = self.version;
        }
    }

    /// How many changes of each resource are kept from now on.
    pub fn set_window(&mut self, window: usize) {
        self.window = window;
    }

    /// Goes on as if a later write had happened; gaps between versions are usual.
    pub fn skip_to(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// As after a restore of etcd's backup: what was written later never was, versions start again from there.
    pub fn restore(&mut self, version: u64) -> Answer<()> {
        let old: Option<Vec<_>> = RESOURCES
            .iter()
            .map(|resource| self.objects_at(resource, version).map(Cow::into_owned))
            .collect();
        let Some(old) = old else {
            return Err(Failure::expired(format!("version {version} is no longer kept")));
        };
        for (shelf, objects) in self.shelves.iter_mut().zip(old) {
            *shelf = Shelf {
                objects,
                floor: version,
                ..Shelf::default()
            };
        }
        self.version = version;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resource::named;
    use super::*;

    fn pod(name: &str, round: u32) -> Value {
        json!({"metadata": {"name": name, "namespace": "n"}, "round": round})
    }

    fn rounds(objects: &Objects) -> Vec<(String, u64)> {
        let round = |object: &Arc<Object>| object.value()["round"].as_u64().expect("a number");
        objects
            .values()
            .map(|object| (object.name.clone(), round(object)))
            .collect()
    }

    #[test]
    fn the_past_is_there_until_it_is_forgotten() {
        let pods = named("pods").expect("known");
        let mut store = Store::new(3);
        store.put(pods, pod("a", 1));
        let first = store.version();
        store.put(pods, pod("b", 2));
        store.put(pods, pod("a", 3));
        let gone = store.remove(pods, "n/b").expect("was there");
        assert_eq!(
            gone.version,
            store.version(),
            "told at the version of its deletion"
        );
        assert_eq!(rounds(store.objects(pods)), [("a".into(), 3)]);
        assert_eq!(
            rounds(&store.objects_at(pods, first).expect("kept")),
            [("a".into(), 1)]
        );
        assert_eq!(store.since(pods, first, 9).expect("kept").len(), 3);
        store.put(pods, pod("c", 4));
        assert!(store.objects_at(pods, first).is_none());
        assert_eq!(store.since(pods, first, 9).expect_err("forgotten").code, 410);
        assert_eq!(store.since(pods, first + 1, 9).expect("the window").len(), 3);
    }

    #[test]
    fn a_restore_takes_back_what_came_later() {
        let pods = named("pods").expect("known");
        let mut store = Store::new(10);
        store.put(pods, pod("a", 1));
        let backup = store.version();
        store.put(pods, pod("a", 2));
        store.put(pods, pod("b", 2));
        store.restore(backup).expect("kept");
        assert_eq!(rounds(store.objects(pods)), [("a".into(), 1)]);
        assert_eq!(store.version(), backup);
        assert_eq!(store.put(pods, pod("c", 1)).version, backup + 1);
        store.compact();
        assert_eq!(store.since(pods, backup, 1).expect_err("forgotten").code, 410);
    }
}
