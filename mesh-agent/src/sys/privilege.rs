//! What this process may do.

use std::{io, thread};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// A capability the agent cannot do without, and why. `CAP_PERFMON` is none: where it is missing, programs that read the
/// kernel's memory are refused when they are loaded, and all others work.
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
        "to enter the network namespaces of pods, and to name other tools' programs",
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

/// What only threads need that enter a namespace, or open another tool's program: the kernel takes it in place of many other capabilities, so whoever
/// has it does not notice what else is missing, or what it does without need.
const ENTERING: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// Lays that aside, in this thread and those it starts from now on.
///
/// # Errors
/// The kernel's.
pub fn lay_aside() -> io::Result<()> {
    change(|sets| sets.effective - ENTERING)
}

/// Does what needs all that the process may, on a thread of its own that ends with it.
///
/// # Errors
/// The kernel's, and whatever `act` gives.
pub fn with_all<T: Send>(act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            change(|sets| sets.effective | sets.permitted & ENTERING)?;
            act()
        });
        done.join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that has all capabilities panicked")))
    })
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
        let held = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
        assert_eq!(
            lacking(held),
            ["CAP_NET_ADMIN (to attach programs to cgroups and interfaces)"]
        );
    }
}
