//! Who lived when, and what may be said of whom.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

/// A service whose pods come and go.
pub type Colour = usize;

/// One pod of a service that comes and goes.
#[derive(Clone, Debug)]
struct Life {
    name: String,
    colour: Colour,
    /// Just before it was made.
    born: Instant,
    /// When the kernel's tables were seen without it.
    left: Option<Instant>,
    /// Just before its end.
    died: Option<Instant>,
}

/// All lives.
#[derive(Debug, Default)]
pub struct Book(Mutex<Vec<Life>>);

impl Book {
    fn lives(&self) -> MutexGuard<'_, Vec<Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod is about to be made.
    pub fn born(&self, name: &str, colour: Colour) {
        self.lives().push(Life {
            name: name.into(),
            colour,
            born: Instant::now(),
            left: None,
            died: None,
        });
    }

    /// The tables are without it.
    pub fn left(&self, name: &str) {
        self.note(name, |life| life.left = Some(Instant::now()));
    }

    /// It is about to end.
    pub fn died(&self, name: &str) {
        self.note(name, |life| life.died = Some(Instant::now()));
    }

    fn note(&self, name: &str, note: impl FnOnce(&mut Life)) {
        let mut lives = self.lives();
        if let Some(life) = lives.iter_mut().find(|life| life.name == name) {
            note(life);
        }
    }

    /// Whether this pod may answer what was asked of a service at that time.
    pub fn may_answer(&self, colour: Colour, name: &str, asked: Instant) -> Result<()> {
        let lives = self.lives();
        let life = lives.iter().find(|life| life.name == name);
        let life = life.with_context(|| format!("{name} answers, whom nobody knows"))?;
        if life.colour != colour {
            ensure!(asked < life.born, "asked for service {colour}, {life:?} answers");
        }
        if let Some(left) = life.left {
            ensure!(asked < left, "asked {:?} later, {life:?} answers", asked - left);
        }
        Ok(())
    }

    /// Whether what was asked of a service at that time may have failed by now.
    pub fn may_fail(&self, colour: Colour, asked: Instant) -> Result<()> {
        let lives = self.lives();
        let chosen = |life: &&Life| life.colour == colour && life.left.is_none_or(|left| asked <= left);
        if lives.iter().filter(chosen).any(|life| life.died.is_some()) {
            return Ok(());
        }
        let same = lives.iter().rev().filter(|life| life.colour == colour);
        bail!("and nobody died: {:?}", same.take(6).collect::<Vec<_>>());
    }

    /// Whether a stream to this pod may have broken by now.
    pub fn may_break(&self, name: &str) -> Result<()> {
        let lives = self.lives();
        let dead = |life: &Life| life.name == name && life.died.is_some();
        ensure!(lives.iter().any(dead), "and {name} lives");
        Ok(())
    }
}
