//! The maps that only the programs write: totals, summed over all CPUs.

mod interfaces;

use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuHashMap};
use mesh_common::{
    abi::map,
    counter::Counter,
    flow::{Traffic, TrafficKey},
    packet::{PacketTotals, UdpKey, UdpTraffic},
};

use self::interfaces::Interfaces;
use super::{
    pins::Pins,
    tables::{TableError, open},
};
use crate::sys::raw::{Data, Raw};

/// The totals.
pub struct Readings {
    counters: PerCpuArray<MapData, u64>,
    traffic: Sums<TrafficKey, Traffic>,
    packets: Interfaces,
    udp: Sums<UdpKey, UdpTraffic>,
}

impl Readings {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// The first map that is missing or can't be opened.
    pub fn open(pins: &Pins) -> Result<Self, TableError> {
        let counters = open(pins, map::COUNTERS, Map::PerCpuArray)?;
        let failed = |source| TableError {
            map: map::COUNTERS,
            source,
        };
        Ok(Self {
            counters: PerCpuArray::try_from(counters).map_err(failed)?,
            traffic: Sums::open(pins, map::TRAFFIC)?,
            packets: Interfaces::open(pins)?,
            udp: Sums::open(pins, map::UDP_TRAFFIC)?,
        })
    }

    /// The node-wide counters, with their names for users.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<Vec<(Counter, &'static str, u64)>, TableError> {
        let sum = |(counter, name)| {
            let values = self.counters.get(&(counter as u32), 0);
            let values = values.map_err(|source| TableError {
                map: map::COUNTERS,
                source,
            })?;
            Ok((counter, name, values.iter().copied().fold(0, u64::wrapping_add)))
        };
        Counter::ALL.into_iter().map(sum).collect()
    }

    /// TCP totals by pod and service.
    ///
    /// # Errors
    /// The kernel's.
    pub fn traffic(&self) -> Result<Vec<(TrafficKey, Traffic)>, TableError> {
        self.traffic.all(Traffic::plus)
    }

    /// Packets by the index of the pod's host-side interface.
    ///
    /// # Errors
    /// The kernel's.
    pub fn packets(&self) -> Result<Vec<(u32, PacketTotals)>, TableError> {
        self.packets.all()
    }

    /// UDP flows at the pods' interfaces.
    ///
    /// # Errors
    /// The kernel's.
    pub fn udp(&self) -> Result<Vec<(UdpKey, UdpTraffic)>, TableError> {
        self.udp.all(UdpTraffic::plus)
    }

    /// Counts the packets of an interface from now on; what was counted before stays.
    ///
    /// # Errors
    /// The kernel's; the map may be full.
    pub fn add_interface(&mut self, ifindex: u32) -> Result<(), TableError> {
        self.packets.add(ifindex)
    }

    /// Forgets an interface.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_interface(&mut self, ifindex: u32) -> Result<(), TableError> {
        self.packets.remove(ifindex)
    }

    /// Forgets a UDP flow.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_udp(&mut self, flow: UdpKey) -> Result<(), TableError> {
        self.udp.remove(flow)
    }
}

/// A per-CPU hash map, read as sums.
struct Sums<K: Data, V: Data> {
    name: &'static str,
    map: PerCpuHashMap<MapData, Raw<K>, Raw<V>>,
}

impl<K: Data, V: Data + Default> Sums<K, V> {
    fn open(pins: &Pins, name: &'static str) -> Result<Self, TableError> {
        let map = open(pins, name, Map::PerCpuHashMap)?;
        let map = PerCpuHashMap::try_from(map).map_err(|source| TableError { map: name, source })?;
        Ok(Self { name, map })
    }

    fn all(&self, plus: impl Fn(V, V) -> V) -> Result<Vec<(K, V)>, TableError> {
        let sum = |entry| match entry {
            Ok((Raw(key), values)) => {
                let values: &aya::maps::PerCpuValues<Raw<V>> = &values;
                Some(Ok((
                    key,
                    values
                        .iter()
                        .fold(V::default(), |sum, Raw(value)| plus(sum, *value)),
                )))
            }
            Err(MapError::KeyNotFound) => None,
            Err(source) => Some(Err(self.failed(source))),
        };
        self.map.iter().filter_map(sum).collect()
    }

    fn remove(&mut self, key: K) -> Result<(), TableError> {
        match self.map.remove(&Raw(key)) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: MapError) -> TableError {
        TableError {
            map: self.name,
            source,
        }
    }
}
