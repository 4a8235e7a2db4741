//! The right to write: one agent for one runtime directory and one BPF filesystem.

use thiserror::Error;

use super::{
    config::Place,
    flock::Patience,
    lock::{self, LockError, RunDir},
    pin_lock::{PinLock, PinLockError},
};
use crate::datapath::pins::{PinError, Pins};

/// What only one agent has.
#[derive(Debug)]
pub struct Claim {
    /// The runtime directory.
    pub run_dir: RunDir,
    /// Where maps and links are pinned.
    pub pins: Pins,
    _pin_lock: PinLock,
}

/// Why it can't be had.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// The runtime directory.
    #[error(transparent)]
    RunDir(#[from] LockError),
    /// The BPF filesystem.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The pins in it.
    #[error(transparent)]
    PinLock(#[from] PinLockError),
}

impl Claim {
    /// Makes the runtime directory and the directory of the pins, and makes sure that no other agent has them.
    ///
    /// It is held until the process is gone: let go any earlier, the next agent would begin while tasks of this one
    /// still read and write.
    ///
    /// # Errors
    /// Where another agent has them and that is not to be waited for, or they can't be made.
    pub fn take(place: &Place, patience: Patience) -> Result<&'static Self, ClaimError> {
        let run_dir = RunDir::take(&place.run_dir, patience)?;
        let pins = Pins::new(&place.bpffs);
        pins.create()?;
        let pin_lock = PinLock::take(&pins.top(), patience)?;
        Ok(Box::leak(Box::new(Self {
            run_dir,
            pins,
            _pin_lock: pin_lock,
        })))
    }
}

impl ClaimError {
    /// Who has it now, and what; `None` where it can't be had for another reason.
    #[must_use]
    pub fn holder(&self) -> Option<String> {
        match self {
            Self::RunDir(LockError::Taken { dir, .. }) => {
                Some(format!("pid {} holds {}", lock::holder(dir), dir.display()))
            }
            Self::PinLock(PinLockError::Taken { dir, pid }) => {
                let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
                Some(format!("pid {pid} holds {}", dir.display()))
            }
            _ => None,
        }
    }
}
