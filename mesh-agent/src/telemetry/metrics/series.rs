//! Counters by labels, dropped some time after what the labels name is gone.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt::{self, Debug},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
    registry::Registry,
};

/// A series stays this long after what it names is gone: twice as long as Prometheus looks back for a sample, so
/// that the last value is seen.
pub const KEEP: Duration = Duration::from_mins(10);

/// A label: name and value.
pub type Pair<'a> = (&'static str, Cow<'a, str>);

/// Labels of a series.
pub trait Labels: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// Names and values, in order. Equal labels have equal pairs, and the other way round.
    fn pairs(&self) -> Vec<Pair<'_>>;
}

/// `N` counters that share their labels.
#[derive(Debug)]
pub struct Series<L, const N: usize>(Arc<Inner<L, N>>);

#[derive(Debug)]
struct Inner<L, const N: usize> {
    /// Names, without `_total`, and help texts.
    metrics: [(&'static str, &'static str); N],
    rows: Mutex<HashMap<L, Row<N>>>,
}

#[derive(Clone, Copy, Debug)]
struct Row<const N: usize> {
    values: [u64; N],
    gone_since: Option<Duration>,
}

impl<L: Labels, const N: usize> Series<L, N> {
    /// No series yet, of these counters (names without `_total`, and help texts).
    pub fn register(metrics: [(&'static str, &'static str); N], registry: &mut Registry) -> Self {
        let inner = Arc::new(Inner {
            metrics,
            rows: Mutex::default(),
        });
        registry.register_collector(Box::new(inner.clone()));
        Self(inner)
    }

    /// Adds to the counters with these labels.
    pub fn add(&self, labels: L, values: [u64; N]) {
        let mut rows = self.0.rows();
        let row = rows.entry(labels).or_insert(Row {
            values: [0; N],
            gone_since: None,
        });
        row.values = std::array::from_fn(|index| row.values[index].saturating_add(values[index]));
    }

    /// Drops the series whose labels name something that has been gone for [`KEEP`]. One that names what is
    /// there stays as it is, however long nothing happens to it.
    pub fn sweep(&self, now: Duration, is_there: impl Fn(&L) -> bool) {
        self.0.rows().retain(|labels, row| {
            if is_there(labels) {
                row.gone_since = None;
                return true;
            }
            now.saturating_sub(*row.gone_since.get_or_insert(now)) < KEEP
        });
    }
}

impl<L, const N: usize> Inner<L, N> {
    fn rows(&self) -> MutexGuard<'_, HashMap<L, Row<N>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Labels, const N: usize> Collector for Inner<L, N> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows = self.rows();
        for (index, (name, help)) in self.metrics.iter().enumerate() {
            // As the registry ends the texts of its own metrics.
            let help = format!("{help}.");
            let mut family = encoder.encode_descriptor(name, &help, None, MetricType::Counter)?;
            for (labels, row) in rows.iter() {
                let pairs = labels.pairs();
                ConstCounter::new(row.values[index]).encode(family.encode_family(&pairs)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[derive(Clone, Debug, Eq, Hash, PartialEq)]
    struct Pod(&'static str);

    impl Labels for Pod {
        fn pairs(&self) -> Vec<Pair<'_>> {
            vec![("pod", self.0.into())]
        }
    }

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn counters_are_written_as_open_metrics() {
        let mut registry = Registry::default();
        let series = Series::register([("a", "What a is"), ("b", "What b is")], &mut registry);
        series.add(Pod("web\"1"), [2, 0]);
        series.add(Pod("web\"1"), [3, 1]);
        assert_eq!(
            text(&registry),
            "# HELP a What a is.\n# TYPE a counter\na_total{pod=\"web\\\"1\"} 5\n\
             # HELP b What b is.\n# TYPE b counter\nb_total{pod=\"web\\\"1\"} 1\n# EOF\n"
        );
    }

    #[test]
    fn what_is_gone_is_dropped_after_a_while_and_what_is_there_never() {
        let mut registry = Registry::default();
        let series = Series::register([("a", "A")], &mut registry);
        for pod in ["gone", "there", "back"] {
            series.add(Pod(pod), [7]);
        }
        let start = Duration::from_secs(1_000);
        series.sweep(start, |pod| pod.0 == "there");
        series.sweep(start + KEEP / 2, |pod| pod.0 != "gone");
        let last = start + KEEP.saturating_sub(Duration::from_secs(1));
        series.sweep(last, |pod| pod.0 == "there");
        assert_eq!(text(&registry).matches(" 7\n").count(), 3);
        series.sweep(start + KEEP, |pod| pod.0 == "there");
        series.add(Pod("there"), [1]);
        let text = text(&registry);
        assert!(
            !text.contains("gone") && text.contains("a_total{pod=\"back\"} 7\n"),
            "{text}"
        );
        assert!(text.contains("a_total{pod=\"there\"} 8\n"), "{text}");
    }
}
