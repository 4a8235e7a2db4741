//! Attempts to get past the policies: each gets through where nobody denies, fails where a policy does, and is counted.
//! And what must go on working where everything is denied.

mod crafted;
mod keeps_working;
mod nested;
mod node_port;
mod outside;
mod sockets;
mod times;
mod town;
