//! `PACKETS`: the pods' interfaces, each in one of the few places where the programs look for it.

use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use mesh_common::{
    abi::map,
    packet::{PLACES, PacketSlot, PacketTotals, places},
};

use crate::{
    datapath::{
        pins::Pins,
        tables::{TableError, open},
    },
    sys::raw::Raw,
};

/// The totals by interface.
pub struct Interfaces(PerCpuArray<MapData, Raw<PacketSlot>>);

impl Interfaces {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// Where it is missing or can't be opened.
    pub fn open(pins: &Pins) -> Result<Self, TableError> {
        let map = open(pins, map::PACKETS, Map::PerCpuArray)?;
        PerCpuArray::try_from(map).map(Self).map_err(failed)
    }

    /// All interfaces, summed over the CPUs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn all(&self) -> Result<Vec<(u32, PacketTotals)>, TableError> {
        let mut all = Vec::new();
        for place in 0..PLACES {
            let (owner, totals) = self.at(place)?;
            if owner != 0 {
                all.push((owner, totals));
            }
        }
        Ok(all)
    }

    /// Gives an interface a place, with totals of zero; one that has a place keeps it, and its totals.
    ///
    /// # Errors
    /// The kernel's, or that all its places are taken.
    pub fn add(&mut self, ifindex: u32) -> Result<(), TableError> {
        if self.find(ifindex, ifindex)?.is_some() {
            return Ok(());
        }
        let free = self.find(ifindex, 0)?.ok_or_else(|| {
            failed(MapError::IoError(std::io::Error::other(format!(
                "all places for interface {ifindex} are taken"
            ))))
        })?;
        self.set(free, ifindex)
    }

    /// Frees the place of an interface.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&mut self, ifindex: u32) -> Result<(), TableError> {
        match self.find(ifindex, ifindex)? {
            Some(place) => self.set(place, 0),
            None => Ok(()),
        }
    }

    /// The first of an interface's places that this one owns; 0: nobody.
    fn find(&self, ifindex: u32, owner: u32) -> Result<Option<u32>, TableError> {
        for place in places(ifindex) {
            if self.at(place)?.0 == owner {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Who owns a place, and the sums.
    fn at(&self, place: u32) -> Result<(u32, PacketTotals), TableError> {
        let slots = self.0.get(&place, 0).map_err(failed)?;
        let owner = slots.first().map_or(0, |Raw(slot)| slot.ifindex);
        let sum = |sum: PacketTotals, Raw(slot): &Raw<PacketSlot>| sum.plus(slot.totals);
        Ok((owner, slots.iter().fold(PacketTotals::default(), sum)))
    }

    fn set(&mut self, place: u32, ifindex: u32) -> Result<(), TableError> {
        let slot = PacketSlot {
            ifindex,
            ..PacketSlot::default()
        };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(MapError::IoError(error)))?;
        let slots = PerCpuValues::try_from(vec![Raw(slot); cpus]);
        let slots = slots.map_err(|error| failed(MapError::IoError(error)))?;
        self.0.set(place, slots, 0).map_err(failed)
    }
}

fn failed(source: MapError) -> TableError {
    TableError {
        map: map::PACKETS,
        source,
    }
}
