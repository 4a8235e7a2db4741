//! When to look for network namespaces next: often at first, since an address may come after its namespace.

use std::time::Duration;

use tokio::time::Instant;

/// The first look after something changed.
const FIRST: Duration = Duration::from_millis(20);
/// The rarest look.
const LAST: Duration = Duration::from_secs(2);

/// The time of the next look.
#[derive(Debug)]
pub struct Look {
    at: Instant,
    pause: Duration,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            at: Instant::now() + FIRST,
            pause: FIRST,
        }
    }
}

impl Look {
    /// Something changed: look soon.
    pub fn soon(&mut self) {
        *self = Self::default();
    }

    /// Nothing was found: look later and later.
    pub fn later(&mut self) {
        self.pause = (self.pause * 2).min(LAST);
        self.at = Instant::now() + self.pause;
    }

    /// Comes when it is time; never while no pod waits for its namespace.
    pub async fn due(&self, waiting: bool) {
        if waiting {
            tokio::time::sleep_until(self.at).await;
        } else {
            std::future::pending::<()>().await;
        }
    }
}
