//! Notices what comes and goes in directories: handles of network namespaces, pods' cgroups.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::Notify;

/// Watches directories.
#[derive(Debug)]
pub struct DirWatch {
    changed: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Default for DirWatch {
    /// Watches nothing yet. Where nothing can be watched, [`DirWatch::changed`] never comes, and looking now and then
    /// must do.
    fn default() -> Self {
        let changed = Arc::new(Notify::new());
        let signal = changed.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| matters(event.kind)) {
                signal.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::info!(%error, "looking at directories now and then"))
            .ok();
        Self {
            changed,
            watcher,
            watched: BTreeSet::new(),
        }
    }
}

impl DirWatch {
    /// Watches a directory, too, if that is possible.
    #[must_use]
    pub fn and(mut self, dir: &Path) -> Self {
        if !self.add(dir) {
            tracing::info!(dir = %dir.display(), "looking there now and then");
        }
        self
    }

    /// Watches these, and no others. One that is not there yet is tried again the next time.
    pub fn follow(&mut self, dirs: &BTreeSet<PathBuf>) {
        for gone in self.watched.difference(dirs).cloned().collect::<Vec<_>>() {
            self.watched.remove(&gone);
            // One that was removed is no longer watched anyway.
            let _removed = self.watcher.as_mut().map(|watcher| watcher.unwatch(&gone));
        }
        let fresh = dirs.difference(&self.watched).cloned().collect::<Vec<_>>();
        for dir in fresh {
            if self.add(&dir) {
                // What came before it was watched would go unnoticed.
                self.changed.notify_one();
            }
        }
    }

    /// Something changed since the last time. Can be dropped and called again without a loss.
    pub async fn changed(&mut self) {
        self.changed.notified().await;
    }

    fn add(&mut self, dir: &Path) -> bool {
        let watcher = self.watcher.as_mut();
        let is_watched =
            watcher.is_some_and(|watcher| watcher.watch(dir, RecursiveMode::NonRecursive).is_ok());
        is_watched && self.watched.insert(dir.to_path_buf())
    }
}

/// Reading what is there is an event, too, and so is what the kernel writes into files of a cgroup.
const fn matters(event: EventKind) -> bool {
    !matches!(
        event,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_))
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn directories_that_come_later_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (here, later) = (dir.path().to_path_buf(), dir.path().join("later"));
        let dirs = BTreeSet::from([here.clone(), later.clone()]);
        let mut watch = DirWatch::default();
        let second = Duration::from_secs(5);
        watch.follow(&dirs);
        timeout(second, watch.changed()).await.unwrap();
        fs::create_dir(&later).unwrap();
        timeout(second, watch.changed()).await.unwrap();
        watch.follow(&dirs);
        timeout(second, watch.changed()).await.unwrap();
        fs::create_dir(later.join("pod")).unwrap();
        timeout(second, watch.changed()).await.unwrap();
        assert_eq!(watch.watched, dirs);
        watch.follow(&[here.clone()].into());
        assert_eq!(watch.watched, [here].into());
    }
}
