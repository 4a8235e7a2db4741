//! Reads a directory again whenever something happens in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::problem::{Fault, Problem};
use super::stamp::Identity;
use super::wake::{Waited, Wake};
use super::{Batch, ManifestSource};

/// Changes mostly come in groups: this long after the first one the directory is read.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// The directory is read this often even if nothing is reported: a link may lead out of it.
const RESCAN: Duration = Duration::from_secs(2);

/// A directory of manifests that is being watched, until this is dropped.
#[derive(Debug)]
pub struct ManifestWatch {
    directory: PathBuf,
    batches: mpsc::Receiver<Batch>,
    wake: Arc<Wake>,
}

impl ManifestSource {
    /// Watches the directory from a thread of its own.
    ///
    /// # Errors
    ///
    /// Where no thread can be started. A directory that cannot be watched is read every two seconds
    /// instead, and the problems say so.
    pub fn watch(self) -> io::Result<ManifestWatch> {
        self.watch_as("manifests")
    }

    /// As [`Self::watch`]; names the thread.
    pub(super) fn watch_as(self, thread: &str) -> io::Result<ManifestWatch> {
        let (sender, batches) = mpsc::channel(1);
        let wake = Arc::new(Wake::default());
        let theirs = wake.clone();
        let directory = self.path().to_path_buf();
        thread::Builder::new()
            .name(thread.to_owned())
            .spawn(move || run(self, &theirs, &sender))?;
        Ok(ManifestWatch {
            directory,
            batches,
            wake,
        })
    }
}

impl ManifestWatch {
    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The next change: of objects, or of what is wrong with them. The first one comes at once, whatever
    /// is in the directory. `None` says that the thread is gone, which is a fault of ours. Can be dropped
    /// and called again without a loss.
    pub async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }
}

impl Drop for ManifestWatch {
    fn drop(&mut self) {
        self.batches.close();
        self.wake.stop();
    }
}

fn run(mut source: ManifestSource, wake: &Arc<Wake>, batches: &mpsc::Sender<Batch>) {
    let mut watcher = DirectoryWatcher::new(wake.clone());
    let mut sent: Option<(Vec<Problem>, usize)> = None;
    loop {
        // First watch, then look: what happens in between is looked at again.
        let unwatched = watcher.follow(source.path());
        wake.settle();
        let mut batch = source.scan_except(&wake.busy());
        batch
            .problems
            .extend(unwatched.map(|fault| source.problem(fault)));

        let news = (batch.problems.clone(), batch.notes.len());
        if !batch.events.is_empty() || sent.as_ref() != Some(&news) {
            sent = Some(news);
            if batches.blocking_send(batch).is_err() {
                return;
            }
        }
        match wake.wait(RESCAN) {
            Waited::Stopped => return,
            Waited::Changed => thread::sleep(DEBOUNCE),
            Waited::Long => source.tidy(),
        }
    }
}

/// Watches whatever directory is under a name.
struct DirectoryWatcher {
    wake: Arc<Wake>,
    watcher: Option<RecommendedWatcher>,
    watched: Option<Identity>,
}

impl DirectoryWatcher {
    fn new(wake: Arc<Wake>) -> Self {
        Self {
            wake,
            watcher: None,
            watched: None,
        }
    }

    /// Sees to it that the directory under that name now is watched; otherwise says why it is not.
    fn follow(&mut self, path: &Path) -> Option<Fault> {
        // Where there is no directory, reading it tells so.
        let now = fs::metadata(path).ok().map(|metadata| Identity::of(&metadata));
        if now == self.watched {
            return None;
        }
        (self.watcher, self.watched) = (None, None);
        now?;
        match self.start(path) {
            Ok(watcher) => {
                (self.watcher, self.watched) = (Some(watcher), now);
                None
            }
            Err(error) => Some(Fault::Unwatched(error.to_string())),
        }
    }

    fn start(&self, path: &Path) -> notify::Result<RecommendedWatcher> {
        let wake = self.wake.clone();
        let mut watcher = notify::recommended_watcher(move |event| wake.notice(event))?;
        watcher.watch(path, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}
