//! The kernel's tables of policies, written by hand: what the programs do with them, whoever fills them.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use mesh_common::abi::{ABI_VERSION, map};
use mesh_common::addr::{Addr, Port};
use mesh_common::config::Config;
use mesh_common::policy::PolicyKey;
use mesh_common::rules::{PodRules, SourceKey};
use mesh_common::tag::{Tagged, hash_addr};

use crate::Pod;
use crate::kernel::Table;
use crate::sandbox::Sandbox;

/// The pinned tables.
#[derive(Debug)]
pub struct Policies {
    workloads: Table,
    rules: Table,
    pods: Table,
    classes: Table,
    sources: Table,
    config: Table,
}

impl Policies {
    /// Those of a node whose agent has started.
    pub fn open(sandbox: &Sandbox) -> Result<Self> {
        let maps = sandbox.bpffs().join(format!("mesh/v{ABI_VERSION}/maps"));
        let open = |name| Table::open(&maps.join(name));
        Ok(Self {
            workloads: open(map::WORKLOADS)?,
            rules: open(map::POLICY)?,
            pods: open(map::POD_RULES)?,
            classes: open(map::CLASSES)?,
            sources: open(map::SOURCES)?,
            config: open(map::CONFIG)?,
        })
    }

    /// Workload id of a pod.
    pub fn workload(&self, pod: &Pod) -> Result<u32> {
        let tagged = self.workloads.get(&addr(pod.v4()))?;
        Ok(Tagged(u64::from_ne_bytes(tagged.context("no such workload")?)).id())
    }

    /// Gives a pod its rule sets, ingress and egress, and flags.
    pub fn set(&self, pod: &Pod, sets: [u32; 2], flags: u8) -> Result<()> {
        let workload = self.workload(pod)?;
        let addrs = [pod.v4(), pod.v6()].map(Addr::from);
        let rules = PodRules::new(workload, sets, flags, [0; 2], addrs);
        let words = addrs.iter().flat_map(|addr| addr.0);
        let mut value = [rules.sets.0.to_ne_bytes(), rules.classes.0.to_ne_bytes()].concat();
        value.extend(words.flat_map(u32::to_ne_bytes));
        self.pods.put(&workload.to_ne_bytes(), &value)?;
        self.judge_again()
    }

    /// Lets a class pass through a set, to a port of a protocol; port 0 stands for all of them.
    pub fn allow(&self, set: u32, class: u32, protocol: u8, port: u16) -> Result<()> {
        let length = if port == 0 { 0 } else { 16 };
        let allowed = PolicyKey::new(set, class, protocol, Port::new(port), length);
        self.put_rule(&allowed, allowed.allowing(1))?;
        if class != 0 {
            let listing = PolicyKey::listing(set, class);
            self.put_rule(&listing, listing.of_lengths(0b10001))?;
        }
        Ok(())
    }

    fn put_rule(&self, key: &PolicyKey, value: Tagged) -> Result<()> {
        let mut bytes = [key.set.to_ne_bytes(), key.peer.to_ne_bytes()].concat();
        bytes.extend(key.port.get().to_be_bytes());
        bytes.extend([key.length, key.protocol]);
        Ok(self.rules.put(&bytes, &value.0.to_ne_bytes())?)
    }

    /// Puts an address into a class.
    pub fn classify(&self, ip: IpAddr, class: u32) -> Result<()> {
        let value = Tagged::new(class, 0, hash_addr(&ip.into()));
        Ok(self.classes.put(&addr(ip), &value.0.to_ne_bytes())?)
    }

    /// Lets a pod use one more address.
    pub fn lend(&self, pod: &Pod, ip: IpAddr) -> Result<()> {
        let key = SourceKey::host(self.workload(pod)?, ip.into());
        let mut bytes = [key.length.to_ne_bytes(), key.source.workload.to_ne_bytes()].concat();
        bytes.extend(addr(ip));
        Ok(self.sources.put(&bytes, &1_u32.to_ne_bytes())?)
    }

    /// Says that policies have changed.
    pub fn judge_again(&self) -> Result<()> {
        let at = core::mem::offset_of!(Config, policy);
        let key = 0_u32.to_ne_bytes();
        let mut config: [u8; size_of::<Config>()] = self.config.get(&key)?.context("no configuration")?;
        config[at] = config[at].wrapping_add(1);
        Ok(self.config.put(&key, &config)?)
    }
}

fn addr(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
