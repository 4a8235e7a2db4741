//! `map`: the maps of the mesh, and what is in them.

mod dump;
mod fields;

use mesh_common::{
    abi::{MAPS, MapKind, MapSpec, map},
    accel::{SocketKey, Splice},
    addr::Addr,
    conntrack::{FragmentKey, Quotas, TrackKey, Tracked},
    inbound::{Inbound, Stamp},
    packet::{InterfaceSlot, UdpServiceKey},
    policy::PolicyKey,
    rules::{PodRules, Source},
    service::{Affinity, AffinityKey},
    sock::{UdpFlow, UdpFlowKey, UdpPeer, UdpPeerKey},
    tag::Tagged,
};
use serde::Serialize;

use crate::{
    cli::{
        args::Format,
        failure::Failure,
        fdinfo::FdInfo,
        held::Held,
        node::Node,
        output::{self, Item, number, or_dash, table, text, unit},
    },
    datapath::{pins::Pins, readings::Readings, tables},
};

/// A pinned map.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MapRow {
    /// Its name.
    pub name: &'static str,
    kind: &'static str,
    key_bytes: usize,
    value_bytes: usize,
    /// How many entries it has, where that can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<usize>,
    /// How many it can have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<u64>,
    writer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
}

impl Item for MapRow {
    const KIND: &'static str = "Map";
    const NOUN: &'static str = "map";
    const COLUMNS: &'static [table::Column] = &[
        text("NAME"),
        text("KIND"),
        number("ENTRIES"),
        number("MAX"),
        text("WRITER"),
        number("ID"),
    ];
    const WIDE: &'static [table::Column] = &[number("KEY"), number("VALUE"), number("MEMORY")];

    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_owned(),
            self.kind.to_owned(),
            or_dash(self.entries),
            or_dash(self.max_entries),
            self.writer.to_owned(),
            or_dash(self.id),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let memory = self.memory_bytes.map(unit::bytes);
        vec![
            self.key_bytes.to_string(),
            self.value_bytes.to_string(),
            or_dash(memory),
        ]
    }
}

impl MapRow {
    /// Whether it makes room for a new entry by forgetting an old one.
    pub fn forgets(&self) -> bool {
        self.kind == kind(MapKind::LruHash)
    }
}

/// `map list`.
pub fn list(node: &Node, format: Format) -> Result<String, Failure> {
    output::list(&rows(&node.pins, &node.held()?, &node.readings()?), format)
}

/// `map dump`.
pub fn dump(node: &Node, name: &str, format: Format) -> Result<String, Failure> {
    let spec = MAPS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name));
    let spec = spec.ok_or_else(|| {
        let names: Vec<_> = MAPS.iter().map(|spec| spec.name).collect();
        Failure::usage(format!("map {name} is none of the mesh's: {}", names.join(", ")))
    })?;
    dump::dump(node, spec, format)
}

/// A row for every map that should be there.
pub fn rows(pins: &Pins, held: &Held, readings: &Readings) -> Vec<MapRow> {
    let row = |spec: &MapSpec| {
        let info = FdInfo::of_pin(&pins.map(spec.name)).ok().map(|(info, _)| info);
        row(spec, info.as_ref(), count(pins, held, readings, spec.name))
    };
    MAPS.iter().map(row).collect()
}

fn row(spec: &MapSpec, info: Option<&FdInfo>, entries: Option<usize>) -> MapRow {
    let number = |name| info.and_then(|info| info.number(name));
    MapRow {
        name: spec.name,
        kind: kind(spec.kind),
        key_bytes: spec.key,
        value_bytes: spec.value,
        entries,
        max_entries: number("max_entries").filter(|&max| max > 0),
        writer: if spec.kernel_writes { "kernel" } else { "agent" },
        id: number("map_id"),
        memory_bytes: number("memlock"),
    }
}

