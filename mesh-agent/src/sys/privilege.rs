//! What this process may do.

use std::io;

use rustix::thread::{CapabilitySet, capabilities};

/// A capability the agent cannot do without, and why.
const NEEDED: [(CapabilitySet, &str, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF", "to load programs and maps"),
    (
        CapabilitySet::NET_ADMIN,
        "CAP_NET_ADMIN",
        "to attach programs to cgroups and interfaces",
    ),
    (
        CapabilitySet::SYS_ADMIN,
        "CAP_SYS_ADMIN",
        "to enter the network namespaces of pods",
    ),
];

/// The capabilities that are missing, each with what it is for.
///
/// # Errors
/// Where the kernel does not tell.
pub fn missing() -> io::Result<Vec<String>> {
    let held = capabilities(None)?.effective;
    Ok(lacking(held))
}

fn lacking(held: CapabilitySet) -> Vec<String> {
    let lacks = NEEDED
        .iter()
        .filter(|(capability, ..)| !held.contains(*capability));
    lacks.map(|(_, name, why)| format!("{name} ({why})")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_use() {
        assert_eq!(lacking(CapabilitySet::all()), Vec::<String>::new());
        let held = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
        assert_eq!(
            lacking(held),
            ["CAP_NET_ADMIN (to attach programs to cgroups and interfaces)"]
        );
    }
}
