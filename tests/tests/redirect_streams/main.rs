//! Streams between two accelerated pods: whatever plain TCP shows, the redirect shows. Every test runs on plain
//! TCP first, as the control.

mod block;
mod blocking;
mod closing;
mod half_close;
mod integrity;
mod line;
mod order;
mod play;
mod pressure;
mod reading;
mod resets;
mod writing;
