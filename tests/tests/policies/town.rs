//! The topology on the kernel: pods and parties outside on the bridge of one node, everybody with a prober.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use harness::policies::Policies;
use harness::probe::{Attempt, Made, Prober, Round};
use harness::{Place, Pod, Sandbox};

use crate::cases::Flow;
use crate::topology::{Party, Topology};

/// What everybody serves.
const PORTS: [u16; 2] = [80, 81];

/// A node with everybody on it. The agent is not started yet.
pub struct Town {
    /// Of the parties in their order, then of the node itself.
    probers: Vec<Prober>,
    pub parties: Vec<Party>,
    pods: Vec<Pod>,
    pub topology: Topology,
    pub policies: Policies,
    pub sandbox: Sandbox,
}

impl Town {
    pub fn build(test_name: &str) -> Result<Self> {
        let topology = Topology::read();
        let parties = topology.parties();
        let sandbox = Sandbox::with_gateways(test_name, &[])?;
        let mut routers = String::new();
        for prefix in prefixes(&parties) {
            writeln!(routers, "addr add {prefix} dev br0 nodad")?;
        }
        ip(&sandbox.node(), &sandbox.run_dir(), &routers)?;
        let place = |party: &Party| place(&sandbox, party);
        let pods: Vec<_> = parties.iter().map(place).collect::<Result<_>>()?;
        let mut town = Self {
            probers: Vec::new(),
            parties,
            pods,
            topology,
            policies: Policies::default(),
            sandbox,
        };
        town.describe()?;
        for (party, pod) in town.parties.iter().zip(&town.pods) {
            // Those outside are on other machines: no program of ours runs for their sockets.
            let place = if party.is_pod() {
                pod.place().clone()
            } else {
                pod.unenrolled()
            };
            town.probers.push(Prober::start(&place, &party.ips, &PORTS)?);
        }
        let node = Prober::start(town.sandbox.outside_pod(), &[], &[])?;
        town.probers.push(node);
        Ok(town)
    }

    /// The namespace of a party.
    pub fn pod(&self, name: &str) -> &Pod {
        let at = self.parties.iter().position(|party| party.name == name);
        at.map_or_else(|| panic!("nobody is called {name}"), |at| &self.pods[at])
    }

    /// Writes all Namespaces and Pods.
    fn describe(&self) -> Result<()> {
        let manifests = self.sandbox.manifests();
        for name in self.topology.namespaces.keys() {
            manifests.apply(&self.topology.namespace(name))?;
        }
        let pods = self.parties.iter().zip(&self.pods);
        let pods = pods.filter(|(party, _)| party.is_pod());
        let pods: Vec<_> = pods.map(|(party, pod)| self.topology.pod(party, pod)).collect();
        manifests.apply_all(&pods)
    }

    /// Tries all these flows at once; the second of each is whether it should pass.
    pub fn attempt(&self, flows: &[(Flow<'_>, bool)]) -> Result<Vec<Made>> {
        let mut orders: Vec<Vec<Attempt>> = vec![Vec::new(); self.probers.len()];
        let mut places = Vec::new();
        for (flow, hopeful) in flows {
            let prober = match flow.from {
                Some(from) => self.parties.iter().position(|party| party.name == from.name),
                None => Some(self.parties.len()),
            };
            let prober = prober.context("a flow from nobody")?;
            places.push((prober, orders[prober].len()));
            orders[prober].push(Attempt {
                protocol: flow.protocol,
                to: SocketAddr::new(flow.to.ips[flow.family], flow.port),
                hopeful: *hopeful,
            });
        }
        let rounds: Vec<_> = self
            .probers
            .iter()
            .zip(orders)
            .map(|(prober, order)| prober.begin(order))
            .collect::<Result<_>>()?;
        let made: Vec<_> = rounds.into_iter().map(Round::end).collect::<Result<_>>()?;
        Ok(places
            .into_iter()
            .map(|(prober, at)| made[prober][at].clone())
            .collect())
    }
}

/// The namespace of a party, with the node as its router.
fn place(sandbox: &Sandbox, party: &Party) -> Result<Pod> {
    let ips = party.ips.map(|ip| ip.to_string());
    // "node" is the name of the sandbox's own.
    let name = match party.name.split_once('/') {
        Some((namespace, name)) => format!("{namespace}-{name}"),
        None => format!("out-{}", party.name),
    };
    let pod = sandbox.pod(&name, &ips.each_ref().map(String::as_str))?;
    let mut routes = String::new();
    for router in routers(party) {
        writeln!(routes, "route add default via {router} dev eth0")?;
    }
    ip(&pod.unenrolled(), &sandbox.run_dir(), &routes)?;
    Ok(pod)
}

/// The router's addresses in the prefixes of a party, `/16` and `/64`.
fn routers(party: &Party) -> [String; 2] {
    let [v4, v6] = party.ips.map(|ip| ip.to_string());
    let v4: Vec<_> = v4.split('.').collect();
    let v6 = v6.rsplit_once("::").map_or(v6.as_str(), |(prefix, _)| prefix);
    [format!("{}.{}.255.254", v4[0], v4[1]), format!("{v6}::ff")]
}

fn prefixes(parties: &[Party]) -> Vec<String> {
    let mut all: Vec<_> = parties
        .iter()
        .map(routers)
        .flat_map(|[v4, v6]| [format!("{v4}/16"), format!("{v6}/64")])
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Runs lines as commands of `ip`.
fn ip(place: &Place, dir: &Path, lines: &str) -> Result<()> {
    let file = dir.join(format!("ip-{}", place.name()));
    std::fs::write(&file, lines)?;
    let output = place.command("ip").arg("-batch").arg(&file).output()?;
    ensure!(output.status.success(), "{output:?}\n{lines}");
    Ok(())
}
