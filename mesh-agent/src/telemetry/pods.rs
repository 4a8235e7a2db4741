//! How many pods of this node are known in which way.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    state: &'static str,
}

/// The pods of this node that are in the mesh or ask for it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Known by their network namespace.
    pub enrolled: usize,
    /// Of these, whose packets are not counted, or only in part.
    pub partial: usize,
    /// Known by their cgroup until their network namespace is.
    pub pending: usize,
    /// Known by neither: what they send is not the mesh's.
    pub unknown: usize,
    /// They ask for the mesh and can't be in it.
    pub unenrolled: usize,
}

/// Tells it; copies tell the same.
#[derive(Clone, Debug, Default)]
pub struct PodStates(Family<Labels, Gauge>);

impl PodStates {
    /// Names it.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "mesh_pods",
            "Pods of this node by state: enrolled (partial: of these, those whose packets are not all counted), pending \
             (known by their cgroup), unknown (not found yet), unenrolled (they ask for the mesh and can't be in it)",
            self.0.clone(),
        );
    }

    /// How many there are now.
    pub fn tell(&self, counts: Counts) {
        let Counts {
            enrolled,
            partial,
            pending,
            unknown,
            unenrolled,
        } = counts;
        for (state, count) in [
            ("enrolled", enrolled),
            ("partial", partial),
            ("pending", pending),
            ("unknown", unknown),
            ("unenrolled", unenrolled),
        ] {
            let gauge = self.0.get_or_create(&Labels { state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_state_is_told_also_where_it_has_none() {
        let (states, mut registry) = (PodStates::default(), Registry::default());
        states.register(&mut registry);
        states.tell(Counts {
            enrolled: 3,
            partial: 1,
            ..Counts::default()
        });
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = |state, count| format!("mesh_pods{{state=\"{state}\"}} {count}\n");
        for (state, count) in [
            ("enrolled", 3),
            ("partial", 1),
            ("pending", 0),
            ("unknown", 0),
            ("unenrolled", 0),
        ] {
            assert!(text.contains(&line(state, count)), "{text}");
        }
    }
}
