//! Changes: what gets to the kernel's tables, and what programs see on the way.

use super::*;

mod cost;
mod kernel;
mod random;
mod world;
