//! The maps the agent writes, typed.

use std::collections::BTreeSet;

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, lpm_trie};
use mesh_common::{
    abi::map,
    addr::Addr,
    config::Config,
    policy::PolicyKey,
    rules::{CidrKey, PodRules, Source, SourceKey},
    service::{Backend, Frontend, Member, ServiceInfo, Slot},
    tag::Tagged,
    workload::PodRef,
};
use thiserror::Error;

use super::pins::Pins;
use crate::{
    model::op::{Observed, Op, Touched},
    model::policy::{self, sources::SourceOp},
    sys::raw::{Data, Raw},
};

/// A map that can't be read or written.
#[derive(Debug, Error)]
#[error("map {map}: {source}")]
pub struct TableError {
    /// The map.
    pub map: &'static str,
    /// The kernel's reason.
    pub source: MapError,
}

/// The tables the agent writes, and those it reads.
pub struct Tables {
    pods: Hash<u64, PodRef>,
    pending: Hash<u64, PodRef>,
    workloads: Hash<Addr, Tagged>,
    services: Hash<Frontend, Tagged>,
    service_info: Slots<ServiceInfo>,
    lb_table: Slots<Slot>,
    backends: Slots<Backend>,
    members: Hash<Member, u32>,
    policy: Hash<PolicyKey, Tagged>,
    classes: Hash<Addr, Tagged>,
    cidrs: Prefixes<Addr>,
    sources: Prefixes<Source>,
    pod_rules: Hash<u32, PodRules>,
    config: Slots<Config>,
}

impl Tables {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// The first map that is missing or can't be opened.
    pub fn open(pins: &Pins) -> Result<Self, TableError> {
        Ok(Self {
            pods: Hash::open(pins, map::PODS)?,
            pending: Hash::open(pins, map::PENDING_PODS)?,
            workloads: Hash::open(pins, map::WORKLOADS)?,
            services: Hash::open(pins, map::SERVICES)?,
            service_info: Slots::open(pins, map::SERVICE_INFO)?,
            lb_table: Slots::open(pins, map::LB_TABLE)?,
            backends: Slots::open(pins, map::BACKENDS)?,
            members: Hash::open(pins, map::MEMBERS)?,
            policy: Hash::open(pins, map::POLICY)?,
            classes: Hash::open(pins, map::CLASSES)?,
            cidrs: Prefixes::open(pins, map::CIDRS)?,
            sources: Prefixes::open(pins, map::SOURCES)?,
            pod_rules: Hash::open(pins, map::POD_RULES)?,
            config: Slots::open(pins, map::CONFIG)?,
        })
    }

    /// Carries out one write.
    ///
    /// # Errors
    /// The kernel's, with the map's name.
    pub fn apply(&mut self, op: &Op) -> Result<(), TableError> {
        match op {
            Op::SetBackend { id, backend } => self.backends.set(*id, *backend),
            Op::SetSlots { offset, slots } => (*offset..)
                .zip(slots)
                .try_for_each(|(index, slot)| self.lb_table.set(index, *slot)),
            Op::SetServiceInfo { id, info } => self.service_info.set(*id, *info),
            Op::SetFrontend { frontend, value } => self.services.set(*frontend, *value),
            Op::RemoveFrontend(frontend) => self.services.remove(*frontend),
            Op::AddMember(member) => self.members.set(*member, 1),
            Op::RemoveMember(member) => self.members.remove(*member),
            Op::SetWorkload { addr, value } => self.workloads.set(*addr, *value),
            Op::RemoveWorkload(addr) => self.workloads.remove(*addr),
            Op::SetPod { netns, pod } => self.pods.set(*netns, *pod),
            Op::RemovePod(netns) => self.pods.remove(*netns),
            Op::SetPending { cgroup, pod } => self.pending.set(*cgroup, *pod),
            Op::RemovePending(cgroup) => self.pending.remove(*cgroup),
        }
    }

    /// Carries out one write to the tables of policies.
    ///
    /// # Errors
    /// The kernel's, with the map's name.
    pub fn apply_policy(&mut self, op: &policy::Op) -> Result<(), TableError> {
        match op {
            policy::Op::SetRule { key, value } => self.policy.set(*key, *value),
            policy::Op::RemoveRule(key) => self.policy.remove(*key),
            policy::Op::SetClass { addr, value } => self.classes.set(*addr, *value),
            policy::Op::RemoveClass(addr) => self.classes.remove(*addr),
            policy::Op::SetCidr { prefix, class } => self.cidrs.set(prefix.length, prefix.addr, *class),
            policy::Op::RemoveCidr(prefix) => self.cidrs.remove(prefix.length, prefix.addr),
            policy::Op::SetPodRules { workload, rules } => self.pod_rules.set(*workload, *rules),
            policy::Op::RemovePodRules(workload) => self.pod_rules.remove(*workload),
            policy::Op::JudgeAgain => {
                let config = self.config()?;
                self.set_config(Config {
                    policy: config.policy.wrapping_add(1),
                    ..config
                })
            }
        }
    }

