//! From events to writes: the one place that changes the tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use mesh_common::{
    abi::ABI_VERSION,
    addr::Addr,
    config::{Config, flag},
    pending::Levels,
    policy::Direction,
    workload,
};

use super::{capacity, policies::Policies};
use crate::{
    datapath::{
        loader::MapSizes,
        packets::Owner,
        tables::{TableError, Tables},
    },
    model::{
        cluster::{Cluster, Dirty, Event},
        desired::PodKey,
        ledger::{Ledger, Plan},
        op::{Op, Touched},
        policy::{self, Passage},
    },
    pods::{
        assign::{self, Assignment, Candidate},
        discover,
        pending::Pending,
    },
    sys::{clock, heap, netns::Host},
    telemetry::{pods::Counts, writes::Writes},
};

/// Keeps the tables equal to the cluster.
pub struct Engine {
    cluster: Cluster,
    ledger: Ledger,
    policies: Policies,
    tables: Tables,
    writes: Writes,
    assignment: Assignment,
    pending: Pending,
    /// Where the programs look for pending pods.
    levels: Levels,
    netns_dir: PathBuf,
    host: Host,
    /// Counts the changes of Services and pods.
    changes: u64,
    /// Counts the changes of what the ids mean.
    names_version: u64,
    /// Set when a write failed: what the ledger believes is not what the tables hold.
    doubtful: bool,
}

impl Engine {
    /// Starts from what the tables hold, which may be a previous agent's work.
    ///
    /// # Errors
    /// Where the tables can't be read.
    pub fn adopt(
        cluster: Cluster,
        tables: Tables,
        sizes: &MapSizes,
        pending: Pending,
        netns_dir: &Path,
        host: Host,
    ) -> Result<Self, TableError> {
        let config = tables.config()?;
        let capacity = capacity::of_ledger(sizes);
        let (ledger, policies) = if config.abi == 0 {
            // Never written, read by nobody: every agent stamps the configuration before its first write.
            (Ledger::new(capacity), Policies::new(sizes))
        } else {
            let written = Duration::from_nanos(config.written_ns);
            (
                Ledger::adopt(&tables.observe()?, capacity, written),
                Policies::adopt(&tables.observe_policy()?, tables.observe_sources()?, sizes),
            )
        };
        Ok(Self {
            cluster,
            ledger,
            policies,
            tables,
            writes: Writes::default(),
            assignment: Assignment::default(),
            pending,
            levels: config.pending,
            netns_dir: netns_dir.to_path_buf(),
            host,
            changes: 0,
            names_version: 0,
            doubtful: false,
        })
    }

    /// Takes in what changed, and changes the tables as it wants. Returns whether that concerns a pod of this node
    /// that is in the mesh: its namespace may be there soon.
    pub fn apply(&mut self, events: Vec<Event>) -> bool {
        let mut dirty = Dirty::default();
        for event in events {
            self.names_version += u64::from(self.cluster.relabels(&event));
            dirty.merge(self.cluster.apply(event));
        }
        // Looking at the namespaces costs much, and most pods are other nodes'.
        let local = dirty.pods.iter().any(|pod| self.is_ours(pod));
        if local {
            dirty.pods.extend(self.find_pods());
        }
        self.plan(&dirty);
        self.settle();
        local
    }

    /// Whether a pod is, or was, one of this node that is in the mesh.
    fn is_ours(&self, pod: &PodKey) -> bool {
        self.cluster.local_enrolled_pod(pod).is_some()
            || self.assignment.cookies.contains_key(pod)
            || self.assignment.unassigned.contains_key(pod)
    }

    /// Takes in everything that was known of the cluster before there were tables to write.
    pub fn take_in_all(&mut self) {
        self.find_pods();
        self.names_version += 1;
        self.plan_all();
        self.settle();
    }

    /// Takes in the addresses in the host's network namespace.
    pub fn set_host_addresses(&mut self, addresses: BTreeSet<Addr>) {
        let dirty = self.cluster.set_host_addresses(addresses);
        self.names_version += u64::from(!dirty.is_empty());
        self.plan(&dirty);
    }

