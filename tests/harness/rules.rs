//! Rules of pods, written into the kernel's tables by hand: what the programs make of them, whoever fills the tables.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mesh_common::abi::{ABI_VERSION, map};
use mesh_common::addr::{Addr, Port};
use mesh_common::config::{Config, flag};
use mesh_common::policy::{ALLOW, ANYBODY, LENGTHS, PolicyKey, Transport};
use mesh_common::rules::PodRules;
use mesh_common::tag::{Tagged, hash_addr};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::kernel::Table;
use crate::sandbox::Sandbox;
use crate::wait::eventually;

/// An agent writes what it follows within this time.
const SOON: Duration = Duration::from_secs(5);

/// The tables that policies are in.
#[derive(Debug)]
pub struct Rules {
    policy: Table,
    classes: Table,
    pods: Table,
    workloads: Table,
    config: Table,
}

impl Rules {
    /// Those of a node whose agent has started. From now on the host's sockets are noted.
    pub fn open(sandbox: &Sandbox) -> Result<Self> {
        let maps = sandbox.bpffs().join(format!("mesh/v{ABI_VERSION}/maps"));
        let open = |name| Table::open(&maps.join(name)).with_context(|| format!("opening {name}"));
        let rules = Self {
            policy: open(map::POLICY)?,
            classes: open(map::CLASSES)?,
            pods: open(map::POD_RULES)?,
            workloads: open(map::WORKLOADS)?,
            config: open(map::CONFIG)?,
        };
        rules.set_policed(true)?;
        Ok(rules)
    }

    /// Says that pods here have rules, or that none has.
    pub fn set_policed(&self, on: bool) -> io::Result<()> {
        let key = 0_u32.to_ne_bytes();
        let bytes: [u8; size_of::<Config>()] = self.config.get(&key)?.unwrap_or([0; size_of::<Config>()]);
        let config = Config::read_from_bytes(&bytes).map_err(|_| io::Error::other("another layout"))?;
        self.config.put(&key, config.with(flag::POLICED, on).as_bytes())
    }

    /// Lets everybody come over a TCP port.
    pub fn allow(&self, set: u32, port: u16) -> io::Result<()> {
        self.put(set, ANYBODY, port)
    }

    /// Lets peers of a class come over a TCP port.
    pub fn allow_class(&self, set: u32, class: u32, port: u16) -> io::Result<()> {
        self.put(set, class, port)?;
        let listing = PolicyKey::listing(set, class);
        let exact = LENGTHS
            .iter()
            .position(|length| *length == 16)
            .unwrap_or_default();
        self.policy
            .put(listing.as_bytes(), listing.of_lengths(1 << exact).as_bytes())
    }

    /// Gives an address a class.
    pub fn class(&self, ip: IpAddr, class: u32) -> io::Result<()> {
        let addr = Addr::from(ip);
        let value = Tagged::new(class, 0, hash_addr(&addr));
        self.classes.put(addr.as_bytes(), value.as_bytes())
    }

    /// Makes the sets, ingress and egress, those of the pod with an address, which the agent knows or will soon.
    pub fn govern(&self, ip: IpAddr, sets: [u32; 2], flags: u8) -> Result<()> {
        let workload = self.workload(ip)?;
        let rules = PodRules::new(workload, sets, flags, [ANYBODY; 2], [Addr::default(); 2]);
        Ok(self.pods.put(workload.as_bytes(), rules.as_bytes())?)
    }

    /// Leaves the pod with an address without rules.
    pub fn release(&self, ip: IpAddr) -> Result<()> {
        let workload = self.workload(ip)?;
        Ok(self.pods.remove(workload.as_bytes())?)
    }

    fn put(&self, set: u32, class: u32, port: u16) -> io::Result<()> {
        let key = PolicyKey::new(set, class, Transport::Tcp as u8, Port::new(port), 16);
        self.policy
            .put(key.as_bytes(), Tagged::new(1, ALLOW, key.hash()).as_bytes())
    }

    fn workload(&self, ip: IpAddr) -> Result<u32> {
        let value = eventually(SOON, || {
            let value: Option<[u8; 8]> = self.workloads.get(Addr::from(ip).as_bytes())?;
            value.with_context(|| format!("no workload at {ip}"))
        })?;
        Ok(Tagged(u64::from_ne_bytes(value)).id())
    }
}
