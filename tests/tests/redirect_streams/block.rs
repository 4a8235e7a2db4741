//! What streams carry: a long block of stamps, repeated without end. No two stamps are alike, so every byte
//! that is lost, doubled, foreign or out of place shows.

use harness::dice::Dice;

/// Bytes of one stamp.
pub const STAMP: usize = 8;
/// The longest piece that [`Block::at`] gives, in bytes.
pub const PIECE: usize = 256 << 10;

/// The block, and behind it its beginning once more.
#[derive(Debug)]
pub struct Block {
    seed: u64,
    bytes: Vec<u8>,
    period: usize,
}

impl Block {
    /// A block of this many stamps; other seeds make others.
    pub fn new(seed: u64, stamps: usize) -> Self {
        let mut dice = Dice::new(seed);
        let mut bytes = Vec::with_capacity(stamps * STAMP + PIECE);
        for _ in 0..stamps {
            bytes.extend_from_slice(&dice.roll().to_be_bytes());
        }
        let period = bytes.len();
        while bytes.len() < period + PIECE {
            let missing = (period + PIECE - bytes.len()).min(period);
            bytes.extend_from_within(..missing);
        }
        Self { seed, bytes, period }
    }

    /// What the stream carries there.
    pub fn at(&self, position: usize, len: usize) -> &[u8] {
        let start = position % self.period;
        &self.bytes[start..start + len]
    }

    /// # Panics
    ///
    /// Unless the stream carries `found` there.
    #[track_caller]
    pub fn check(&self, position: usize, found: &[u8]) {
        let due = self.at(position, found.len());
        if due == found {
            return;
        }
        let same = due
            .iter()
            .zip(found)
            .take_while(|(due, found)| due == found)
            .count();
        let strange = &found[same..found.len().min(same + 2 * STAMP)];
        let seed = self.seed;
        match self
            .bytes
            .windows(strange.len())
            .position(|window| window == strange)
        {
            Some(origin) => panic!(
                "block {seed}: bytes of {origin} where those of {} are due",
                (position + same) % self.period
            ),
            None => panic!("block {seed}: foreign bytes at {}: {strange:x?}", position + same),
        }
    }
}
