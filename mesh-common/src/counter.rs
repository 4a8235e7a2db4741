//! Node-wide counters of the kernel programs.

/// Index into `COUNTERS`, a per-CPU array of `u64`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Counter {
    /// Sockets of pods connected to a service and sent to a backend (TCP and connected UDP).
    Translated = 0,
    /// Sockets refused because the service has no endpoint.
    NoEndpoint = 1,
    /// Datagrams of unconnected sockets sent to a backend.
    DatagramTranslated = 2,
    /// Datagrams refused because the service has no endpoint.
    DatagramNoEndpoint = 3,
    /// Slots that belonged to another service, read again.
    StaleSlot = 4,
    /// Sockets refused because the tables contradicted each other twice in a row.
    Inconsistent = 5,
    /// Socket storage that could not be created: the peer's name and the record of the flow are missing.
    StorageFull = 6,
    /// Events that found the ring buffer full.
    EventsLost = 7,
    /// Connections that found no room in `TRAFFIC`.
    TrafficFull = 8,
    /// Datagrams whose flow found no room in `UDP_TRAFFIC`; the pod's totals have them.
    UdpTrafficFull = 9,
    /// Sockets and datagrams refused because their pod is pending and its namespace fails closed.
    Pending = 10,
    /// What a pod asked for and its policies let pass.
    AllowedEgress = 11,
    /// What a pod was asked for and its policies let pass.
    AllowedIngress = 12,
    /// What a pod asked for and its policies refused.
    DeniedEgress = 13,
    /// What a pod was asked for and its policies refused.
    DeniedIngress = 14,
    /// What a pod asked for and its policies would have refused.
    AuditedEgress = 15,
    /// What a pod was asked for and its policies would have refused.
    AuditedIngress = 16,
    /// Packets out of a pod with an address that is not the pod's, dropped.
    Spoofed = 17,
    /// Packets towards a pod with an address that is not the pod's, dropped. A bridge that does not know where an address
    /// is sends packets to all.
    Stray = 18,
    /// Packets out of a pod under policies that can't be read as far as a verdict needs, dropped.
    UnreadableEgress = 19,
    /// Packets towards a pod under policies that can't be read as far as a verdict needs, dropped.
    UnreadableIngress = 20,
    /// ICMP out of a pod under policies that keeps the network working, let through.
    UpkeepEgress = 21,
    /// ICMP towards a pod under policies that keeps the network working, let through.
    UpkeepIngress = 22,
    /// Flows that were let through and not remembered, since their pod has used up what it may have in a minute.
    FlowQuota = 23,
    /// Packets that were dropped, or would have been, and not reported, since their pod's last second is full of them.
    EventQuota = 24,
}

impl Counter {
    /// How many there are.
    pub const COUNT: usize = 25;

    /// All, in the order of their index, each with its name for users.
    pub const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::Translated, "translated"),
        (Self::NoEndpoint, "no_endpoint"),
        (Self::DatagramTranslated, "datagram_translated"),
        (Self::DatagramNoEndpoint, "datagram_no_endpoint"),
        (Self::StaleSlot, "stale_slot"),
        (Self::Inconsistent, "inconsistent"),
        (Self::StorageFull, "storage_full"),
        (Self::EventsLost, "events_lost"),
        (Self::TrafficFull, "traffic_full"),
        (Self::UdpTrafficFull, "udp_traffic_full"),
        (Self::Pending, "pending"),
        (Self::AllowedEgress, "allowed_egress"),
        (Self::AllowedIngress, "allowed_ingress"),
        (Self::DeniedEgress, "denied_egress"),
        (Self::DeniedIngress, "denied_ingress"),
        (Self::AuditedEgress, "audited_egress"),
        (Self::AuditedIngress, "audited_ingress"),
        (Self::Spoofed, "spoofed"),
        (Self::Stray, "stray"),
        (Self::UnreadableEgress, "unreadable_egress"),
        (Self::UnreadableIngress, "unreadable_ingress"),
        (Self::UpkeepEgress, "upkeep_egress"),
        (Self::UpkeepIngress, "upkeep_ingress"),
        (Self::FlowQuota, "flow_quota"),
        (Self::EventQuota, "event_quota"),
    ];
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn all_is_in_order() {
        for (index, (counter, _)) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
        }
    }
}
