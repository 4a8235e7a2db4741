//! The node agent of the mesh: keeps the kernel's tables equal to what Kubernetes says.

pub mod app;
pub mod causes;
pub mod cli;
pub mod datapath;
pub mod model;
pub mod pods;
pub mod source;
pub mod sys;
pub mod telemetry;
