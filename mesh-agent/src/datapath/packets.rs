//! The packet programs at the host ends of the pods' interfaces.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::{Ebpf, programs::ProgramError};
use thiserror::Error;

use super::{
    hooks::{self, Hook},
    pins::Pins,
    readings::Readings,
    tables::TableError,
};
use crate::sys::bpf::{self, AttachType, Target};

/// Both directions, by name of program.
const HOOKS: [Hook; 2] = [
    Hook {
        program: "mesh_from_pod",
        attach: AttachType::TcxIngress,
    },
    Hook {
        program: "mesh_to_pod",
        attach: AttachType::TcxEgress,
    },
];

/// Why packets can't be counted.
#[derive(Debug, Error)]
pub enum PacketError {
    /// The kernel refused the program.
    #[error("loading the program {program}: {source}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The reason.
        source: Box<ProgramError>,
    },
    /// The kernel refused to attach it.
    #[error("attaching {program} to interface {ifindex}: {source}{hint}", hint = hint(.source))]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface.
        ifindex: u32,
        /// The reason.
        source: io::Error,
    },
    /// The pins can't be read or written.
    #[error("pins: {0}")]
    Pins(#[from] io::Error),
    /// The totals can't be read or written.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Attaches the packet programs where pods are, and nowhere else.
pub struct Packets {
    pins: Pins,
    programs: Vec<(Hook, OwnedFd)>,
    readings: Readings,
    /// By name of program and interface.
    attached: BTreeSet<(&'static str, u32)>,
}

impl Packets {
    /// Loads the programs and takes over what a previous agent attached.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn start(ebpf: &mut Ebpf, pins: &Pins) -> Result<Self, PacketError> {
        let mut programs = Vec::new();
        for hook in HOOKS {
            let failed = |source| PacketError::Program {
                program: hook.program,
                source: Box::new(source),
            };
            let program = ebpf
                .program_mut(hook.program)
                .ok_or_else(|| failed(ProgramError::NotLoaded))?;
            hooks::load(program).map_err(failed)?;
            programs.push((hook, hooks::fd(program).map_err(failed)?.try_clone_to_owned()?));
        }
        let mut packets = Self {
            pins: pins.clone(),
            programs,
            readings: Readings::open(pins)?,
            attached: BTreeSet::new(),
        };
        packets.adopt()?;
        Ok(packets)
    }

    /// Attaches to the interfaces that are new and leaves those that are no longer wanted. An interface that
    /// fails is reported and tried again at the next call; the others are not held up.
    pub fn sync(&mut self, wanted: &BTreeSet<u32>) -> Vec<PacketError> {
        let mut errors = Vec::new();
        let present: BTreeSet<u32> = self.attached.iter().map(|(_, ifindex)| *ifindex).collect();
        for ifindex in present.difference(wanted) {
            errors.extend(self.leave(*ifindex).err());
        }
        for ifindex in wanted {
            errors.extend(self.enter(*ifindex).err());
        }
        errors
    }

    /// Attaches what is missing at an interface.
    fn enter(&mut self, ifindex: u32) -> Result<(), PacketError> {
        for (hook, program) in &self.programs {
            if self.attached.contains(&(hook.program, ifindex)) {
                continue;
            }
            self.readings.add_interface(ifindex)?;
            let failed = |source| PacketError::Attach {
                program: hook.program,
                ifindex,
                source,
            };
            let link = bpf::attach_to_interface(program.as_fd(), ifindex, hook.attach).map_err(failed)?;
            self.pins.replace_link(&pin_name(*hook, ifindex), link.as_fd())?;
            self.attached.insert((hook.program, ifindex));
        }
        Ok(())
    }

    fn leave(&mut self, ifindex: u32) -> Result<(), PacketError> {
        for hook in HOOKS {
            self.pins.remove_link(&pin_name(hook, ifindex))?;
            self.attached.remove(&(hook.program, ifindex));
        }
        self.readings.remove_interface(ifindex)?;
        Ok(())
    }

    /// Makes the links of a previous agent run our programs; those whose interface is gone are removed.
    fn adopt(&mut self) -> Result<(), PacketError> {
        for name in self.pins.links()? {
            let Some((hook, ifindex)) = parse_pin_name(&name) else {
                continue;
            };
            let program = self
                .programs
                .iter()
                .find(|(ours, _)| ours.program == hook.program);
            if program.is_some_and(|(_, program)| self.take_over(&name, hook, ifindex, program.as_fd())) {
                self.attached.insert((hook.program, ifindex));
            } else {
                self.pins.remove_link(&name)?;
            }
        }
        Ok(())
    }

    fn take_over(&self, name: &str, hook: Hook, ifindex: u32, program: BorrowedFd<'_>) -> bool {
        let taken = bpf::open_pin(&self.pins.link(name)).and_then(|link| {
            let target = bpf::link_info(link.as_fd())?.target;
            if target
                != (Target::Interface {
                    ifindex,
                    attach_type: hook.attach as u32,
                })
            {
                return Ok(false);
            }
            bpf::link_update(link.as_fd(), program).map(|()| true)
        });
        taken.unwrap_or_else(|error| {
            tracing::info!(link = name, %error, "the link can't be taken over; attaching anew");
            false
        })
    }
}

/// The next step for the error that has one.
fn hint(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(libc::EINVAL) {
        " (tcx needs kernel 6.6 or newer)"
    } else {
        ""
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
