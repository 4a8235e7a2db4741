//! `policy`: which network policies are in force on this node, and why a flow passes or does not. All of it is the agent's
//! to say, which alone has the objects.

mod explain;
mod listed;
mod shown;
mod wait;

pub use self::{explain::explain, listed::list, shown::show, wait::wait};
