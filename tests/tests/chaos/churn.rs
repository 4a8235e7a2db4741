//! Pods come and go, and addresses go to pods of other services.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::dice::Dice;
use harness::eventually;

use crate::LONGEST;
use crate::town::{COLOURS, Serving, Town};

/// A service has at least so many pods.
const FEWEST: usize = 2;
/// So many leave at once, at most.
const MOST: usize = 3;

/// What happened.
#[derive(Debug, Default)]
pub struct Moves {
    /// Pods that left their service before they ended.
    left: usize,
    /// Pods that ended without a word.
    crashed: usize,
    /// Addresses that went to a pod of another service.
    pub between: usize,
    /// The longest time from a change until it was in the kernel.
    slowest: Duration,
}

impl fmt::Display for Moves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            left,
            crashed,
            between,
            slowest,
        } = self;
        write!(
            f,
            "{left} pods left, {crashed} crashed, {between} addresses went to another service; "
        )?;
        write!(f, "the kernel knew after {slowest:?} at most")
    }
}

/// Goes on until it is over, and an address went to another service at least once.
pub fn churn(town: &Town, mut dice: Dice, over: &AtomicBool) -> Result<Moves> {
    let mut moves = Moves::default();
    while !over.load(Ordering::Relaxed) || moves.between == 0 {
        sleep(Duration::from_millis(dice.below(60) as u64));
        // What the kernel does not have yet can't be seen to go.
        eventually(LONGEST, || town.known())?;
        let leavers: Vec<_> = (0..=dice.below(MOST))
            .filter_map(|_| leaver(town, &mut dice))
            .collect();
        let (crashing, leaving) = leavers.iter().partition::<Vec<_>, _>(|_| dice.one_in(3));
        moves.crashed += crashing.len();
        moves.left += leaving.len();
        for serving in crashing {
            town.book.died(serving.pod.name());
            serving.pod.delete()?;
            unlist(town, serving)?;
        }
        let told = Instant::now();
        for colour in 0..COLOURS.len() {
            town.restaff(colour)?;
        }
        leavers.iter().try_for_each(|serving| gone(town, serving))?;
        moves.slowest = moves.slowest.max(told.elapsed());
        sleep(Duration::from_millis(dice.below(40) as u64));
        for serving in leaving {
            town.book.died(serving.pod.name());
            unlist(town, serving)?;
            serving.pod.delete()?;
        }
        for ip in town.free() {
            // Two in three times somebody has an address at once.
            if dice.one_in(3) {
                continue;
            }
            let colour = dice.below(COLOURS.len());
            let had = leavers.iter().find(|serving| serving.pod.v4() == ip);
            moves.between += usize::from(had.is_some_and(|serving| serving.colour != colour));
            town.settle(colour, ip)?;
        }
    }
    Ok(moves)
}

/// One of the pods of a service that has more than it needs, which lives no more.
fn leaver(town: &Town, dice: &mut Dice) -> Option<Serving> {
    let mut pods = town.living();
    let count = |colour| pods.iter().filter(|it| it.colour == colour).count();
    let counts = [count(0), count(1)];
    let may = |at: &usize| counts[pods[*at].colour] > FEWEST;
    let leavers: Vec<_> = (0..pods.len()).filter(may).collect();
    if leavers.is_empty() {
        return None;
    }
    let leaver = leavers[dice.below(leavers.len())];
    Some(pods.swap_remove(leaver))
}

fn unlist(town: &Town, serving: &Serving) -> Result<()> {
    let removed = town.cluster.server.remove("pods", "shop", serving.pod.name());
    removed.map(drop)
}

/// Waits until the tables are without the pod.
fn gone(town: &Town, serving: &Serving) -> Result<()> {
    eventually(LONGEST, || {
        let endpoints = town.endpoints(serving.colour)?;
        ensure!(
            !endpoints.contains(&serving.pod.v4()),
            "{} is still there",
            serving.pod.name()
        );
        Ok(())
    })?;
    town.book.left(serving.pod.name());
    Ok(())
}
