//! `INTERFACES`: whose the other end of an interface is, for the packet programs.

use std::collections::BTreeMap;

use mesh_common::{
    abi::map,
    packet::{InterfaceSlot, PLACES, places},
};

use crate::datapath::{
    pins::Pins,
    tables::{Slots, TableError, refused},
};

/// The pod at the other end of an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owner {
    /// Its workload id.
    pub workload: u32,
    /// [`mesh_common::workload::flag::CLOSED`] where nothing may pass as long as no rules are known for it.
    pub flags: u8,
}

/// What the programs know of interfaces.
pub struct Owners(Slots<InterfaceSlot>);

impl Owners {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// Where it is missing or can't be opened.
    pub fn open(pins: &Pins) -> Result<Self, TableError> {
        Slots::open(pins, map::INTERFACES).map(Self)
    }

    /// Says whose an interface is, in one write: the programs find one pod or the other.
    ///
    /// # Errors
    /// The kernel's, or that all its places are taken.
    pub fn set(&mut self, ifindex: u32, owner: Owner) -> Result<(), TableError> {
        let slot = InterfaceSlot::new(ifindex, owner.workload, owner.flags);
        let place = match self.find(ifindex, ifindex)? {
            Some((_, there)) if there == slot => return Ok(()),
            Some((place, _)) => place,
            None => {
                let full = || {
                    let why = format!("all places for interface {ifindex} are taken");
                    refused(map::INTERFACES, std::io::Error::other(why))
                };
                self.find(ifindex, 0)?.ok_or_else(full)?.0
            }
        };
        self.0.set(place, slot)
    }

    /// An interface is nobody's any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&mut self, ifindex: u32) -> Result<(), TableError> {
        match self.find(ifindex, ifindex)? {
            Some((place, _)) => self.0.set(place, InterfaceSlot::default()),
            None => Ok(()),
        }
    }

    /// Clears every interface but these: a previous agent knew others.
    ///
    /// # Errors
    /// The kernel's.
    pub fn keep(&mut self, wanted: &BTreeMap<u32, Option<Owner>>) -> Result<(), TableError> {
        for (place, slot) in self.0.get_all(0..PLACES)? {
            let owned = wanted.get(&slot.ifindex).is_some_and(Option::is_some);
            if slot.ifindex != 0 && !owned {
                self.0.set(place, InterfaceSlot::default())?;
            }
        }
        Ok(())
    }

    /// The first of an interface's places that this one has; 0: nobody.
    fn find(&self, ifindex: u32, holder: u32) -> Result<Option<(u32, InterfaceSlot)>, TableError> {
        for place in places(ifindex) {
            if let Some(slot) = self.0.get(place)?
                && slot.ifindex == holder
            {
                return Ok(Some((place, slot)));
            }
        }
        Ok(None)
    }
}
