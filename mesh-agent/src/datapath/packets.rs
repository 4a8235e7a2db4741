//! The packet programs at the host ends of the pods' interfaces.

pub mod clsact;
mod filter;
mod owners;
mod survey;
mod tcx;
mod way;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::{Ebpf, programs::ProgramError};
use thiserror::Error;

use self::clsact::ClsactError;
use self::owners::Owners;
pub use self::{owners::Owner, survey::Survey, way::Way};
use super::{
    hooks::{self, Hook},
    pins::Pins,
    readings::Readings,
    tables::TableError,
};
use crate::sys::{
    bpf::{self, AttachType},
    netns::Host,
};

/// Both directions, by name of program.
pub const HOOKS: [Hook; 2] = [
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
    /// It can't be attached.
    #[error("attaching {program} to interface {ifindex} by {way}: {source}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface.
        ifindex: u32,
        /// How.
        way: Way,
        /// The reason.
        source: ClsactError,
    },
    /// What is attached can't be listed or removed.
    #[error("packet programs: {0}")]
    Kernel(#[from] io::Error),
    /// The totals can't be read or written.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl PacketError {
    /// Whether the interface is gone: its pod ended.
    fn is_gone(&self) -> bool {
        let (Self::Attach {
            source: ClsactError::Kernel(source),
            ..
        }
        | Self::Kernel(source)) = self
        else {
            return false;
        };
        source.raw_os_error() == Some(libc::ENODEV)
    }
}

/// A packet program of ours, its descriptor and its id.
struct Loaded {
    hook: Hook,
    program: OwnedFd,
    id: u32,
}

/// What keeps packets from being counted, by interface.
pub type Shortfall = BTreeMap<u32, String>;

