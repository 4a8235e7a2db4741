//! Sizes and alignments of everything that crosses from the kernel to user space, in bytes, held at compile
//! time on every target. With the absence of padding, which `zerocopy` proves, they hold the offsets too.

use crate::{
    accel::{Accel, Located, SockOffsets, SocketKey, Splice},
    addr::Addr,
    config::Config,
    conntrack::{FragmentKey, Quotas, TrackKey, Tracked},
    flow::{FlowEvent, LiveFlow, Traffic, TrafficKey},
    inbound::{Inbound, Stamp},
    packet::{InterfaceSlot, PacketSlot, PacketTotals, UdpKey, UdpServiceKey, UdpTraffic},
    pending::Levels,
    policy::{Denial, PolicyKey},
    rules::{CidrKey, PodRules, SourceKey},
    service::{Affinity, AffinityKey, Backend, Frontend, Member, ServiceInfo, Slot},
    sock::{SockState, UdpFlow, UdpFlowKey, UdpPeer, UdpPeerKey},
    tag::Tagged,
    workload::PodRef,
};

macro_rules! hold {
    ($($kind:ty: $size:literal, $align:literal;)*) => {
        $(const _: () = assert!(
            size_of::<$kind>() == $size && align_of::<$kind>() == $align,
            concat!("the layout of ", stringify!($kind), " is another: raise ABI_VERSION where it was meant")
        );)*
    };
}

hold! {
    PodRef: 16, 8;
    Addr: 16, 4;
    Tagged: 8, 8;
    Frontend: 20, 4;
    ServiceInfo: 16, 8;
    Slot: 8, 8;
    Backend: 24, 4;
    Member: 8, 4;
    Config: 56, 8;
    Levels: 4, 2;
    AffinityKey: 16, 8;
    Affinity: 16, 8;
    UdpFlowKey: 16, 8;
    UdpFlow: 8, 4;
    UdpPeerKey: 32, 8;
    UdpPeer: 24, 4;
    Accel: 56, 8;
    SockState: 176, 8;
    TrafficKey: 8, 4;
    Traffic: 72, 8;
    SocketKey: 40, 4;
    Splice: 40, 8;
    SockOffsets: 56, 4;
    Located: 16, 8;
    PacketTotals: 96, 8;
    PacketSlot: 104, 8;
    UdpKey: 40, 4;
    UdpTraffic: 48, 8;
    UdpServiceKey: 32, 8;
    PolicyKey: 12, 4;
    TrackKey: 28, 4;
    Tracked: 16, 8;
    FragmentKey: 44, 4;
    Quotas: 24, 8;
    InterfaceSlot: 16, 8;
    SourceKey: 24, 4;
    Inbound: 36, 4;
    Stamp: 8, 8;
    PodRules: 48, 8;
    CidrKey: 20, 4;
    Denial: 8, 4;
    FlowEvent: 264, 8;
    LiveFlow: 240, 8;
}
