//! Which tests run on another kernel: the one list of them.
//!
//! Emulation is many times slower than the machine it runs on, so it runs what tells kernels apart: that
//! programs load and attach, each hook at work, accounting, and taking over from an agent that died.

/// A binary of tests, and which of them run.
pub struct Suite {
    /// Its name.
    pub binary: &'static str,
    /// What of it.
    pub tests: Tests,
    /// Tests that this kernel cannot pass, each with the reason. They count as skipped.
    pub lacking: &'static [(&'static str, &'static str)],
}

/// A choice of tests.
pub enum Tests {
    /// All of them.
    All,
    /// These; the others test what is the same on every kernel, or take too long.
    Only(&'static [&'static str]),
}
use Tests::{All, Only};

/// Binaries that are not named here test what no kernel changes, or the harness itself.
pub const SUITES: &[Suite] = &[
    Suite {
        binary: "services",
        tests: All,
        lacking: &[],
    },
    Suite {
        binary: "accounting",
        tests: All,
        lacking: &[],
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
        lacking: &[],
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
        lacking: &[],
    },
    Suite {
        binary: "balancing",
        tests: Only(&[
            "maglev_keeps_a_client_at_its_backend",
            "affinity_keeps_a_client_at_its_backend",
            "a_service_goes_and_comes_back",
        ]),
        lacking: &[],
    },
    Suite {
        binary: "lifecycle",
        tests: Only(&[
            "a_crash_and_a_restart_go_unnoticed",
            "sigterm_ends_the_agent_and_nothing_else",
            "changes_made_while_it_was_away_are_there_when_it_is_ready",
            "cleanup_removes_all_and_leaves_connections_alone",
            "a_map_of_another_size_is_refused_and_left_alone",
        ]),
        lacking: &[(
            "a_link_that_is_missing_is_made_by_the_next",
            "its links are tcx's, which is Linux 6.6 and newer",
        )],
    },
    Suite {
        binary: "pending",
        tests: Only(&["what_fails_closed_sends_nothing_before_it_is_known"]),
        lacking: &[],
    },
    Suite {
        binary: "redirect_own",
        tests: All,
        lacking: &[],
    },
    Suite {
        binary: "cgroup_programs",
        tests: All,
        lacking: &[],
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

impl Suite {
    /// What becomes of this test.
    pub fn verdict(&self, test: &str) -> Verdict {
        let lacking = self.lacking.iter().find(|(name, _)| *name == test);
        match (lacking, &self.tests) {
            (Some((_, reason)), _) => Verdict::Lack(reason),
            (None, Only(names)) if !names.contains(&test) => Verdict::Leave,
            (None, All | Only(_)) => Verdict::Run,
        }
    }

    /// The tests that the list names.
    pub fn named(&self) -> impl Iterator<Item = &'static str> {
        let names = match self.tests {
            All => &[],
            Only(names) => names,
        };
        names
            .iter()
            .copied()
            .chain(self.lacking.iter().map(|(name, _)| *name))
    }
}
