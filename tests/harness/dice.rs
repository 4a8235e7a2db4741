//! Random numbers that are the same in every run.

use std::thread;
use std::time::Duration;

/// xorshift64*: quick, and random enough for sizes and pauses.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed, the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            dice.roll();
        }
        dice
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() >> 33).unwrap_or_default() % end
    }

    /// From 1 to `most`, each order of magnitude equally often.
    pub fn size(&mut self, most: usize) -> usize {
        let bits = most.ilog2() as usize + 1;
        let reach = 1 << (1 + self.below(bits));
        1 + self.below(reach.min(most))
    }

    /// True one time in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Lets others run, or sleeps at most this many microseconds.
    pub fn pause(&mut self, most_us: usize) {
        if self.one_in(2) {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(self.below(most_us) as u64));
        }
    }
}
