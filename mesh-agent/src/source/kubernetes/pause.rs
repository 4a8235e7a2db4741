//! How long to wait between requests.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// After the first failure.
const SHORTEST: Duration = Duration::from_millis(500);
/// However many there were.
const LONGEST: Duration = Duration::from_secs(30);
/// After the first denial.
const SHORTEST_FOR_A_RIGHT: Duration = Duration::from_mins(1);
/// However long the server wants it to be.
const MOST: Duration = Duration::from_mins(2);

/// The time that the server is asked to keep a watch for: five to ten minutes, as client-go has it, so that the
/// watches of many nodes come to spread over servers and time. `roll` is in 0..1.
#[must_use]
pub fn watch_seconds(roll: f64) -> u64 {
    Duration::from_mins(5).mul_f64(1.0 + roll).as_secs()
}

/// How long to wait after that many failures in a row: doubled each time, by half more or less. A server that says
/// when to come back is heeded. `roll` is in 0..1.
#[must_use]
pub fn after(failures: u32, retry_after: Option<Duration>, roll: f64) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let own = doubled(failures, SHORTEST, LONGEST, roll);
    let theirs = retry_after.unwrap_or_default().min(MOST);
    own.max(theirs.mul_f64(1.0 + roll / 2.0))
}

/// How long to wait for a right that was denied that many times in a row: people give it, which takes a while.
#[must_use]
pub fn for_a_right(denials: u32, longest: Duration, roll: f64) -> Duration {
    doubled(denials, SHORTEST_FOR_A_RIGHT, longest, roll)
}

fn doubled(failures: u32, shortest: Duration, longest: Duration, roll: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    let doubled = shortest.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
    doubled.min(longest).mul_f64(0.5 + roll)
}

/// A number in 0..1, another one each time. Nobody gains by guessing it: the seed of a new hash map will do.
#[must_use]
pub fn roll() -> f64 {
    let number = RandomState::new().hash_one(0_u8) >> 32;
    f64::from(u32::try_from(number).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_vary() {
        let millis = |failures, roll| after(failures, None, roll).as_millis();
        assert_eq!(
            [0, 1, 2, 3, 6, 7, 99].map(|it| millis(it, 0.5)),
            [0, 500, 1_000, 2_000, 16_000, 30_000, 30_000]
        );
        assert_eq!([0.0, 1.0].map(|roll| millis(1, roll)), [250, 750]);
        assert_eq!(millis(u32::MAX, 1.0), 45_000);
    }

    #[test]
    fn a_server_is_heeded_within_reason() {
        let seconds = |server| after(1, Some(Duration::from_secs(server)), 0.0).as_secs();
        assert_eq!([0, 5, 86_400].map(seconds), [0, 5, 120]);
    }

    #[test]
    fn watches_last_five_to_ten_minutes() {
        assert_eq!([0.0, 0.5, 1.0].map(watch_seconds), [300, 450, 600]);
        for _ in 0..100 {
            assert!((0.0..=1.0).contains(&roll()));
        }
        assert!((0..10).any(|_| (roll() - roll()).abs() > 0.01));
    }
}