/// Entries of a hash map; of an array, the elements in use.
fn count(pins: &Pins, held: &Held, readings: &Readings, name: &str) -> Option<usize> {
    match name {
        map::PODS => Some(held.pods.len()),
        map::PENDING_PODS => Some(held.pending.len()),
        map::WORKLOADS => Some(held.workloads.len()),
        map::SERVICES => Some(held.frontends.values().map(Vec::len).sum()),
        map::SERVICE_INFO => Some(held.services.len()),
        map::LB_TABLE => Some(
            held.services
                .values()
                .map(|info| info.region.len() as usize)
                .sum(),
        ),
        map::BACKENDS => Some(held.backends.len()),
        map::MEMBERS => Some(held.members.len()),
        map::AFFINITY => tables::count::<AffinityKey, Affinity>(pins, map::AFFINITY).ok(),
        map::UDP_FLOWS => tables::count::<UdpFlowKey, UdpFlow>(pins, map::UDP_FLOWS).ok(),
        map::UDP_PEERS => tables::count::<UdpPeerKey, UdpPeer>(pins, map::UDP_PEERS).ok(),
        map::UDP_SERVICES => tables::count::<UdpServiceKey, u32>(pins, map::UDP_SERVICES).ok(),
        map::SPLICES => tables::count::<SocketKey, Splice>(pins, map::SPLICES).ok(),
        map::POLICY => tables::count::<PolicyKey, Tagged>(pins, map::POLICY).ok(),
        map::CLASSES => tables::count::<Addr, Tagged>(pins, map::CLASSES).ok(),
        map::POD_RULES => tables::count::<u32, PodRules>(pins, map::POD_RULES).ok(),
        map::CT_ANY => tables::count::<TrackKey, Tracked>(pins, map::CT_ANY).ok(),
        map::CT_TCP => tables::count::<TrackKey, Tagged>(pins, map::CT_TCP).ok(),
        map::FRAGMENTS => tables::count::<FragmentKey, u64>(pins, map::FRAGMENTS).ok(),
        map::QUOTAS => tables::count::<u32, Quotas>(pins, map::QUOTAS).ok(),
        map::HOST_FLOWS => tables::count::<Inbound, Stamp>(pins, map::HOST_FLOWS).ok(),
        map::REFUSED => tables::count::<Inbound, Stamp>(pins, map::REFUSED).ok(),
        map::CIDRS => tables::count_prefixes::<Addr>(pins, map::CIDRS).ok(),
        map::SOURCES => tables::count_prefixes::<Source>(pins, map::SOURCES).ok(),
        map::INTERFACES => {
            let all = tables::elements::<InterfaceSlot>(pins, map::INTERFACES).ok()?;
            Some(all.iter().filter(|(_, slot)| slot.ifindex != 0).count())
        }
        map::TRAFFIC => readings.traffic().ok().map(|all| all.len()),
        map::PACKETS => readings.packets().ok().map(|all| all.len()),
        map::UDP_TRAFFIC => readings.udp().ok().map(|all| all.len()),
        _ => None,
    }
}

/// As bpftool calls it.
fn kind(kind: MapKind) -> &'static str {
    match kind {
        MapKind::Hash => "hash",
        MapKind::Array => "array",
        MapKind::PerCpuHash => "percpu_hash",
        MapKind::PerCpuArray => "percpu_array",
        MapKind::LruHash => "lru_hash",
        MapKind::LpmTrie => "lpm_trie",
        MapKind::SockHash => "sockhash",
        MapKind::SkStorage => "sk_storage",
        MapKind::RingBuf => "ringbuf",
    }
}

#[cfg(test)]
impl MapRow {
    /// A row of a map that should be there.
    pub fn for_test(name: &str, entries: usize, max: u64) -> Self {
        let info = FdInfo::parse(&format!("max_entries: {max}"));
        let spec = MAPS.iter().find(|spec| spec.name == name).unwrap();
        row(spec, Some(&info), Some(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let info = FdInfo::parse("map_id:\t12\nmax_entries:\t4096\nmemlock:\t331776\n");
        let row =
            |name, info, entries| row(MAPS.iter().find(|spec| spec.name == name).unwrap(), info, entries);
        let rows = [row(map::PODS, Some(&info), Some(2)), row(map::EVENTS, None, None)];
        assert_eq!(
            output::list(&rows, Format::Wide).unwrap(),
            "\
NAME     KIND      ENTRIES    MAX   WRITER   ID   KEY   VALUE   MEMORY
PODS     hash            2   4096   agent    12     8      16   324KiB
EVENTS   ringbuf         -      -   kernel    -     0       0        -
"
        );
        assert_eq!(
            output::list(&rows[..1], Format::Yaml).unwrap(),
            "\
apiVersion: mesh-agent.io/v1alpha1
kind: MapList
items:
- name: PODS
  kind: hash
  keyBytes: 8
  valueBytes: 16
  entries: 2
  maxEntries: 4096
  writer: agent
  id: 12
  memoryBytes: 331776
"
        );
    }
}
