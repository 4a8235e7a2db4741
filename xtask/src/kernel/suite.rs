//! Which tests run on another kernel: the one list of them.
//!
//! Emulation is some twenty times slower than the machine it runs on, so it runs what tells kernels apart: that
//! programs load and attach, each hook at work, accounting, and taking over from an agent that died.

/// A binary of tests, and which of them run.
pub struct Suite {
    /// Its name.
    pub binary: &'static str,
    /// What of it.
    pub tests: Tests,
}

/// A choice of tests.
pub enum Tests {
    /// All but these, which this kernel cannot pass: each with the reason. They count as skipped.
    AllBut(&'static [(&'static str, &'static str)]),
    /// These; the others test what is the same on every kernel, or take too long.
    Only(&'static [&'static str]),
}
use Tests::{AllBut, Only};

/// Binaries that are not named here test what no kernel changes.
pub const SUITES: &[Suite] = &[
    Suite {
        binary: "services",
        tests: AllBut(&[]),
    },
    Suite {
        binary: "accounting",
        tests: AllBut(&[(
            "packets_and_udp_payload_are_counted_at_the_interface",
            "packets are counted by tcx, which is Linux 6.6 and newer",
        )]),
    },
    Suite {
        binary: "sockets",
        tests: Only(&[
            "both_ends_see_the_right_names",
            "a_tcp_socket_used_again_shows_its_new_peer",
            "a_udp_socket_used_again_shows_its_new_peer",
            "a_refused_connect_leaves_the_socket_as_it_was",
            "connecting_without_waiting",
            "tcp_fast_open",
            "who_is_not_in_the_mesh_is_left_alone",
            "no_endpoint_is_a_refusal_at_once",
            "udp_lite_is_left_alone",
        ]),
    },
    Suite {
        binary: "datagrams",
        tests: Only(&[
            "answers_come_from_the_service",
            "a_socket_keeps_its_backend_and_sockets_are_spread",
            "answers_of_several_services_in_any_order",
            "connected_sockets",
            "an_endpoint_that_is_gone_is_not_asked_again",
            "glibc_resolves_through_a_service",
        ]),
    },
    Suite {
        binary: "balancing",
        tests: Only(&[
            "maglev_keeps_a_client_at_its_backend",
            "affinity_keeps_a_client_at_its_backend",
            "a_service_goes_and_comes_back",
        ]),
    },
    Suite {
        binary: "lifecycle",
        tests: Only(&[
            "a_crash_and_a_restart_go_unnoticed",
            "killed_while_it_attaches",
            "a_link_that_is_missing_is_made_by_the_next",
            "cleanup_removes_all_and_leaves_connections_alone",
            "a_map_of_another_size_is_refused_and_left_alone",
        ]),
    },
    Suite {
        binary: "cgroup_programs",
        tests: AllBut(&[]),
    },
];

/// What becomes of a test.
pub enum Verdict {
    /// It runs.
    Run,
    /// The kernel lacks what it needs.
    Lack(&'static str),
    /// It is for the running kernel alone.
    Leave,
}

impl Tests {
    /// What becomes of this test.
    pub fn verdict(&self, test: &str) -> Verdict {
        match self {
            AllBut(lacking) => lacking
                .iter()
                .find(|(name, _)| *name == test)
                .map_or(Verdict::Run, |(_, reason)| Verdict::Lack(reason)),
            Only(names) if names.contains(&test) => Verdict::Run,
            Only(_) => Verdict::Leave,
        }
    }

    /// The tests that the list names.
    pub fn named(&self) -> Vec<&'static str> {
        match self {
            AllBut(lacking) => lacking.iter().map(|(name, _)| *name).collect(),
            Only(names) => names.to_vec(),
        }
    }
}
