//! What the kernel should hold, as pure functions of what Kubernetes says. No tokio, kube or aya in here.

pub mod desired;
pub mod op;
