//! The programs that run for the sockets of a cgroup, and where each is attached.

use crate::sys::bpf::AttachType;

/// A cgroup program.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program in the object, and of its link's pin.
    pub program: &'static str,
    /// Where it is attached.
    pub attach: AttachType,
}

/// All of them, in the order they are attached: what translates replies comes before what translates
/// requests, so that no socket is sent to a backend whose answers it would not recognise.
pub const HOOKS: [Hook; 8] = [
    Hook {
        program: "mesh_recvmsg4",
        attach: AttachType::Recvmsg4,
    },
    Hook {
        program: "mesh_recvmsg6",
        attach: AttachType::Recvmsg6,
    },
    Hook {
        program: "mesh_peername4",
        attach: AttachType::Peername4,
    },
    Hook {
        program: "mesh_peername6",
        attach: AttachType::Peername6,
    },
    Hook {
        program: "mesh_sendmsg4",
        attach: AttachType::Sendmsg4,
    },
    Hook {
        program: "mesh_sendmsg6",
        attach: AttachType::Sendmsg6,
    },
    Hook {
        program: "mesh_connect4",
        attach: AttachType::Connect4,
    },
    Hook {
        program: "mesh_connect6",
        attach: AttachType::Connect6,
    },
];
