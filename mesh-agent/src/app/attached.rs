//! What is attached for each pod: one program at its listeners, two at the host end of its interface.

use super::{config, engine::Engine, listeners::Listeners, programs, readiness::Readiness, wire::Wire};
use crate::{
    datapath::{Ebpf, pins::Pins},
    sys::netns::Host,
};

/// Follows the pods. Where one of them can't be had the other works.
#[derive(Default)]
pub struct Attached {
    listeners: Option<Listeners>,
    wire: Option<Wire>,
}

impl Attached {
    /// Takes over what a previous agent attached; nothing is followed yet.
    pub fn start(
        wish: config::Packets,
        ebpf: &mut Ebpf,
        pins: &Pins,
        host: &Host,
        readiness: &Readiness,
    ) -> Self {
        Self {
            listeners: Listeners::start(ebpf, pins, readiness),
            wire: programs::count_packets(wish, ebpf, pins, host, readiness),
        }
    }

    /// Attaches where pods are now: first what refuses, then what counts.
    pub fn follow(&mut self, engine: &Engine) {
        let assignment = engine.assignment();
        if let Some(listeners) = &mut self.listeners {
            listeners.follow(assignment);
        }
        if let Some(wire) = &mut self.wire {
            wire.follow(assignment, |pod| engine.owner(pod));
        }
    }

    /// Tries again what could not be attached, where nothing else does.
    pub fn retry(&mut self) {
        self.listeners.iter_mut().for_each(Listeners::retry);
    }

    /// Asks the kernel what runs, and mends what was taken away.
    pub fn keep(&mut self) {
        self.listeners.iter_mut().for_each(Listeners::keep);
        self.wire.iter_mut().for_each(Wire::keep);
    }

    /// The packet programs.
    pub const fn wire(&self) -> Option<&Wire> {
        self.wire.as_ref()
    }
}
