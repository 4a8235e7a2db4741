//! What is drawn at random: uids, and the ends of generated names.

use rustls::crypto::aws_lc_rs;

use super::hex;

/// As the real server: no vowels, so that no words come out.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the system has randomness");
    bytes
}

/// A version 4 UUID.
#[must_use]
pub fn uid() -> String {
    let mut bytes: [u8; 16] = random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Five letters after a `generateName`.
#[must_use]
pub fn suffix() -> String {
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    random::<5>().into_iter().map(letter).collect()
}

/// A bearer token.
#[must_use]
pub fn token() -> String {
    hex::encode(&random::<24>())
}