/// Attaches the packet programs where pods are, and nowhere else.
pub struct Packets {
    host: Host,
    pins: Pins,
    programs: Vec<Loaded>,
    readings: Readings,
    owners: Owners,
    way: Way,
    /// By name of program, interface and way. A previous agent may have gone the other way.
    attached: BTreeSet<(&'static str, u32, Way)>,
    /// Interfaces where another tool lets us see packets from the pod only.
    one_way: BTreeSet<u32>,
}

impl Packets {
    /// Loads the programs and takes over what a previous agent attached to the host's interfaces. `wish` is the
    /// way to go; by default the best that the kernel offers.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn start(ebpf: &mut Ebpf, pins: &Pins, host: &Host, wish: Option<Way>) -> Result<Self, PacketError> {
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
            let program = hooks::fd(program).map_err(failed)?.try_clone_to_owned()?;
            let id = bpf::program_id(program.as_fd())?;
            programs.push(Loaded { hook, program, id });
        }
        let offered = Way::offered(programs[0].program.as_fd());
        let mut packets = Self {
            host: host.clone(),
            pins: pins.clone(),
            programs,
            readings: Readings::open(pins)?,
            owners: Owners::open(pins)?,
            way: wish.map_or(offered, Ok)?,
            attached: BTreeSet::new(),
            one_way: BTreeSet::new(),
        };
        packets.adopt()?;
        Ok(packets)
    }

    /// How the programs are attached.
    #[must_use]
    pub const fn way(&self) -> Way {
        self.way
    }

    /// Interfaces where only packets from the pod are counted, since another tool is in the way of the others.
    #[must_use]
    pub const fn one_way(&self) -> &BTreeSet<u32> {
        &self.one_way
    }

    /// Where the interfaces are.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Attaches to the interfaces that are new and leaves those that are no longer wanted; each with the pod at its other
    /// end, where that is known. An interface that fails is reported and may be tried again; the others are not held up.
    pub fn sync(&mut self, wanted: &BTreeMap<u32, Option<Owner>>) -> Vec<PacketError> {
        let host = self.host.clone();
        host.run(|| Ok(self.sync_here(wanted)))
            .unwrap_or_else(|error| vec![error.into()])
    }

    fn sync_here(&mut self, wanted: &BTreeMap<u32, Option<Owner>>) -> Vec<PacketError> {
        let mut errors = Vec::new();
        // Before anything is detached: what still runs there must not take an interface for a pod's that has gone.
        errors.extend(self.owners.keep(wanted).err().map(PacketError::from));
        let present: BTreeSet<u32> = self.attached.iter().map(|(_, ifindex, _)| *ifindex).collect();
        for ifindex in present.iter().filter(|ifindex| !wanted.contains_key(ifindex)) {
            errors.extend(self.leave(*ifindex).err());
        }
        for (ifindex, owner) in wanted {
            errors.extend(self.enter(*ifindex, *owner).err());
        }
        errors.retain(|error| !error.is_gone());
        errors
    }

    /// Asks the kernel what runs at the wanted interfaces, and forgets what was believed to run and does not:
    /// the next [`Self::sync`] attaches it again.
    pub fn verify(&mut self, wanted: &BTreeSet<u32>) -> Shortfall {
        let host = self.host.clone();
        host.run(|| Ok(self.verify_here(wanted))).unwrap_or_else(|error| {
            let why = format!("the host's network namespace can't be entered: {error}");
            wanted.iter().map(|ifindex| (*ifindex, why.clone())).collect()
        })
    }

    fn verify_here(&mut self, wanted: &BTreeSet<u32>) -> Shortfall {
        let survey = Survey::of(self.way, &self.pins);
        let mut shortfall = Shortfall::new();
        for (ifindex, Loaded { hook, id, .. }) in wanted
            .iter()
            .flat_map(|ifindex| self.programs.iter().map(move |loaded| (*ifindex, loaded)))
        {
            let place = (hook.program, ifindex, self.way);
            if self.one_way.contains(&ifindex) && !self.attached.contains(&place) {
                continue;
            }
            let why = match survey.running(*hook, ifindex) {
                Ok(running) if running == *id => continue,
                Ok(other) => format!("program {other} runs in its place"),
                Err(why) => why,
            };
            self.attached.remove(&place);
            let line = format!("{} is not at interface {ifindex}: {why}", hook.program);
            let lines = shortfall.entry(ifindex).or_default();
            *lines = if lines.is_empty() {
                line
            } else {
                format!("{lines}, {line}")
            };
        }
        shortfall
    }

    /// Attaches what is missing at an interface. Whose it is stands there before the first packet.
    fn enter(&mut self, ifindex: u32, owner: Option<Owner>) -> Result<(), PacketError> {
        match owner {
            Some(owner) => self.owners.set(ifindex, owner)?,
            None => self.owners.clear(ifindex)?,
        }
        // First away with what a previous agent attached the other way: rather a packet uncounted than twice.
        self.detach(ifindex, self.way.other())?;
        self.one_way.remove(&ifindex);
        for Loaded { hook, program, .. } in &self.programs {
            let place = (hook.program, ifindex, self.way);
            if self.attached.contains(&place) {
                continue;
            }
            self.readings.add_interface(ifindex)?;
            let done = match self.way {
                Way::Tcx => tcx::attach(&self.pins, *hook, ifindex, program.as_fd()).map_err(Into::into),
                Way::Clsact => clsact::attach(*hook, ifindex, program.as_fd()),
            };
            match done {
                Err(ClsactError::OneWay) => {
                    self.one_way.insert(ifindex);
                    continue;
                }
                done => done.map_err(|source| PacketError::Attach {
                    program: hook.program,
                    ifindex,
                    way: self.way,
                    source,
                })?,
            }
            self.attached.insert(place);
        }
        Ok(())
    }

    fn leave(&mut self, ifindex: u32) -> Result<(), PacketError> {
        for way in Way::ALL {
            self.detach(ifindex, way)?;
        }
        self.one_way.remove(&ifindex);
        self.readings.remove_interface(ifindex)?;
        Ok(())
    }

    /// Takes away what is attached to an interface in one way.
    fn detach(&mut self, ifindex: u32, way: Way) -> io::Result<()> {
        let there = |place: &(&str, u32, Way)| (place.1, place.2) == (ifindex, way);
        if !self.attached.iter().any(there) {
            return Ok(());
        }
        match way {
            Way::Tcx => HOOKS
                .into_iter()
                .try_for_each(|hook| tcx::detach(&self.pins, hook, ifindex))?,
            Way::Clsact => match clsact::detach(ifindex) {
                // The filters went with the interface.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                done => done.map(drop)?,
            },
        }
        self.attached.retain(|place| !there(place));
        Ok(())
    }

    /// Makes what a previous agent attached run our programs, without a gap; what it attached the other way is
    /// noted. Links whose interface is gone are removed.
    fn adopt(&mut self) -> Result<(), PacketError> {
        let links = tcx::pinned(&self.pins)?.into_iter();
        let links = links.map(|(hook, ifindex)| (hook, ifindex, Way::Tcx));
        let filters = self.host.run(clsact::installed)?.into_iter();
        let filters = filters.map(|(hook, ifindex, _)| (hook, ifindex, Way::Clsact));
        for (hook, ifindex, way) in links.chain(filters) {
            if way != self.way || self.take_over(hook, ifindex) {
                self.attached.insert((hook.program, ifindex, way));
            } else if way == Way::Tcx {
                tcx::detach(&self.pins, hook, ifindex)?;
            }
        }
        Ok(())
    }

    fn take_over(&self, hook: Hook, ifindex: u32) -> bool {
        let ours = self
            .programs
            .iter()
            .find(|ours| ours.hook.program == hook.program);
        let Some(program) = ours.map(|ours| ours.program.as_fd()) else {
            return false;
        };
        let taken = match self.way {
            Way::Tcx => tcx::take_over(&self.pins, hook, ifindex, program).map_err(Into::into),
            Way::Clsact => {
                let attach = || Ok(clsact::attach(hook, ifindex, program));
                let done = self.host.run(attach).unwrap_or_else(|error| Err(error.into()));
                done.map(|()| true)
            }
        };
        taken.unwrap_or_else(|error| {
            tracing::info!(program = hook.program, ifindex, %error, "can't be taken over; attaching anew");
            false
        })
    }
}

/// Removes our filters from every interface of the host, as `mesh-agent cleanup` wants it; returns what was
/// removed. Links go with their pins.
///
/// # Errors
/// The kernel's.
pub fn remove_filters(host: &Host) -> io::Result<Vec<String>> {
    host.run(remove_filters_here)
}

fn remove_filters_here() -> io::Result<Vec<String>> {
    let interfaces: BTreeSet<u32> = clsact::installed()?
        .into_iter()
        .map(|(_, ifindex, _)| ifindex)
        .collect();
    let mut removed = Vec::new();
    for ifindex in interfaces {
        let programs = clsact::detach(ifindex)?;
        removed.extend(
            programs
                .iter()
                .map(|program| format!("{program} at interface {ifindex}")),
        );
    }
    Ok(removed)
}
