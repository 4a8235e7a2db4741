//! Acceleration: bytes between two sockets of one node go from socket to socket, without TCP in between,
//! where both owners consent and [`crate::decide::guard`] allows it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::{Addr, Port};

/// Key of `SOCKETS`, `MESH_SOCKETS` and `SPLICES`: one end of a connection, and the pod whose network namespace its socket is in.
/// The same tuple in two pods is two keys, so a pod that gives itself another's addresses gets nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct SocketKey {
    /// Workload id of the socket's pod, known by the socket's network namespace.
    pub pod: u32,
    /// This end.
    pub local: Addr,
    /// The other end.
    pub remote: Addr,
    /// Port of [`Self::local`].
    pub local_port: Port,
    /// Port of [`Self::remote`].
    pub remote_port: Port,
}

impl SocketKey {
    /// The other end's key, if its socket is that pod's.
    #[must_use]
    #[inline(always)]
    pub const fn peer(&self, pod: u32) -> Self {
        Self {
            pod,
            local: self.remote,
            remote: self.local,
            local_port: self.remote_port,
            remote_port: self.local_port,
        }
    }
}

/// Messages and their bytes that went one way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Moved {
    /// Messages: what one system call, or one part of a large one, gave to the kernel.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Moved {
    /// The sum of two.
    #[must_use]
    #[inline(always)]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages.wrapping_add(other.messages),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }

    /// What was added since an earlier value.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(before.messages),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }

    /// With one more message.
    #[inline(always)]
    pub const fn add(&mut self, bytes: u64) {
        *self = self.plus(Self { messages: 1, bytes });
    }
}

/// Value of `SPLICES`: what the sender of a redirected message must know of the receiving socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Splice {
    /// Kernel address of the receiving socket.
    pub sk: u64,
    /// Cookie of the receiving socket.
    pub cookie: u64,
    /// What came to it by redirect; only the peer's program writes it, under the peer socket's lock.
    pub received: Moved,
    /// Not 0 where it is a socket of the mesh itself: it is in `MESH_SOCKETS` then, else in `SOCKETS`.
    pub own: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Where the kernel keeps a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Located {
    /// Cookie of the socket.
    pub cookie: u64,
    /// Its address.
    pub sk: u64,
}

/// What acceleration did for a socket; part of its storage.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Accel {
    /// Kernel address of the socket; 0 where it is not enrolled.
    pub sk: u64,
    /// What it sent by redirect.
    pub redirected: Moved,
    /// What it gave to TCP since it is enrolled.
    pub passed: Moved,
    /// Workload id of the other end's pod.
    pub peer: u32,
    /// Always 0.
    pub reserved: u32,
    /// [`Enrolment`] as a number.
    pub enrolment: u32,
    /// Why the last message went to TCP: [`crate::decide::guard::Pass`] as a number.
    pub last_pass: u32,
}

/// Where this kernel keeps what the guard looks at, in bytes from the start of `struct tcp_sock`; taken from the
/// running kernel's type information.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct SockOffsets {
    /// `skc_daddr`.
    pub remote_v4: u32,
    /// `skc_rcv_saddr`.
    pub local_v4: u32,
    /// `skc_v6_daddr`.
    pub remote_v6: u32,
    /// `skc_v6_rcv_saddr`.
    pub local_v6: u32,
    /// `skc_dport`, in network order.
    pub remote_port: u32,
    /// `skc_num`, in host order.
    pub local_port: u32,
    /// `skc_state`, one byte.
    pub state: u32,
    /// `sk_shutdown`, one byte.
    pub shutdown: u32,
    /// `sk_backlog.rmem_alloc`.
    pub queued: u32,
    /// `sk_rcvbuf`.
    pub receive_buffer: u32,
    /// `write_seq`.
    pub write_seq: u32,
    /// `copied_seq`.
    pub copied_seq: u32,
    /// `icsk_ulp_ops`, a pointer.
    pub layer_above: u32,
    /// `is_mptcp`, one byte; [`Self::ABSENT`] in kernels without MPTCP.
    pub is_mptcp: u32,
}

impl SockOffsets {
    /// Stands for a field that this kernel does not have.
    pub const ABSENT: u32 = u32::MAX;
    /// Before user space has set them.
    pub const NONE: Self = Self {
        remote_v4: 0,
        local_v4: 0,
        remote_v6: 0,
        local_v6: 0,
        remote_port: 0,
        local_port: 0,
        state: 0,
        shutdown: 0,
        queued: 0,
        receive_buffer: 0,
        write_seq: 0,
        copied_seq: 0,
        layer_above: 0,
        is_mptcp: Self::ABSENT,
    };
}

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $name:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[repr(u32)]
        pub enum $type {
            $($(#[$variant_doc])* $variant = $number,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// From its number.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name users see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it means, for users.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// Whether a socket is enrolled for the redirect, and if not, why.
    Enrolment {
        /// Not asked for, or not established yet.
        NotAsked = 0 "not_asked" "the pod does not ask for acceleration",
        /// Enrolled: the guard decides on each message.
        Enrolled = 1 "enrolled" "enrolled: redirected whenever order and back-pressure allow it",
        /// The redirect is off on this node: by the operator, or because the start-up probe has not passed.
        Off = 2 "off" "acceleration is off on this node",
        /// The other end is no pod of this node.
        PeerElsewhere = 3 "peer_elsewhere" "the other end is no pod of this node",
        /// The other end's pod does not consent.
        PeerRefuses = 4 "peer_not_asked" "the other pod does not ask for acceleration",
        /// The socket's own address is not one of its pod's.
        ForeignAddress = 5 "foreign_address" "the local address is not one of the pod's own",
        /// A subflow of MPTCP.
        Mptcp = 6 "mptcp" "a subflow of MPTCP",
        /// Something sits on the socket already (kernel TLS).
        LayerAbove = 7 "layer_above" "an upper layer protocol such as kernel TLS sits on the socket",
        /// Bytes were under way before the handshake was done (TCP Fast Open).
        EarlyData = 8 "early_data" "data came with the handshake (TCP Fast Open)",
        /// The tables of sockets are full.
        TableFull = 9 "table_full" "the table of accelerated sockets is full",
        /// Another tool's program sits on the socket.
        Busy = 10 "busy" "another tool has attached to the socket",
        /// The kernel refused for another reason.
        Refused = 11 "refused" "the kernel refused",
        /// The handshake began before the pod was in the mesh, or nobody can tell that it did not.
        EarlierHandshake = 12 "earlier_handshake" "the handshake may have begun before the pod was in the mesh",
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    fn addr(last: u8) -> Addr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn the_peer_of_the_peer_is_oneself() {
        let key = SocketKey {
            pod: 7,
            local: addr(1),
            remote: addr(2),
            local_port: Port::new(1),
            remote_port: Port::new(2),
        };
        assert_eq!(key.peer(8).pod, 8);
        assert_eq!(key.peer(8).peer(7), key);
    }

    #[test]
    fn numbers_and_names_of_enrolments_are_unique() {
        for (index, one) in Enrolment::ALL.iter().enumerate() {
            assert_eq!(Enrolment::from_number(*one as u32), Some(*one));
            assert!(
                Enrolment::ALL[..index]
                    .iter()
                    .all(|other| other.name() != one.name())
            );
        }
    }
}
