//! When to look for network namespaces next: often at first, since an address may come after its namespace.

use std::time::Duration;

use tokio::time::Instant;

/// The first look after something changed.
const FIRST: Duration = Duration::from_millis(20);
/// For this long after something changed, an address is expected any moment.
const EAGER: Duration = Duration::from_secs(30);
/// The rarest look then. The cost of a look is measured in time that passes, which a busy node stretches.
const EAGER_LAST: Duration = Duration::from_millis(80);
/// An eager look may cost this part of the time until the next.
const SHARE: u32 = 20;
/// The pause between looks later.
const LAST: Duration = Duration::from_secs(2);

/// The time of the next look.
#[derive(Debug)]
pub struct Look {
    at: Instant,
    changed: Instant,
}

impl Default for Look {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            at: now + FIRST,
            changed: now,
        }
    }
}

impl Look {
    /// Something changed: look soon.
    pub fn soon(&mut self) {
        *self = Self::default();
    }

    /// Looks; the next look is the later the longer this one takes.
    pub fn take(&mut self, look: impl FnOnce()) {
        let started = Instant::now();
        look();
        let now = Instant::now();
        self.at = now + pause(now - self.changed, now - started);
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

fn pause(since_change: Duration, cost: Duration) -> Duration {
    if since_change < EAGER {
        (cost * SHARE).clamp(FIRST, EAGER_LAST)
    } else {
        LAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_eager_at_first_and_rare_later() {
        let short = Duration::from_micros(300);
        assert_eq!(pause(Duration::from_secs(1), short), FIRST);
        assert_eq!(
            pause(Duration::from_secs(1), Duration::from_millis(40)),
            EAGER_LAST
        );
        assert_eq!(pause(EAGER, short), LAST);
    }
}
