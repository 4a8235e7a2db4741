//! Hand-over between two agents on one node, as in a rolling update with `maxSurge`: the new one gets ready while the
//! old one has the tables, waits for its end, however that comes, and goes on from there.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures_util::FutureExt;

use super::{
    acceleration::Acceleration,
    claim::{Claim, ClaimError},
    ending::Ending,
    flock::Patience,
    listeners, lock, programs, progress,
    run::at,
    standby::Standby,
    wire,
};
use crate::{
    datapath::{
        Ebpf,
        loader::{self, MapSizes},
        pins::Pins,
    },
    sys::wait::every,
};

/// What readiness calls it.
const NOTE: &str = "hand-over";
/// Who is waited for may change: the note is written anew this often.
const LOOK: Duration = Duration::from_secs(1);
/// One that is behind the agent before reads on for so long at most: the kernel waits meanwhile, and the server may be away.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Programs that are loaded and not attached.
pub struct Loaded {
    /// Programs and maps.
    pub ebpf: Ebpf,
    /// The programs of acceleration, and their probe, which began.
    pub acceleration: Acceleration,
    /// The pinned maps they work on.
    maps: Option<Vec<u32>>,
}

impl Loaded {
    /// Loads maps and programs; makes and pins the maps that are missing.
    ///
    /// # Errors
    /// Where the kernel refuses them.
    pub fn load(pins: &Pins, sizes: &MapSizes) -> Result<Self, loader::LoadError> {
        let maps = loader::pinned(pins);
        let mut ebpf = loader::load(pins, sizes)?;
        let acceleration = Acceleration::start(&mut ebpf);
        Ok(Self {
            ebpf,
            acceleration,
            maps,
        })
    }

    /// Whether they work on the maps that are pinned now.
    #[must_use]
    pub fn is_current(&self, pins: &Pins) -> bool {
        self.maps.is_some() && self.maps == loader::pinned(pins)
    }
}

/// Loads the programs on top of another agent's maps: nothing is written or pinned, since all of them are there. Where
/// one is not (that agent is of another version), the kernel only has to show that it takes the programs.
fn rehearse(pins: &Pins, sizes: &MapSizes) -> Result<Option<Loaded>, loader::LoadError> {
    if loader::pinned(pins).is_some() {
        return Loaded::load(pins, sizes).map(Some);
    }
    loader::rehearse(sizes).map(|()| None)
}

/// Gets ready, and waits until nobody else has the tables; `None` when told to end before that. Of what is pinned
/// nothing changes, so an agent that ends while it waits leaves no trace.
///
/// # Errors
/// Where this agent would not get on with this kernel or these maps, or the source is gone.
pub async fn wait(
    taken: &ClaimError,
    standby: &mut Standby,
    ending: &mut Ending,
) -> anyhow::Result<Option<(&'static Claim, Option<Loaded>)>> {
    let place = standby.args.place.clone();
    let _announced = lock::announce(&place.run_dir).context("saying that this agent waits")?;
    let loaded = rehearse(&Pins::new(&place.bpffs), &standby.sizes)?;
    // The kernel wakes it when its turn comes. A thread that still waits does not hold up the end.
    let mut claimed = tokio::task::spawn_blocking(move || Claim::take(&place, Patience::Wait));
    let readiness = standby.readiness.clone();
    readiness.clear(programs::READINESS);
    readiness.clear(wire::READINESS);
    readiness.clear(listeners::READINESS);
    let since = Instant::now();
    let mut look = every(LOOK);
    let mut told = String::new();
    loop {
        tokio::select! {
            claim = &mut claimed => {
                let claim = claim.context("waiting for the lock")??;
                // The old one may have acted on what waits to be read here: it must not be undone.
                while let Some(events) = standby.following.next().now_or_never() {
                    standby.keep(events?);
                }
                if catch_up(standby, claim, ending).await?.is_break() {
                    return Ok(None);
                }
                readiness.forget(NOTE);
                tracing::info!(waited = since.elapsed().as_secs_f64(), "the tables are this agent's now");
                return Ok(Some((claim, loaded)));
            }
            events = standby.following.next() => standby.keep(events?),
            _ = look.tick() => {
                let holder = taken.holder().unwrap_or_default();
                if holder != told {
                    tracing::info!(holder, "waiting for hand-over");
                    readiness.note(NOTE, format!("waiting for hand-over ({holder})"));
                    told = holder;
                }
            }
            () = ending.told() => return Ok(None),
        }
    }
}

/// Reads on until everything is known that the agent before has written, or for as long as that may take. Breaks off when
/// told to end.
async fn catch_up(
    standby: &mut Standby,
    claim: &Claim,
    ending: &mut Ending,
) -> anyhow::Result<ControlFlow<()>> {
    let written = progress::load(claim.run_dir.path());
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let behind = standby.following.behind(&written);
        if behind.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        standby
            .readiness
            .note(NOTE, "waiting for what the agent before knew");
        tokio::select! {
            events = standby.following.next() => standby.keep(events?),
            () = at(Some(deadline)) => {
                let seconds = CATCH_UP.as_secs();
                tracing::warn!(
                    ?behind,
                    seconds,
                    "going on with an older view than the agent before had: what was removed may come back for a while"
                );
                return Ok(ControlFlow::Continue(()));
            }
            () = ending.told() => return Ok(ControlFlow::Break(())),
        }
    }
}
