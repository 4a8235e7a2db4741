//! Asks the kernel what really runs for the sockets of the cgroup.

use std::{io, os::fd::AsFd};

use super::{hooks::HOOKS, links::Cgroup, pins::Pins};
use crate::sys::bpf::{self, Target};

/// A hook that does not run our program, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotAttached {
    /// The program.
    pub program: &'static str,
    /// What was seen instead.
    pub why: String,
}

/// Hooks whose pinned link is missing, dead, attached elsewhere, or not among the programs the kernel runs.
#[must_use]
pub fn not_attached(pins: &Pins, cgroup: &Cgroup) -> Vec<NotAttached> {
    HOOKS
        .into_iter()
        .filter_map(|hook| {
            let why = match look(pins, cgroup, hook) {
                Ok(None) => return None,
                Ok(Some(why)) => why,
                Err(error) => error.to_string(),
            };
            Some(NotAttached {
                program: hook.program,
                why,
            })
        })
        .collect()
}

fn look(pins: &Pins, cgroup: &Cgroup, hook: super::hooks::Hook) -> io::Result<Option<String>> {
    let path = pins.link(hook.program);
    let link = match bpf::open_pin(&path) {
        Ok(link) => link,
        Err(error) => {
            return Ok(Some(format!(
                "the pinned link {} can't be opened: {error}",
                path.display()
            )));
        }
    };
    let info = bpf::link_info(link.as_fd())?;
    let wanted = Target::Cgroup {
        id: cgroup.id()?,
        attach_type: hook.attach as u32,
    };
    if info.target != wanted {
        let place = cgroup.path().display();
        return Ok(Some(format!(
            "link {} is attached to {:?}, not to {place} ({wanted:?})",
            info.id, info.target
        )));
    }
    let effective = bpf::effective_programs(cgroup.as_fd(), hook.attach)?;
    if !effective.contains(&info.program) {
        let id = info.program;
        return Ok(Some(format!(
            "program {id} is not among those the kernel runs there: {effective:?}"
        )));
    }
    Ok(None)
}
