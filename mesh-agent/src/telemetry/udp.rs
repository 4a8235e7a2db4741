//! UDP flows at the pods' interfaces: who talked with whom, and when a flow is over.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use mesh_common::packet::{UdpKey, UdpTraffic};

use super::rise::{of_datagrams, rise};

/// A flow that carried nothing for this long is over (Linux' conntrack gives a UDP stream two minutes, a
/// single datagram thirty seconds).
pub const IDLE: Duration = Duration::from_mins(1);

/// Who a flow belongs to; decided when it is first seen, since pods and addresses come and go.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Parties {
    /// Workload id of the pod at whose interface it was seen.
    pub pod: u32,
    /// Workload id of the other end; 0 where that is no pod.
    pub peer: u32,
    /// Service id that the pod asked for; 0 where it asked for none.
    pub service: u32,
    /// Whether the pod asked, as far as the packets tell: see [`asked`].
    pub client: bool,
}

/// What is told of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UdpEvent {
    /// Whether it is over, or else new.
    pub over: bool,
    /// When that was seen, in nanoseconds of `CLOCK_MONOTONIC`; of a new flow, its first datagram.
    pub at_ns: u64,
    /// The flow.
    pub key: UdpKey,
    /// Whose it is.
    pub parties: Parties,
    /// What it carried until then.
    pub traffic: UdpTraffic,
}

/// Whether a flow is over.
#[must_use]
pub fn is_over(traffic: &UdpTraffic, now: Duration) -> bool {
    now.saturating_sub(Duration::from_nanos(traffic.last_ns)) > IDLE
}

/// Whether it is the pod that asked. Packets do not say; the pod that asked for a service did, and so did the
/// one that got no answer yet. Where both have spoken already, the lower port is taken for the server's.
#[must_use]
pub const fn asked(key: &UdpKey, traffic: &UdpTraffic, service: u32) -> bool {
    match (service, traffic.sent_datagrams, traffic.received_datagrams) {
        (0, 0, _) => false,
        (0, _, 0) => true,
        (0, _, _) => key.local_port.get() > key.remote_port.get(),
        _ => true,
    }
}

/// The flows that are known.
#[derive(Debug, Default)]
pub struct UdpFlows {
    known: HashMap<UdpKey, (Parties, UdpTraffic)>,
}

impl UdpFlows {
    /// Takes a complete reading: calls `grown` with what each flow grew by (datagrams and bytes sent, datagrams
    /// and bytes received), and returns the flows that are new, and those that are over, which may be removed
    /// from the kernel's table.
    pub fn read(
        &mut self,
        flows: &[(UdpKey, UdpTraffic)],
        now: Duration,
        identify: impl Fn(&UdpKey, &UdpTraffic) -> Parties,
        mut grown: impl FnMut(Parties, [u64; 4]),
    ) -> Vec<UdpEvent> {
        let mut events = Vec::new();
        for (key, total) in flows {
            let mut tell = |over, at_ns, parties| {
                events.push(UdpEvent {
                    over,
                    at_ns,
                    key: *key,
                    parties,
                    traffic: *total,
                });
            };
            let (parties, before) = self.known.entry(*key).or_insert_with(|| {
                let parties = identify(key, total);
                tell(false, total.first_ns, parties);
                (parties, UdpTraffic::default())
            });
            let growth = rise(of_datagrams(before), of_datagrams(total));
            if growth != [0; 4] {
                grown(*parties, growth);
            }
            *before = *total;
            if is_over(total, now) {
                tell(true, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), *parties);
            }
        }
        let present: HashSet<&UdpKey> = flows.iter().map(|(key, _)| key).collect();
        self.known.retain(|key, _| present.contains(key));
        events
    }
}

impl UdpFlows {
    /// A flow was removed from the kernel's table: should it come back, it starts from nothing.
    pub fn forget(&mut self, key: &UdpKey) {
        self.known.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use mesh_common::addr::{Addr, Port};

    use super::*;

    fn key(port: u16) -> UdpKey {
        UdpKey {
            local: Addr::default(),
            remote: Addr::default(),
            local_port: Port::new(port),
            remote_port: Port::new(53),
            ifindex: 7,
        }
    }

    fn traffic(sent: u64, last: Duration) -> UdpTraffic {
        let last_ns = u64::try_from(last.as_nanos()).unwrap();
        UdpTraffic {
            sent_datagrams: sent,
            sent_bytes: sent * 10,
            first_ns: 99_000_000_000,
            last_ns,
            ..UdpTraffic::default()
        }
    }

    #[test]
    fn growth_is_told_once_and_idle_flows_end() {
        let mut flows = UdpFlows::default();
        let mut total = 0;
        let mut read = |sent, now| {
            let reading = [(key(1), traffic(sent, Duration::from_secs(100)))];
            flows.read(
                &reading,
                Duration::from_secs(now),
                |_, _| Parties::default(),
                |_, [_, sent_bytes, ..]| total += sent_bytes,
            )
        };
        let event = |over, at_ns, sent| UdpEvent {
            over,
            at_ns,
            key: key(1),
            parties: Parties::default(),
            traffic: traffic(sent, Duration::from_secs(100)),
        };
        assert_eq!(read(3, 101), [event(false, 99_000_000_000, 3)]);
        assert_eq!(read(5, 159), []);
        assert_eq!(read(5, 161), [event(true, 161_000_000_000, 5)]);
        assert_eq!(total, 50);
    }

    #[test]
    fn a_flow_that_was_made_anew_counts_from_nothing() {
        let mut flows = UdpFlows::default();
        let mut total = 0;
        for sent in [9, 2, 3] {
            let reading = [(key(1), traffic(sent, Duration::from_secs(1)))];
            let now = Duration::from_secs(2);
            let _events = flows.read(
                &reading,
                now,
                |_, _| Parties::default(),
                |_, [sent, ..]| total += sent,
            );
        }
        assert_eq!(total, 12);
    }

    #[test]
    fn a_flow_keeps_its_parties() {
        let mut flows = UdpFlows::default();
        let now = Duration::from_secs(1);
        for pod in [1, 2] {
            let identify = |_: &UdpKey, _: &UdpTraffic| Parties {
                pod,
                ..Parties::default()
            };
            let reading = [(key(1), traffic(u64::from(pod), now))];
            let _events = flows.read(&reading, now, identify, |parties, _| assert_eq!(parties.pod, 1));
        }
    }

    #[test]
    fn who_asked_is_told_by_service_silence_or_port() {
        let carried = |sent, received| UdpTraffic {
            sent_datagrams: sent,
            received_datagrams: received,
            ..UdpTraffic::default()
        };
        for (local_port, service, sent, received, expected) in [
            (40_000, 0, 1, 1, true),
            (7, 0, 1, 1, false),
            (7, 0, 1, 0, true),
            (40_000, 0, 0, 1, false),
            (7, 9, 1, 1, true),
            (53, 0, 1, 1, false),
        ] {
            let found = asked(&key(local_port), &carried(sent, received), service);
            assert_eq!(found, expected, "{local_port} {service} {sent} {received}");
        }
    }
}
