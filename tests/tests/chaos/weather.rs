//! What goes wrong with the API server, one thing after the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::apiserver::{Gone, Match};
use harness::cluster::RESOURCES;
use harness::dice::Dice;
use harness::is_long;

use crate::town::Town;

/// How long the server is away once, in the long form.
const MINUTES: Duration = Duration::from_mins(2);

/// Goes on until it is over; tells what happened.
pub fn weather(town: &Town, mut dice: Dice, over: &AtomicBool) -> Result<String> {
    let mut report = BTreeMap::<_, u32>::new();
    let mut minutes = is_long();
    let started = Instant::now();
    while !over.load(Ordering::Relaxed) {
        *report.entry(strike(town, &mut dice)?).or_default() += 1;
        sleep(some_time(&mut dice));
        town.well()?;
        // The longer, the more a pause that follows a failure is over.
        sleep(6 * some_time(&mut dice));
        if minutes && started.elapsed() > MINUTES / 2 {
            minutes = false;
            town.cluster.server.down_for(MINUTES)?;
        }
    }
    Ok(format!("{report:?}"))
}

fn some_time(dice: &mut Dice) -> Duration {
    Duration::from_millis(dice.below(600) as u64)
}

fn strike(town: &Town, dice: &mut Dice) -> Result<&'static str> {
    let server = &town.cluster.server;
    let resource = RESOURCES[dice.below(RESOURCES.len())];
    Ok(match dice.below(11) {
        0 => {
            server.cut();
            "cut"
        }
        1 | 2 => {
            server.tear_watches();
            "cut within an event"
        }
        3 | 4 => {
            server.expire_watches(Gone::Event);
            "410 in each watch"
        }
        5 => {
            server.expire_watches(Gone::Status);
            "410 to each watch"
        }
        6 => {
            server.down()?;
            server.compact();
            "down, and what was is forgotten"
        }
        7 => {
            server.down()?;
            "down"
        }
        8 => {
            server.hold_events(resource);
            "late events"
        }
        9 => {
            server.duplicate_events();
            "events twice"
        }
        _ => {
            let code = [429, 500, 503][dice.below(3)];
            server.cut();
            server.refuse(Match::any(), code, Some(1), None);
            "refused"
        }
    })
}
