//! Streams between two accelerated pods: whatever plain TCP shows, the redirect shows. Every test runs on plain
//! TCP first, as the control.

mod block;
mod blocking;
mod closing;
mod dice;
mod half_close;
mod integrity;
mod line;
mod order;
mod play;
mod pressure;
mod reading;
mod resets;
mod writing;

/// The first with `MESH_TEST_LONG=1`, which `cargo xtask test --long` sets; else the second, to save minutes.
fn scaled(long: u64, usual: u64) -> u64 {
    if std::env::var_os("MESH_TEST_LONG").is_some_and(|value| value == "1") {
        long
    } else {
        usual
    }
}
