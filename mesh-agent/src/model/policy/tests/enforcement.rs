//! Changes: what gets to the kernel's tables, and what programs see on the way.

use super::*;

mod changes;
mod cost;
mod kernel;
mod random;
mod room;
mod world;
