//! The numbers of attempts, and which of them were heard.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::lock::lock;

/// Tells one attempt of this process from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(u32);

static HEARD: Mutex<BTreeSet<Number>> = Mutex::new(BTreeSet::new());

impl Number {
    /// A new one.
    #[must_use]
    pub fn next() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(1);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// As it travels: four bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// The number in the first four bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (first, _) = bytes.split_first_chunk()?;
        Some(Self(u32::from_be_bytes(*first)))
    }

    /// A source port for crafted packets.
    #[must_use]
    pub fn port(self) -> u16 {
        const FIRST: u32 = 32_768;
        u16::try_from(FIRST + self.0 % (0xffff - FIRST)).unwrap_or(u16::MAX)
    }
}

/// Whether a server of this process heard the number.
#[must_use]
pub fn heard(number: Number) -> bool {
    lock(&HEARD).contains(&number)
}

pub(super) fn hear(number: Number) {
    lock(&HEARD).insert(number);
}
