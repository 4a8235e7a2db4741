//! What the kernel's tables say of a service, read by their layout: a second opinion beside the agent's.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mesh_common::abi::{ABI_VERSION, map};
use mesh_common::addr::Protocol;
use mesh_common::config::Config;
use mesh_common::service::Region;
use mesh_common::tag::Tagged;

use crate::kernel::Table;
use crate::sandbox::Sandbox;

/// The pinned tables that a connect reads.
#[derive(Debug)]
pub struct Tables {
    services: Table,
    info: Table,
    slots: Table,
    backends: Table,
    members: Table,
    config: Table,
}

impl Tables {
    /// Those of a node whose agent has started.
    pub fn open(sandbox: &Sandbox) -> io::Result<Self> {
        let maps = sandbox.bpffs().join(format!("mesh/v{ABI_VERSION}/maps"));
        let open = |name| Table::open(&maps.join(name));
        Ok(Self {
            services: open(map::SERVICES)?,
            info: open(map::SERVICE_INFO)?,
            slots: open(map::LB_TABLE)?,
            backends: open(map::BACKENDS)?,
            members: open(map::MEMBERS)?,
            config: open(map::CONFIG)?,
        })
    }

    /// Where a connection to a service may go now, or a socket that was there before; `None` where the service is none
    /// of the mesh's.
    pub fn endpoints(
        &self,
        service: SocketAddr,
        protocol: Protocol,
    ) -> io::Result<Option<BTreeSet<SocketAddr>>> {
        let Some(tagged) = self.services.get(&frontend(service, protocol))? else {
            return Ok(None);
        };
        let id = Tagged(u64::from_ne_bytes(tagged)).id().to_ne_bytes();
        // Region, affinity, reserved.
        let info: Option<[u8; 16]> = self.info.get(&id)?;
        let region = info.map_or(0, |info| u64::from_ne_bytes(part(&info, 0)));
        let region = Region(region);
        let slots = region.offset()..region.offset() + region.len();
        let slots = slots.map(|slot| {
            // Backend, service.
            let slot: Option<[u8; 8]> = self.slots.get(&slot.to_ne_bytes())?;
            slot.map(|slot| part(&slot, 0)).ok_or_else(changed)
        });
        // Service, backend.
        let members = self.members.keys()?.into_iter();
        let members = members
            .filter(|key| key.starts_with(&id))
            .map(|key| Ok(part(&key, 4)));
        let ids = slots.chain(members);
        ids.map(|id| self.endpoint(id?))
            .collect::<io::Result<_>>()
            .map(Some)
    }

    /// Bytes of the configuration: written before each write to another table.
    pub fn config(&self) -> io::Result<[u8; size_of::<Config>()]> {
        Ok(self
            .config
            .get(&0_u32.to_ne_bytes())?
            .unwrap_or([0; size_of::<Config>()]))
    }

    fn endpoint(&self, id: [u8; 4]) -> io::Result<SocketAddr> {
        // Address, port, reserved, workload.
        let backend: [u8; 24] = self.backends.get(&id)?.ok_or_else(changed)?;
        let ip = IpAddr::V6(Ipv6Addr::from(part::<16>(&backend, 0))).to_canonical();
        Ok((ip, u16::from_be_bytes(part(&backend, 16))).into())
    }
}

fn changed() -> io::Error {
    io::Error::other("the tables changed meanwhile")
}

/// Address, port, protocol, reserved.
fn frontend(service: SocketAddr, protocol: Protocol) -> [u8; 20] {
    let ip = match service.ip() {
        IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip),
        IpAddr::V6(ip) => ip,
    };
    let mut key = [0; 20];
    key[..16].copy_from_slice(&ip.octets());
    key[16..18].copy_from_slice(&service.port().to_be_bytes());
    key[18] = protocol as u8;
    key
}

fn part<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[start..start + N]);
    part
}
