//! Socket load balancers of other tools that run before ours: they choose a backend, and ours sees no service any more.
//!
//! Looked at are the programs of our cgroup and of those above it, which is where these tools attach theirs: to the root.

use std::{collections::BTreeSet, fmt, io, os::fd::AsFd};

use super::{
    hooks::{HOOKS, Hook},
    links::Cgroup,
    pins::Pins,
};
use crate::sys::{
    bpf::{self, AttachType},
    privilege,
};

/// A tool with a socket load balancer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Tool {
    /// Cilium, with `kubeProxyReplacement` or `socketLB.enabled`.
    Cilium,
    /// Calico's eBPF dataplane.
    Calico,
}

impl Tool {
    const ALL: [Self; 2] = [Self::Cilium, Self::Calico];

    /// Beginnings of the names of its programs (`bpf/bpf_sock.c`; `felix/bpf-gpl/connect_balancer.c`, and its
    /// predecessor). The kernel keeps 15 letters.
    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Cilium => &["cil_sock4_", "cil_sock6_"],
            Self::Calico => &["calico_connect_", "calico_sendmsg_", "cali_ctlb_"],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Cilium => "Cilium",
            Self::Calico => "Calico",
        }
    }

    /// What makes it leave the sockets of pods alone.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Cilium => {
                "set socketLB.hostNamespaceOnly=true in Cilium's Helm values (bpf-lb-sock-hostns-only in the ConfigMap \
                 cilium-config), and restart its agents"
            }
            Self::Calico => {
                "set bpfConnectTimeLoadBalancing: Disabled and bpfHostNetworkedNATWithoutCTLB: Enabled in Calico's \
                 FelixConfiguration"
            }
        }
    }

    fn of(program: &str) -> Option<Self> {
        let is_of = |tool: &Self| tool.programs().iter().any(|start| program.starts_with(start));
        Self::ALL.into_iter().find(is_of)
    }
}

/// A tool whose programs run before ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rival {
    /// The tool.
    pub tool: Tool,
    /// The names of the programs.
    pub programs: BTreeSet<String>,
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs: Vec<_> = self.programs.iter().map(String::as_str).collect();
        write!(
            f,
            "the socket load balancer of {} ({}) runs before ours",
            self.tool.name(),
            programs.join(", ")
        )
    }
}

/// Asks the kernel, in which order it runs what translates addresses of services.
///
/// # Errors
/// The kernel's.
pub fn find(pins: &Pins, cgroup: &Cgroup) -> io::Result<Vec<Rival>> {
    // Programs of others are opened by their ids.
    privilege::with_all(|| in_order(pins, cgroup))
}

fn in_order(pins: &Pins, cgroup: &Cgroup) -> io::Result<Vec<Rival>> {
    let mut names = Vec::new();
    for hook in HOOKS.into_iter().filter(translates) {
        // One that is not attached is reported as that.
        let Ok(link) = bpf::open_pin(&pins.link(hook.program)) else {
            continue;
        };
        let ours = bpf::link_info(link.as_fd())?.program;
        let order = bpf::effective_programs(cgroup.as_fd(), hook.attach)?;
        for id in before(&order, ours) {
            match bpf::program_name(*id) {
                // It went meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                name => names.push(name?),
            }
        }
    }
    Ok(rivals(&names))
}

const fn translates(hook: &Hook) -> bool {
    matches!(
        hook.attach,
        AttachType::Connect4 | AttachType::Connect6 | AttachType::Sendmsg4 | AttachType::Sendmsg6
    )
}

/// The programs that run before ours, if that runs at all.
fn before(order: &[u32], ours: u32) -> &[u32] {
    let place = order.iter().position(|&id| id == ours);
    &order[..place.unwrap_or_default()]
}

fn rivals(programs: &[String]) -> Vec<Rival> {
    let of = |tool| Rival {
        tool,
        programs: programs
            .iter()
            .filter(|program| Tool::of(program) == Some(tool))
            .cloned()
            .collect(),
    };
    let all = Tool::ALL.map(of).into_iter();
    all.filter(|rival| !rival.programs.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_before_ours_counts() {
        assert_eq!(before(&[7, 8, 9], 9), [7, 8]);
        assert!(before(&[9, 7], 9).is_empty());
        assert!(before(&[7, 8], 9).is_empty(), "ours does not run at all");
    }

    #[test]
    fn tools_are_known_by_their_programs() {
        // As the kernel has them.
        let names = [
            "cil_sock4_conne",
            "sd_fw_ingress",
            "cil_sock6_sendm",
            "calico_connect_",
            "mesh_connect4",
        ];
        let found = rivals(&names.map(str::to_owned));
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "the socket load balancer of Cilium (cil_sock4_conne, cil_sock6_sendm) runs before ours",
                "the socket load balancer of Calico (calico_connect_) runs before ours",
            ]
        );
        assert_eq!(Tool::of("cali_ctlb_v4"), Some(Tool::Calico));
        assert_eq!(rivals(&["cil_from_contai".to_owned(), String::new()]), []);
    }
}
