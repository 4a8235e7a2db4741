//! The edges of the guarded redirect: odd handshakes, crowds, pods that cheat, agents that die, and what the
//! redirect cannot do as TCP does.

mod agents;
mod consent;
mod crowds;
mod endings;
mod families;
mod handshakes;
mod isolation;
mod limits;
mod raw;
mod seen;
mod stamped;
mod strangers;
mod swept;
mod switches;
mod tables;
mod waiting;
