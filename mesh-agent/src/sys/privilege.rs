//! What this process may do.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// A capability the agent cannot do without, and why.
const NEEDED: [(CapabilitySet, &str, &str); 4] = [
    (CapabilitySet::BPF, "CAP_BPF", "to load programs and maps"),
    (
        CapabilitySet::NET_ADMIN,
        "CAP_NET_ADMIN",
        "to attach programs to cgroups and interfaces",
    ),
    (
        CapabilitySet::PERFMON,
        "CAP_PERFMON",
        "to load programs that the verifier otherwise takes for a leak by speculation, and to read the kernel's sockets",
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
    let held = capabilities(None)?.permitted;
    Ok(lacking(held))
}

/// What only threads that enter a namespace need: the kernel takes it in place of many other capabilities, so whoever
/// has it does not notice what else is missing, or what it does without need.
const ENTERING: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// Lays aside what is needed to enter namespaces, in this thread and those it starts from now on.
///
/// # Errors
/// The kernel's.
pub fn lay_aside() -> io::Result<()> {
    change(|sets| sets.effective - ENTERING)
}

/// Lets the calling thread enter namespaces, where the process may.
///
/// # Errors
/// The kernel's.
pub fn take_up() -> io::Result<()> {
    change(|sets| sets.effective | sets.permitted & ENTERING)
}

fn change(effective: impl FnOnce(CapabilitySets) -> CapabilitySet) -> io::Result<()> {
    let sets = capabilities(None)?;
    let effective = effective(sets);
    Ok(set_capabilities(None, CapabilitySets { effective, ..sets })?)
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
        let held = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
        assert_eq!(
            lacking(held),
            ["CAP_NET_ADMIN (to attach programs to cgroups and interfaces)"]
        );
    }
}
