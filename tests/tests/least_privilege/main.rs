//! What the manifests allow the agent is what it needs: with it everything works, and whatever is taken away is missed,
//! by name.

mod capabilities;
mod roles;