    /// Reads the tables of policies back.
    ///
    /// # Errors
    /// The kernel's, with the map's name.
    pub fn observe_policy(&self) -> Result<policy::Observed, TableError> {
        Ok(policy::Observed {
            rules: self.policy.entries()?,
            classes: self.classes.entries()?,
            cidrs: self
                .cidrs
                .entries()?
                .into_iter()
                .map(|(length, addr, class)| (CidrKey { length, addr }, class))
                .collect(),
            pods: self.pod_rules.entries()?,
        })
    }

    /// Carries out one write to the addresses that pods may use beside their own.
    ///
    /// # Errors
    /// The kernel's, with the map's name.
    pub fn apply_source(&mut self, op: &SourceOp) -> Result<(), TableError> {
        match op {
            SourceOp::Allow(key) => self.sources.set(key.length, key.source, 1),
            SourceOp::Forbid(key) => self.sources.remove(key.length, key.source),
        }
    }

    /// Reads the addresses that pods may use beside their own back.
    ///
    /// # Errors
    /// The kernel's, with the map's name.
    pub fn observe_sources(&self) -> Result<BTreeSet<SourceKey>, TableError> {
        let entries = self.sources.entries()?.into_iter();
        Ok(entries
            .map(|(length, source, _)| SourceKey { length, source })
            .collect())
    }

    /// Reads everything but the tables of policies back.
    ///
    /// # Errors
    /// The kernel's, with the map's name.
    pub fn observe(&self) -> Result<Observed, TableError> {
        let frontends = self.services.entries()?;
        let mut ids: Vec<u32> = frontends.iter().map(|(_, value)| value.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        let services = self.service_info.get_all(ids)?;
        let mut regions = Vec::with_capacity(services.len());
        for region in services
            .iter()
            .map(|(_, info)| info.region)
            .filter(|region| !region.is_empty())
        {
            let range = region.offset()..region.offset().saturating_add(region.len());
            let slots = self
                .lb_table
                .get_all(range)?
                .into_iter()
                .map(|(_, slot)| slot)
                .collect();
            regions.push((region.offset(), slots));
        }
        let mut used: Vec<u32> = regions
            .iter()
            .flat_map(|(_, slots)| slots)
            .map(|slot: &Slot| slot.backend)
            .collect();
        used.sort_unstable();
        used.dedup();
        Ok(Observed {
            frontends,
            services,
            regions,
            backends: self.backends.get_all(used)?,
            members: self
                .members
                .entries()?
                .into_iter()
                .map(|(member, _)| member)
                .collect(),
            workloads: self.workloads.entries()?,
            pods: self.pods.entries()?,
            pending: self.pending.entries()?,
            touched: self.touched()?,
        })
    }

    fn touched(&self) -> Result<Option<Touched>, TableError> {
        let config = self.config()?;
        Ok((config.abi != 0).then(|| Touched::from(&config)))
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// The kernel's.
    pub fn config(&self) -> Result<Config, TableError> {
        self.config.get(0).map(Option::unwrap_or_default)
    }

    /// Writes the configuration.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_config(&mut self, config: Config) -> Result<(), TableError> {
        self.config.set(0, config)
    }
}

/// Every entry of a pinned hash map, whoever writes it.
///
/// # Errors
/// Where it is missing or can't be read, or has keys or values of another size.
pub fn entries<K: Data, V: Data>(pins: &Pins, name: &'static str) -> Result<Vec<(K, V)>, TableError> {
    Hash::open(pins, name)?.entries()
}

/// How many entries a pinned hash map has, whoever writes it.
///
/// # Errors
/// Where it is missing or can't be read, or has keys or values of another size.
pub fn count<K: Data, V: Data>(pins: &Pins, name: &'static str) -> Result<usize, TableError> {
    let table = Hash::<K, V>::open(pins, name)?;
    counted(name, table.map.keys())
}

/// Every entry of a pinned table that is looked up by the longest prefix: length in bits, prefix, value.
///
/// # Errors
/// As for [`entries`].
pub fn prefixes<K: Data>(pins: &Pins, name: &'static str) -> Result<Vec<(u32, K, u32)>, TableError> {
    Prefixes::open(pins, name)?.entries()
}

/// How many entries such a table has.
///
/// # Errors
/// As for [`entries`].
pub fn count_prefixes<K: Data>(pins: &Pins, name: &'static str) -> Result<usize, TableError> {
    let table = Prefixes::<K>::open(pins, name)?;
    counted(name, table.map.keys())
}

fn counted<K>(
    name: &'static str,
    mut keys: impl Iterator<Item = Result<K, MapError>>,
) -> Result<usize, TableError> {
    keys.try_fold(0, |count, key| key.map(|_| count + 1))
        .map_err(|source| TableError { map: name, source })
}

/// Every element of a pinned array.
///
/// # Errors
/// Where it is missing or can't be read, or has elements of another size.
pub fn elements<V: Data>(pins: &Pins, name: &'static str) -> Result<Vec<(u32, V)>, TableError> {
    let slots = Slots::open(pins, name)?;
    slots.get_all(0..slots.map.len())
}

/// A hash map.
pub(super) struct Hash<K: Data, V: Data> {
    name: &'static str,
    map: HashMap<MapData, Raw<K>, Raw<V>>,
}

impl<K: Data, V: Data> Hash<K, V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, TableError> {
        let map = HashMap::try_from(open(pins, name, Map::HashMap)?)
            .map_err(|source| TableError { map: name, source })?;
        Ok(Self { name, map })
    }

