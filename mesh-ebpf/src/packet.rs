//! Packets at the host end of a pod's interface: how many there are, which UDP flows they belong to, and which of them
//! may not pass.
//!
//! What passes is left to the next program and the stack: the verdict is "next", never "accept".

mod frame;
mod guard;
mod icmp;
mod police;
mod report;
mod totals;
mod udp;

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{bindings::__sk_buff, macros::classifier, programs::TcContext};
use mesh_common::policy::Direction;

use self::frame::{Frame, Packet};

/// `TCX_NEXT`, and `TC_ACT_UNSPEC` of clsact: the next program decides.
const NEXT: i32 = -1;
/// `TCX_DROP`, and `TC_ACT_SHOT` of clsact.
const DROP: i32 = 2;

/// What comes out of the pod enters the host here.
#[classifier]
pub fn mesh_from_pod(ctx: TcContext) -> i32 {
    packet::<true>(&ctx)
}

/// What leaves the host here goes into the pod.
#[classifier]
pub fn mesh_to_pod(ctx: TcContext) -> i32 {
    packet::<false>(&ctx)
}

#[inline(always)]
fn packet<const FROM_POD: bool>(ctx: &TcContext) -> i32 {
    // SAFETY: the kernel passes a valid context.
    let ifindex = unsafe { read_volatile(addr_of!((*skb(ctx)).ifindex)) };
    let mut packet = Packet::NONE;
    let frame = frame::read(ctx, &mut packet);
    if let Some(totals) = totals::of(ifindex) {
        totals::add::<FROM_POD>(ctx, totals, frame, packet.protocol);
        if frame == Frame::Ip {
            udp::add::<FROM_POD>(ctx, ifindex, &packet);
        }
    }
    let way = if FROM_POD {
        Direction::Egress
    } else {
        Direction::Ingress
    };
    if guard::passes(ctx, ifindex, (frame, &mut packet), way) {
        NEXT
    } else {
        DROP
    }
}

/// The kernel's view of the packet.
#[inline(always)]
const fn skb(ctx: &TcContext) -> *const __sk_buff {
    ctx.skb.skb
}
