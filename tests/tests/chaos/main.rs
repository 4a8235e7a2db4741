//! Everything goes wrong at once, with traffic throughout: the API server breaks off watches, forgets versions, answers
//! with errors and goes away; agents, two at a time, are killed; pods come and go, and addresses with them.
//!
//! What is no fault, since nobody can help it:
//! - A connect, or a datagram, that was on its way when its pod died fails. The kernel chose the pod's address while
//!   that was an endpoint, so it is excused if the choice was made before the tables were seen without the address,
//!   and the pod died before the failure.
//! - One that was on its way while its address moved may even reach the pod that has the address now: a SYN is sent
//!   again until somebody answers. It is excused if it began before that pod was made.
//! - A stream breaks when its pod dies.
//!
//! Everything else is: a connect that begins when the tables are without an address and gets there; one that fails
//! while all pods of its service live; a stream that breaks before its pod dies; anything at all that is noticed of the
//! service whose pods stay. So that this can be told, an address is given away again only once the tables are without
//! it: however soon that is after its pod died, it is not sooner than the agent learned of it.
//!
//! Of two agents, the one that has the tables is killed alone only when the other knows of the latest endpoints; both at
//! once, and the one that waits, at any time.
//!
//! What happens is drawn from one number, printed at the start; `MESH_TEST_SEED` sets it. In what order threads get to
//! it is not drawn.

mod book;
mod churn;
mod crew;
mod town;
mod visits;
mod weather;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::background::under_traffic_of;
use harness::dice::Dice;
use harness::twins::Path;
use harness::{eventually, require_root, scaled};

use crew::Crew;
use town::Town;

/// Until all that went wrong is forgotten: a request that failed often is repeated after 45 s at most.
const CALM: Duration = Duration::from_mins(1);
/// Longer than the server is ever away, with the pauses after which requests are repeated.
const LONGEST: Duration = Duration::from_mins(4);

/// Between two questions of anybody, so that there is room for what they are asked amid of: it is not a race.
const PAUSE: Duration = Duration::from_millis(2);

/// Ends what goes on beside the test, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn seed() -> Result<u64> {
    let seed = match std::env::var("MESH_TEST_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => std::time::UNIX_EPOCH.elapsed()?.as_secs(),
    };
    println!("MESH_TEST_SEED={seed}");
    Ok(seed)
}

#[test]
fn nobody_is_misled_and_all_is_well_in_the_end() -> Result<()> {
    require_root!();
    let town = Town::open("chaos", Path::Tcp)?;
    storm(&town).map(drop)
}

#[test]
fn nor_is_anybody_past_tcp() -> Result<()> {
    require_root!();
    let town = Town::open("chaos-accelerated", Path::Redirect)?;
    let crew = storm(&town)?;
    // Who took over counts what the streams before it go on to say.
    eventually(CALM, || {
        let moved = crew.sum("mesh_redirected_sent_messages_total")?;
        ensure!(moved > 0, "everything went by TCP");
        Ok(())
    })
}

/// Everything, and the end of it; who has the tables then.
fn storm(town: &Town) -> Result<Crew<'_>> {
    let seed = seed()?;
    let kills = scaled(20, 5);
    let mut crew = Crew::hire(town)?;
    let started = Instant::now();
    let (over, quiet) = (AtomicBool::new(false), AtomicBool::new(false));
    let (spread, traffic) = under_traffic_of(&town.cluster.client, PAUSE, |traffic| {
        scope(|threads| {
            let (ending, calming) = (Over(&over), Over(&quiet));
            let visits = visits::all(threads, town, &over);
            let churn = threads.spawn(|| churn::churn(town, Dice::new(seed), &quiet));
            let weather = threads.spawn(|| weather::weather(town, Dice::new(seed + 1), &quiet));
            let mut dice = Dice::new(seed + 2);
            let mut ended = Ok(());
            while ended.is_ok() && crew.killed < kills && !over.load(Ordering::Relaxed) {
                traffic.wait(20)?;
                sleep(Duration::from_millis(dice.below(scaled(15_000, 6_000)) as u64));
                ended = crew.kill(&mut dice);
            }
            drop(calming);
            let weather = weather.join().expect("no panic");
            town.well()?;
            let moves = churn.join().expect("no panic");
            let settled = eventually(CALM, || town.known().and_then(|()| town.cluster.agrees()));
            drop(ending);
            // What the visits met tells more than what was waited for in vain.
            for visit in visits {
                println!("{}", visit.join().expect("no panic")?);
            }
            let moves = moves?;
            println!("{}; {moves}", weather?);
            ended.and(settled)
        })
    })?;
    spread.assert_even(&town::STAYING);
    println!(
        "{kills} kills in {:?}; beside that {} connects, {:?} echoes and datagrams; {:?} lists",
        started.elapsed(),
        spread.total(),
        traffic.counts(),
        town.cluster.lists(),
    );
    Ok(crew)
}
