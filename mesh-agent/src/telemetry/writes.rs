//! What the agent writes into the kernel's tables, counted: tables that nothing changes are not written.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct MapLabels {
    map: &'static str,
}

/// Entries written and removed, by map; copies count together.
#[derive(Clone, Debug, Default)]
pub struct Writes(Family<MapLabels, Counter>);

impl Writes {
    /// Names them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "mesh_map_writes",
            "Entries of a kernel table that the agent wrote or removed, since it started",
            self.0.clone(),
        );
    }

    /// Some more.
    pub fn count(&self, map: &'static str, entries: usize) {
        self.0
            .get_or_create(&MapLabels { map })
            .inc_by(u64::try_from(entries).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn copies_count_together() {
        let (writes, mut registry) = (Writes::default(), Registry::default());
        writes.register(&mut registry);
        writes.count("PODS", 2);
        writes.clone().count("PODS", 1);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("mesh_map_writes_total{map=\"PODS\"} 3\n"), "{text}");
    }
}
