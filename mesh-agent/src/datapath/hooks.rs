//! The programs that run for the sockets of a cgroup, and where each is attached.

use std::os::fd::{AsFd, BorrowedFd};

use aya::programs::{Program, ProgramError};

use crate::sys::bpf::AttachType;

/// A cgroup program.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program in the object, and of its link's pin.
    pub program: &'static str,
    /// Where it is attached.
    pub attach: AttachType,
}

/// All of them, in the order they are attached: what accounts and what translates replies comes before what
/// translates requests, so that no connection is missed and no socket is sent to a backend whose answers it
/// would not recognise.
pub const HOOKS: [Hook; 9] = [
    Hook {
        program: "mesh_tcp",
        attach: AttachType::SockOps,
    },
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

/// What programs need that read the kernel's own memory; those of [`HOOKS`] do not.
pub const READS_NEED: &str = "needs CAP_PERFMON, and no lockdown=confidentiality";

/// Loads a program into the kernel.
///
/// # Errors
/// The kernel's, with the verifier's log; a wrong type where the object was not built for this agent.
pub fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SkMsg(program) => program.load(),
        Program::SkSkb(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Why the kernel refused a program, in a line: its error, and what the verifier said last.
#[must_use]
pub fn refusal(error: &ProgramError) -> String {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return error.to_string();
    };
    match verdict(&verifier_log.to_string()) {
        Some(verdict) => format!("{io_error}: {verdict}"),
        None => io_error.to_string(),
    }
}

/// The line before the figures at the end.
fn verdict(log: &str) -> Option<&str> {
    let is_figure = |line: &&str| line.starts_with("verification time ") || line.starts_with("processed ");
    log.lines().take_while(|line| !is_figure(line)).last()
}

/// The descriptor of a loaded program.
///
/// # Errors
/// Where it is not loaded.
pub fn fd(program: &Program) -> Result<BorrowedFd<'_>, ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.fd(),
        Program::SchedClassifier(program) => program.fd(),
        Program::SkLookup(program) => program.fd(),
        Program::SockOps(program) => program.fd(),
        Program::SkMsg(program) => program.fd(),
        Program::SkSkb(program) => program.fd(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map(AsFd::as_fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_stands_before_the_figures() {
        let log = "1: (b7) r2 = 2\nR1 leaks addr into map\nverification time 7 usec\nstack depth 8\nprocessed 2 insns\n";
        assert_eq!(verdict(log), Some("R1 leaks addr into map"));
        assert_eq!(verdict(""), None);
    }
}
