//! UDP flows at the pods' interfaces: who talked with whom, and when a flow is over.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use mesh_common::packet::{UdpKey, UdpTraffic};

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
}

/// The flows that are known.
#[derive(Debug, Default)]
pub struct UdpFlows {
    known: HashMap<UdpKey, (Parties, UdpTraffic)>,
}

impl UdpFlows {
    /// Takes a complete reading: calls `grown` with what each flow grew by, and returns the flows that are
    /// over, which may be removed from the kernel's table.
    pub fn read(
        &mut self,
        flows: &[(UdpKey, UdpTraffic)],
        now: Duration,
        identify: impl Fn(&UdpKey) -> Parties,
        mut grown: impl FnMut(Parties, UdpTraffic),
    ) -> Vec<UdpKey> {
        let mut over = Vec::new();
        for (key, total) in flows {
            let (parties, before) = self
                .known
                .entry(*key)
                .or_insert_with(|| (identify(key), UdpTraffic::default()));
            let growth = minus(*total, *before);
            if growth != UdpTraffic::default() {
                grown(*parties, growth);
            }
            *before = *total;
            if now.saturating_sub(Duration::from_nanos(total.last_ns)) > IDLE {
                over.push(*key);
            }
        }
        let present: HashSet<&UdpKey> = flows.iter().map(|(key, _)| key).collect();
        self.known.retain(|key, _| present.contains(key));
        over
    }
}

impl UdpFlows {
    /// A flow was removed from the kernel's table: should it come back, it starts from nothing.
    pub fn forget(&mut self, key: &UdpKey) {
        self.known.remove(key);
    }
}

/// What was added; times are left out.
fn minus(total: UdpTraffic, before: UdpTraffic) -> UdpTraffic {
    UdpTraffic {
        sent_datagrams: total.sent_datagrams.saturating_sub(before.sent_datagrams),
        sent_bytes: total.sent_bytes.saturating_sub(before.sent_bytes),
        received_datagrams: total.received_datagrams.saturating_sub(before.received_datagrams),
        received_bytes: total.received_bytes.saturating_sub(before.received_bytes),
        first_ns: 0,
        last_ns: 0,
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
                |_| Parties::default(),
                |_, growth| total += growth.sent_bytes,
            )
        };
        assert_eq!(read(3, 101), []);
        assert_eq!(read(5, 159), []);
        assert_eq!(read(5, 161), [key(1)]);
        assert_eq!(total, 50);
    }

    #[test]
    fn a_flow_keeps_its_parties() {
        let mut flows = UdpFlows::default();
        let now = Duration::from_secs(1);
        for pod in [1, 2] {
            let identify = |_: &UdpKey| Parties {
                pod,
                ..Parties::default()
            };
            let reading = [(key(1), traffic(u64::from(pod), now))];
            flows.read(&reading, now, identify, |parties, _| assert_eq!(parties.pod, 1));
        }
    }
}
