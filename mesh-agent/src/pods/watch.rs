//! Notices handles of network namespaces that come and go.

use std::{path::Path, sync::Arc};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watches the directory of the handles.
#[derive(Debug)]
pub struct NetnsWatch {
    changed: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

impl NetnsWatch {
    /// Starts watching. Where that is impossible (the directory may not be there yet), [`Self::changed`]
    /// never comes, and looking now and then must do.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let changed = Arc::new(Notify::new());
        let signal = changed.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the handles is an event, too; only changes matter.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                signal.notify_one();
            }
        });
        let watching = watcher.and_then(|mut watcher| {
            watcher.watch(dir, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let watcher = watching
            .inspect_err(
                |error| tracing::info!(dir = %dir.display(), %error, "looking for namespaces now and then"),
            )
            .ok();
        Self {
            changed,
            _watcher: watcher,
        }
    }

    /// Something changed since the last time. Can be dropped and called again without a loss.
    pub async fn changed(&mut self) {
        self.changed.notified().await;
    }
}