    fn set(&mut self, key: K, value: V) -> Result<(), TableError> {
        self.map
            .insert(Raw(key), Raw(value), 0)
            .map_err(|source| TableError {
                map: self.name,
                source,
            })
    }

    fn remove(&mut self, key: K) -> Result<(), TableError> {
        match self.map.remove(&Raw(key)) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(TableError {
                map: self.name,
                source,
            }),
        }
    }

    /// `None` where there is no entry.
    pub(super) fn get(&self, key: K) -> Result<Option<V>, TableError> {
        match self.map.get(&Raw(key), 0) {
            Ok(Raw(value)) => Ok(Some(value)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(TableError {
                map: self.name,
                source,
            }),
        }
    }

    fn entries(&self) -> Result<Vec<(K, V)>, TableError> {
        let entry = |entry: Result<(Raw<K>, Raw<V>), MapError>| match entry {
            Ok((Raw(key), Raw(value))) => Some(Ok((key, value))),
            Err(MapError::KeyNotFound) => None,
            Err(source) => Some(Err(TableError {
                map: self.name,
                source,
            })),
        };
        self.map.iter().filter_map(entry).collect()
    }
}

/// An array.
pub(super) struct Slots<V: Data> {
    name: &'static str,
    map: Array<MapData, Raw<V>>,
}

impl<V: Data> Slots<V> {
    pub(super) fn open(pins: &Pins, name: &'static str) -> Result<Self, TableError> {
        let map = Array::try_from(open(pins, name, Map::Array)?)
            .map_err(|source| TableError { map: name, source })?;
        Ok(Self { name, map })
    }

    pub(super) fn set(&mut self, index: u32, value: V) -> Result<(), TableError> {
        self.map.set(index, Raw(value), 0).map_err(|source| TableError {
            map: self.name,
            source,
        })
    }

    /// `None` beyond the end.
    pub(super) fn get(&self, index: u32) -> Result<Option<V>, TableError> {
        if index >= self.map.len() {
            return Ok(None);
        }
        self.map
            .get(&index, 0)
            .map(|Raw(value)| Some(value))
            .map_err(|source| TableError {
                map: self.name,
                source,
            })
    }

    /// The elements that exist.
    pub(super) fn get_all(
        &self,
        indices: impl IntoIterator<Item = u32>,
    ) -> Result<Vec<(u32, V)>, TableError> {
        let element = |index| {
            self.get(index)
                .map(|value| value.map(|value| (index, value)))
                .transpose()
        };
        indices.into_iter().filter_map(element).collect()
    }
}

/// The table that is looked up by the longest prefix.
struct Prefixes<K: Data> {
    name: &'static str,
    map: LpmTrie<MapData, Raw<K>, u32>,
}

impl<K: Data> Prefixes<K> {
    fn open(pins: &Pins, name: &'static str) -> Result<Self, TableError> {
        let map = LpmTrie::try_from(open(pins, name, Map::LpmTrie)?)
            .map_err(|source| TableError { map: name, source })?;
        Ok(Self { name, map })
    }

    fn set(&mut self, length: u32, prefix: K, value: u32) -> Result<(), TableError> {
        let key = lpm_trie::Key::new(length, Raw(prefix));
        self.map
            .insert(&key, value, 0)
            .map_err(|source| self.error(source))
    }

    fn remove(&mut self, length: u32, prefix: K) -> Result<(), TableError> {
        let key = lpm_trie::Key::new(length, Raw(prefix));
        match self.map.remove(&key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(self.error(source)),
        }
    }

    fn entries(&self) -> Result<Vec<(u32, K, u32)>, TableError> {
        let entry = |entry: Result<(lpm_trie::Key<Raw<K>>, u32), MapError>| match entry {
            Ok((key, value)) => {
                let Raw(prefix) = key.data();
                Some(Ok((key.prefix_len(), prefix, value)))
            }
            Err(MapError::KeyNotFound) => None,
            Err(source) => Some(Err(self.error(source))),
        };
        self.map.iter().filter_map(entry).collect()
    }

    const fn error(&self, source: MapError) -> TableError {
        TableError {
            map: self.name,
            source,
        }
    }
}

/// What this side of the kernel does not do with a map.
pub(super) const fn refused(map: &'static str, why: std::io::Error) -> TableError {
    TableError {
        map,
        source: MapError::IoError(why),
    }
}

pub(super) fn open(
    pins: &Pins,
    name: &'static str,
    kind: impl FnOnce(MapData) -> Map,
) -> Result<Map, TableError> {
    MapData::from_pin(pins.map(name))
        .map(kind)
        .map_err(|source| TableError { map: name, source })
}
