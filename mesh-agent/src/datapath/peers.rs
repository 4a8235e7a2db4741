//! Who an address belongs to, asked of the kernel's tables.

use aya::maps::{HashMap, Map, MapData};
use mesh_common::{
    abi::map,
    addr::{Addr, Port},
    packet::UdpServiceKey,
    tag::{Tagged, hash_addr},
};

use super::{
    pins::Pins,
    tables::{Hash, TableError, open},
};
use crate::sys::raw::Raw;

/// The tables that name the other end of a flow.
pub struct Peers {
    workloads: Hash<Addr, Tagged>,
    udp_services: HashMap<MapData, Raw<UdpServiceKey>, u32>,
}

impl Peers {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// The first map that is missing or can't be opened.
    pub fn open(pins: &Pins) -> Result<Self, TableError> {
        let services = open(pins, map::UDP_SERVICES, Map::LruHashMap)?;
        let failed = |source| TableError {
            map: map::UDP_SERVICES,
            source,
        };
        Ok(Self {
            workloads: Hash::open(pins, map::WORKLOADS)?,
            udp_services: HashMap::try_from(services).map_err(failed)?,
        })
    }

    /// Workload id of the pod with an address; 0 where it is no pod's, or can't be asked.
    #[must_use]
    pub fn workload(&self, addr: Addr) -> u32 {
        let found = self.workloads.get(addr).ok().flatten();
        found
            .filter(|value| value.belongs_to(hash_addr(&addr)))
            .map_or(0, Tagged::id)
    }

    /// Id of the service that a pod asked a backend for over UDP; 0 where it asked for none.
    #[must_use]
    pub fn udp_service(&self, netns: u64, addr: Addr, port: Port) -> u32 {
        self.udp_services
            .get(
                &Raw(UdpServiceKey {
                    netns,
                    addr,
                    port,
                    reserved: [0; 3],
                }),
                0,
            )
            .unwrap_or(0)
    }
}
