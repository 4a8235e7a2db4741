//! By tcx: links, pinned as `PROGRAM_IFINDEX`.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use super::HOOKS;
use crate::{
    datapath::{hooks::Hook, pins::Pins},
    sys::bpf::{self, Target},
};

/// Attaches a program by a new link, in place of one that may be pinned.
///
/// # Errors
/// The kernel's: ENODEV where the interface is gone, EINVAL where the kernel has no tcx.
pub fn attach(pins: &Pins, hook: Hook, ifindex: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let link = bpf::attach_to_interface(program, ifindex, hook.attach)?;
    pins.replace_link(&pin_name(hook, ifindex), link.as_fd())
}

/// Removes the link; what is already gone is no error.
///
/// # Errors
/// The kernel's.
pub fn detach(pins: &Pins, hook: Hook, ifindex: u32) -> io::Result<()> {
    pins.remove_link(&pin_name(hook, ifindex))
}

/// The pinned links: program and interface, as their pins say.
///
/// # Errors
/// Where the directory can't be read.
pub fn pinned(pins: &Pins) -> io::Result<Vec<(Hook, u32)>> {
    let names = pins.links()?;
    Ok(names.iter().filter_map(|name| parse_pin_name(name)).collect())
}

/// Makes the link of a previous agent run our program, from its next packet on; `false` where the link is
/// attached elsewhere.
///
/// # Errors
/// The kernel's.
pub fn take_over(pins: &Pins, hook: Hook, ifindex: u32, program: BorrowedFd<'_>) -> io::Result<bool> {
    let link = bpf::open_pin(&pins.link(&pin_name(hook, ifindex)))?;
    if bpf::link_info(link.as_fd())?.target != target(hook, ifindex) {
        return Ok(false);
    }
    bpf::link_update(link.as_fd(), program).map(|()| true)
}

/// Id of the program that the kernel runs at an interface by our link; what it runs instead, in words, where
/// there is none.
///
/// # Errors
/// The kernel's.
pub fn running(pins: &Pins, hook: Hook, ifindex: u32) -> io::Result<Result<u32, String>> {
    let path = pins.link(&pin_name(hook, ifindex));
    let link = match bpf::open_pin(&path) {
        Ok(link) => link,
        Err(error) => {
            let path = path.display();
            return Ok(Err(format!("the pinned link {path} can't be opened: {error}")));
        }
    };
    let info = bpf::link_info(link.as_fd())?;
    let wanted = target(hook, ifindex);
    if info.target != wanted {
        let (id, found) = (info.id, info.target);
        return Ok(Err(format!(
            "link {id} is attached to {found:?}, not to {wanted:?}"
        )));
    }
    let programs = bpf::interface_programs(ifindex, hook.attach)?;
    if !programs.contains(&info.program) {
        let id = info.program;
        return Ok(Err(format!(
            "program {id} is not among those the kernel runs there: {programs:?}"
        )));
    }
    Ok(Ok(info.program))
}

const fn target(hook: Hook, ifindex: u32) -> Target {
    Target::Interface {
        ifindex,
        attach_type: hook.attach as u32,
    }
}

fn pin_name(hook: Hook, ifindex: u32) -> String {
    format!("{}_{ifindex}", hook.program)
}

fn parse_pin_name(name: &str) -> Option<(Hook, u32)> {
    HOOKS.into_iter().find_map(|hook| {
        let ifindex = name.strip_prefix(hook.program)?.strip_prefix('_')?;
        Some((hook, ifindex.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_say_program_and_interface() {
        let (hook, ifindex) = parse_pin_name("mesh_to_pod_17").unwrap();
        assert_eq!((hook.program, ifindex), ("mesh_to_pod", 17));
        assert_eq!(pin_name(hook, ifindex), "mesh_to_pod_17");
        assert!(parse_pin_name("mesh_connect4").is_none());
        assert!(parse_pin_name("mesh_to_pod_17_new").is_none());
    }
}
