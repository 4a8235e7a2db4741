//! The node agent of the mesh: keeps the kernel's tables equal to what Kubernetes says.

pub mod model;