    /// Looks at the network namespaces and cgroups again.
    pub fn rescan(&mut self) {
        let pods = self.find_pods();
        self.plan_pods(pods);
    }

    /// Looks at the cgroups again, where something changed.
    pub fn look_for_cgroups(&mut self) {
        self.pending.stir();
        let pods = self.find_cgroups();
        self.plan_pods(pods);
    }

    /// Whether some pod waits for its network namespace.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.assignment.unassigned.is_empty()
    }

    /// Removes what a previous agent wrote and nobody wants any more; to be called once everything was seen. After a
    /// write that failed nobody knows what is wanted: [`Self::retry`] comes back to it.
    pub fn retire(&mut self) {
        if self.doubtful {
            return;
        }
        let now = clock::monotonic();
        let plan = self.ledger.retire_unclaimed(now);
        self.carry_out(&plan);
        // Whoever calls this has just taken in everything, which takes more memory than is kept.
        heap::trim();
    }

    /// Tries again what found no room, or could not be written.
    pub fn retry(&mut self) {
        if self.doubtful {
            return self.start_over();
        }
        if self.policies.is_due(clock::monotonic()) && !self.enforce() {
            return;
        }
        let now = clock::monotonic();
        let services = self.ledger.refused_services(now).into_iter().collect();
        let pods = self.ledger.refused_workloads(now).into_iter().collect();
        self.plan(&Dirty {
            services,
            pods,
            ..Dirty::default()
        });
    }

    /// Whether the tables hold what was last taken in, as far as there is room.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        !self.doubtful
    }

    /// Marks the tables as filled by this version, once more.
    ///
    /// # Errors
    /// Where they can't be written.
    pub fn stamp(&mut self) -> Result<(), TableError> {
        let config = self.tables.config()?;
        self.tables.set_config(Config {
            abi: ABI_VERSION,
            generation: config.generation + 1,
            host_netns: self.host.cookie(),
            ..config
        })
    }

    /// Says whether somebody watches the flows live.
    pub fn set_watched(&mut self, watched: bool) {
        if let Err(error) = self.set_flag(flag::WATCHED, watched) {
            tracing::warn!(%error, "opened connections may be missing in the flows");
        }
    }

    /// Sets or clears a flag that the programs read.
    ///
    /// # Errors
    /// Where the configuration can't be read or written.
    pub fn set_flag(&mut self, flag: u32, on: bool) -> Result<(), TableError> {
        let config = self.tables.config()?;
        let wanted = config.with(flag, on);
        if wanted == config {
            Ok(())
        } else {
            self.tables.set_config(wanted)
        }
    }

    /// What is known of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Who may talk to whom, as this node enforces it.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Whether a policy denies what an open connection does. A pod's peer at an address of the host may be a socket of the
    /// host itself, which no policy denies; whether it is, only its packets tell.
    #[must_use]
    pub fn denies(&self, passage: &Passage) -> bool {
        let asked_by_host =
            passage.direction == Direction::Ingress && self.cluster.is_host_address(&passage.other);
        let audited = || {
            let pod = self.ledger.workload(passage.pod);
            pod.is_some_and(|pod| self.cluster.is_audited(&pod.object.namespace))
        };
        !asked_by_host && self.policies.deny(passage) && !audited()
    }

    /// Who has which id and slot.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The tables.
    pub fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }

    /// Rises with every change of a Service, its endpoints or a pod.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// What is written to the tables, counted.
    #[must_use]
    pub const fn writes(&self) -> &Writes {
        &self.writes
    }

    /// Rises whenever an id may mean something else than before.
    #[must_use]
    pub const fn names_version(&self) -> u64 {
        self.names_version
    }

    /// Which pod has which network namespace.
    #[must_use]
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// How many pods of this node are known in which way.
    #[must_use]
    pub fn pod_counts(&self) -> Counts {
        let unassigned = self.assignment.unassigned.keys();
        let (pending, unknown): (Vec<_>, Vec<_>) = unassigned
            .chain(no_room(&self.assignment, &self.ledger))
            .partition(|pod| self.pending.cgroup(pod).is_some());
        Counts {
            enrolled: self.assignment.cookies.len() - no_room(&self.assignment, &self.ledger).count(),
            partial: 0,
            pending: pending.len(),
            unknown: unknown.len(),
            unenrolled: self.cluster.unenrolled().count(),
        }
    }

    /// Which pods are known by their cgroup, and how.
    #[must_use]
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Looks for the network namespaces of the pods, and for the cgroups of those that have none; returns the pods for
    /// which that changed something.
    fn find_pods(&mut self) -> BTreeSet<PodKey> {
        let mut changed = self.find_namespaces();
        changed.extend(self.find_cgroups());
        changed
    }

    fn find_cgroups(&mut self) -> BTreeSet<PodKey> {
        let unassigned = self.assignment.unassigned.keys();
        // No pod is in both: a cgroup that two have is nobody's.
        let waiting = unassigned.chain(no_room(&self.assignment, &self.ledger));
        let waiting = waiting.filter_map(|pod| self.cluster.local_enrolled_pod(pod));
        let changed = self
            .pending
            .look(waiting.filter_map(|pod| Some((pod.key, pod.kubelet_id?))));
        // The programs look there before there is something to find.
        if !self.pending.levels().is_none() {
            self.look_at(self.pending.levels());
        }
        changed
    }

    /// Says where the programs look for pending pods.
    fn look_at(&mut self, levels: Levels) {
        if self.levels == levels {
            return;
        }
        let host_netns = self.host.cookie();
        let written = self.tables.config().and_then(|config| {
            self.tables.set_config(Config {
                pending: levels,
                host_netns,
                ..config
            })
        });
        match written {
            Ok(()) => self.levels = levels,
            Err(error) => {
                tracing::error!(%error, "the configuration can't be written; all tables will be read back");
                self.doubtful = true;
            }
        }
    }

    /// What the packet programs are to know of a pod; `None` as long as it has no workload id.
    #[must_use]
    pub fn owner(&self, pod: &PodKey) -> Option<Owner> {
        let workload = self.ledger.id_of(pod)?;
        let closed = self.cluster.fails_closed(&pod.object.namespace);
        let flags = if closed { workload::flag::CLOSED } else { 0 };
        Some(Owner { workload, flags })
    }

    /// Handles of the pods' network namespaces, by their cookies.
    #[must_use]
    pub fn handles(&self) -> BTreeMap<u64, PathBuf> {
        let Assignment { cookies, paths, .. } = &self.assignment;
        let handle = |(pod, &cookie)| Some((cookie, paths.get(pod)?.clone()));
        cookies.iter().filter_map(handle).collect()
    }

    /// Ties pods to namespaces anew; returns the pods for which that changed something.
    fn find_namespaces(&mut self) -> BTreeSet<PodKey> {
        let candidates: Vec<Candidate> = self
            .cluster
            .local_enrolled()
            .map(|pod| Candidate {
                pod: pod.key.clone(),
                addresses: pod.addresses,
                annotation: pod.netns.map(ToOwned::to_owned),
            })
            .collect();
        let mut namespaces = match discover::scan(&self.netns_dir, &self.host) {
            Ok(namespaces) => namespaces,
            Err(error) if candidates.is_empty() => {
                tracing::debug!(dir = %self.netns_dir.display(), %error, "no network namespaces");
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(dir = %self.netns_dir.display(), %error, "the network namespaces can't be listed");
                let next = self.assignment.unlisted(&candidates, &self.netns_dir, &error);
                return self.reassign(next);
            }
        };
        for path in candidates
            .iter()
            .filter_map(|pod| pod.annotation.as_ref())
            .map(|name| self.netns_dir.join(name))
        {
            if namespaces.iter().all(|namespace| namespace.path != path) {
                namespaces.extend(discover::look(&path, &self.host));
            }
        }
        let before = &self.assignment.cookies;
        let next = assign::assign(&candidates, &namespaces, &self.netns_dir, before);
        self.reassign(next)
    }

    fn reassign(&mut self, next: Assignment) -> BTreeSet<PodKey> {
        for (pod, reason) in &next.unassigned {
            if self.assignment.unassigned.get(pod) != Some(reason) {
                tracing::info!(%pod, %reason, "pod without a network namespace");
            }
        }
        let changed = changed_keys(&self.assignment.cookies, &next.cookies);
        self.assignment = next;
        changed
    }

    fn plan_pods(&mut self, pods: BTreeSet<PodKey>) {
        self.plan(&Dirty {
            pods,
            ..Dirty::default()
        });
        self.settle();
    }

    /// After a plan: those who found no room for their network namespace stay pending, and what is no longer there was
    /// looked for until now.
    fn settle(&mut self) {
        if self.ledger.refused_without_netns().next().is_some() {
            let pods = self.find_cgroups();
            self.plan(&Dirty {
                pods,
                ..Dirty::default()
            });
        }
        self.look_at(self.pending.levels());
    }

    fn plan(&mut self, dirty: &Dirty) {
        self.changes += u64::from(!dirty.is_empty());
        if self.doubtful {
            return;
        }
        let plans: Vec<_> = dirty.pods.iter().map(|pod| self.plan_pod(pod)).collect();
        self.policies.take_in(&self.cluster, dirty);
        // What the rules of a pod are is known before its sockets are.
        if !self.enforce() || !self.allow_sources(dirty) || !plans.iter().all(|plan| self.carry_out(plan)) {
            return;
        }
        let now = clock::monotonic();
        for service in &dirty.services {
            let ports = self.cluster.service(service);
            let plan = self.ledger.plan_service(service, ports.as_ref(), now);
            if !self.carry_out(&plan) {
                return;
            }
        }
    }

    fn plan_pod(&mut self, pod: &PodKey) -> Plan {
        let mut workload = self.cluster.workload(pod);
        if let Some(workload) = &mut workload {
            workload.netns = self.assignment.cookies.get(pod).copied();
            workload.cgroup = self.pending.cgroup(pod).map(|cgroup| cgroup.id);
        }
        let plan = self
            .ledger
            .plan_workload(pod, workload.as_ref(), clock::monotonic());
        self.policies.set_pod(pod, &self.cluster, &self.ledger);
        plan
    }

    /// Writes what the policies have become; returns whether all of it was written.
    fn enforce(&mut self) -> bool {
        let ops = self.policies.plan(clock::monotonic());
        if ops.is_empty() {
            return true;
        }
        // Denials are told by the numbers of sets.
        let renames = |op: &policy::Op| matches!(op, policy::Op::SetPodRules { .. });
        self.names_version += u64::from(ops.iter().any(renames));
        let written = self.carry_out_policies(&ops);
        if let Err(error) = written {
            tracing::error!(%error, "a table of policies can't be written; all tables will be read back");
            self.doubtful = true;
        }
        !self.doubtful
    }

    /// Writes what pods may send from; returns whether all of it was written.
    fn allow_sources(&mut self, dirty: &Dirty) -> bool {
        if dirty.pods.is_empty() {
            return true;
        }
        let ops = self.policies.plan_sources(&self.cluster, &self.ledger);
        if let Err(error) = ops.iter().try_for_each(|op| self.tables.apply_source(op)) {
            tracing::error!(%error, "the table of sources can't be written; all tables will be read back");
            self.doubtful = true;
        }
        !self.doubtful
    }

    /// While there are policies, the programs note the host's own connections to pods: from before the first is in force
    /// until after the last is gone.
    fn carry_out_policies(&mut self, ops: &[policy::Op]) -> Result<(), TableError> {
        let policed = self.cluster.policies().next().is_some();
        self.mark_written()?;
        if policed {
            self.set_flag(flag::POLICED, true)?;
        }
        for op in ops {
            self.writes.count(op.map(), 1);
            self.tables.apply_policy(op)?;
        }
        if policed {
            Ok(())
        } else {
            self.set_flag(flag::POLICED, false)
        }
    }

    /// Notes, before the first write ever, that the tables were written.
    fn mark_written(&mut self) -> Result<(), TableError> {
        let config = self.tables.config()?;
        if config.abi == ABI_VERSION {
            return Ok(());
        }
        self.tables.set_config(Config {
            abi: ABI_VERSION,
            ..config
        })
    }

    /// Writes a plan; returns whether all of it was written. If not, nothing more is planned until the tables
    /// were read back.
    fn carry_out(&mut self, plan: &Plan) -> bool {
        for refusal in &plan.refusals {
            tracing::warn!(%refusal, "not written");
        }
        self.names_version += u64::from(plan.ops.iter().any(renames));
        if let Err(error) = self.write(plan) {
            tracing::error!(%error, "a table can't be written; all of them will be read back");
            self.doubtful = true;
        }
        !self.doubtful
    }

    fn write(&mut self, plan: &Plan) -> Result<(), TableError> {
        if plan.ops.is_empty() {
            return Ok(());
        }
        // First say what will be used, and when; then write. Whoever takes over, should we be killed on the way,
        // knows what may have been freed.
        let config = self.tables.config()?;
        let touched = plan.ops.iter().fold(Touched::from(&config), Touched::and);
        self.tables.set_config(Config {
            abi: ABI_VERSION,
            written_ns: u64::try_from(clock::monotonic().as_nanos()).unwrap_or(u64::MAX),
            services_touched: touched.services,
            backends_touched: touched.backends,
            slots_touched: touched.slots,
            ..config
        })?;
        plan.ops.iter().try_for_each(|op| {
            let (map, entries) = op.extent();
            self.writes.count(map, entries);
            self.tables.apply(op)
        })
    }

    /// After a write that failed half way: believes the tables and nothing else, and plans everything again.
    /// Where they can't be read or written either, the next try does.
    fn start_over(&mut self) {
        let observed = self.tables.observe().and_then(|observed| {
            Ok((
                observed,
                self.tables.observe_policy()?,
                self.tables.observe_sources()?,
            ))
        });
        match observed {
            Ok((observed, policies, sources)) => {
                self.ledger = Ledger::readopt(&observed, clock::monotonic(), &self.ledger);
                self.policies.readopt(&policies, sources);
                self.doubtful = false;
            }
            Err(error) => return tracing::error!(%error, "the tables can't be read back"),
        }
        self.plan_all();
        self.retire();
    }

    fn plan_all(&mut self) {
        let services = self.cluster.services().cloned().collect();
        let pods = self.cluster.pods().cloned().collect();
        let policies = self.cluster.policies().cloned().collect();
        let namespaces = self.cluster.namespaces().map(ToOwned::to_owned).collect();
        self.plan(&Dirty {
            services,
            pods,
            policies,
            namespaces,
        });
    }
}

/// The pods whose network namespace is known, but finds no room in the tables.
fn no_room<'a>(assignment: &'a Assignment, ledger: &'a Ledger) -> impl Iterator<Item = &'a PodKey> {
    let refused = ledger.refused_without_netns();
    refused.filter(|pod| assignment.cookies.contains_key(*pod))
}

/// Keys whose value is not the same in both.
fn changed_keys<K: Ord + Clone, V: PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> BTreeSet<K> {
    let differs = |key: &&K| before.get(*key) != after.get(*key);
    before
        .keys()
        .chain(after.keys())
        .filter(differs)
        .cloned()
        .collect()
}

/// Whether a write gives or takes a name: endpoints that come and go mostly do not.
const fn renames(op: &Op) -> bool {
    matches!(
        op,
        Op::SetFrontend { .. }
            | Op::RemoveFrontend(_)
            | Op::SetWorkload { .. }
            | Op::RemoveWorkload(_)
            | Op::SetPod { .. }
            | Op::RemovePod(_)
            | Op::SetPending { .. }
            | Op::RemovePending(_)
    )
}
