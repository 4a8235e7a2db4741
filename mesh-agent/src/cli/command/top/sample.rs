//! One reading of everything that is counted, and the rates between two.

use std::{collections::BTreeMap, time::Duration};

use mesh_common::{
    decide::tcp::{bytes_received, bytes_sent},
    flow::{LiveFlow, Traffic, TrafficKey},
};

use crate::cli::args::verb::By;

/// One reading.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Duration,
    totals: BTreeMap<TrafficKey, Totals>,
}

/// Connections that live, and what was counted since the programs were loaded.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    open: u64,
    opened: u64,
    sent: u64,
    received: u64,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rate {
    /// Connections that live now.
    pub open: u64,
    /// Connections opened in ten seconds.
    pub opened_tenths: u32,
    /// Bytes sent in a second.
    pub sent: u64,
    /// Bytes received in a second.
    pub received: u64,
}

impl Sample {
    /// From what lives and the totals of what ended.
    pub fn new(at: Duration, flows: &[LiveFlow], traffic: Vec<(TrafficKey, Traffic)>) -> Self {
        let ended = traffic.into_iter().map(|(key, traffic)| {
            let totals = Totals {
                open: 0,
                opened: traffic.opened,
                sent: traffic.bytes_sent,
                received: traffic.bytes_received,
            };
            (key, totals)
        });
        let mut totals: BTreeMap<TrafficKey, Totals> = ended.collect();
        for LiveFlow { sock, tcp, received } in flows {
            let sum = totals
                .entry(TrafficKey {
                    pod: sock.pod,
                    service: sock.service,
                })
                .or_default();
            sum.open += 1;
            sum.sent = sum.sent.wrapping_add(bytes_sent(sock, tcp));
            sum.received = sum.received.wrapping_add(bytes_received(sock, tcp, *received));
        }
        Self { at, totals }
    }

    /// Rates by id since an earlier reading.
    pub fn rates_since(&self, before: &Self, by: By) -> BTreeMap<u32, Rate> {
        let millis = self.at.saturating_sub(before.at).as_millis().max(1);
        let per =
            |count: u64, time: u128| u64::try_from(u128::from(count) * time / millis).unwrap_or(u64::MAX);
        let mut rates: BTreeMap<u32, Totals> = BTreeMap::new();
        for (key, now) in &self.totals {
            let then = before.totals.get(key).copied().unwrap_or_default();
            let id = match by {
                By::Pod => key.pod,
                By::Service => key.service,
            };
            let sum = rates.entry(id).or_default();
            // A total that went down was counted twice before, or its entry was made anew.
            sum.open += now.open;
            sum.opened += now.opened.saturating_sub(then.opened);
            sum.sent += now.sent.saturating_sub(then.sent);
            sum.received += now.received.saturating_sub(then.received);
        }
        let rate = |sum: Totals| Rate {
            open: sum.open,
            opened_tenths: u32::try_from(per(sum.opened, 10_000)).unwrap_or(u32::MAX),
            sent: per(sum.sent, 1_000),
            received: per(sum.received, 1_000),
        };
        rates.into_iter().map(|(id, sum)| (id, rate(sum))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_that_went_down_is_no_rate() {
        let key = TrafficKey { pod: 1, service: 0 };
        let sample = |at, opened| {
            Sample::new(
                Duration::from_secs(at),
                &[],
                vec![(
                    key,
                    Traffic {
                        opened,
                        ..Traffic::default()
                    },
                )],
            )
        };
        let rate = sample(2, 1).rates_since(&sample(1, 5), By::Pod)[&1];
        assert_eq!(rate, Rate::default());
        assert_eq!(
            sample(1, 7).rates_since(&sample(1, 5), By::Pod)[&1].opened_tenths,
            20_000
        );
    }
}
