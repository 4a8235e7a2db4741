//! Pending pods: of this node, in the mesh, and not known by their network namespace yet; by their cgroups meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mesh_common::pending::Levels;

use super::kubepods::{self, Cgroup};
use crate::model::desired::PodKey;

/// The kubelet's directories are looked for no more often than this: where it has none, all others are looked at.
const AGAIN: Duration = Duration::from_secs(1);

/// The cgroups of pending pods.
#[derive(Debug)]
pub struct Pending {
    top: PathBuf,
    roots: Vec<PathBuf>,
    /// When the roots were looked for, unless something changed where they may be since.
    sought: Option<Instant>,
    cgroups: BTreeMap<PodKey, Cgroup>,
    levels: Levels,
}

impl Pending {
    /// Looks for the kubelet's directories below a cgroup.
    #[must_use]
    pub fn below(top: &Path) -> Self {
        Self {
            top: top.to_path_buf(),
            roots: kubepods::find(top),
            sought: Some(Instant::now()),
            cgroups: BTreeMap::new(),
            levels: Levels::NONE,
        }
    }

    /// Looks for the cgroups of these pods, each with what the kubelet names its cgroup by; returns those for which
    /// something changed.
    pub fn look<'a>(&mut self, pods: impl Iterator<Item = (&'a PodKey, &'a str)>) -> BTreeSet<PodKey> {
        let pods: Vec<_> = pods.collect();
        let is_lost = self.roots.is_empty() || self.roots.iter().any(|root| !root.exists());
        let is_due = self.sought.is_none_or(|sought| sought.elapsed() > AGAIN);
        if is_lost && is_due && !pods.is_empty() {
            self.roots = kubepods::find(&self.top);
            self.sought = Some(Instant::now());
        }
        let found = pods
            .into_iter()
            .filter_map(|(pod, id)| Some((pod, kubepods::cgroup(&self.roots, id)?)));
        let next = unshared(found.collect());
        let differs = |pod: &&PodKey| self.cgroups.get(*pod) != next.get(*pod);
        let changed = self
            .cgroups
            .keys()
            .chain(next.keys())
            .filter(differs)
            .cloned()
            .collect();
        self.cgroups = next;
        self.levels = if self.cgroups.is_empty() {
            Levels::NONE
        } else {
            kubepods::levels(&self.roots)
        };
        changed
    }

    /// Something changed in [`Self::places`].
    pub const fn stir(&mut self) {
        self.sought = None;
    }

    /// The cgroup of a pending pod.
    #[must_use]
    pub fn cgroup(&self, pod: &PodKey) -> Option<&Cgroup> {
        self.cgroups.get(pod)
    }

    /// Where the programs must look for those that were found.
    #[must_use]
    pub const fn levels(&self) -> Levels {
        self.levels
    }

    /// Where cgroups of pods will appear, or else the kubelet's directory.
    #[must_use]
    pub fn places(&self) -> BTreeSet<PathBuf> {
        if self.roots.is_empty() {
            return BTreeSet::from([self.top.clone()]);
        }
        self.roots
            .iter()
            .flat_map(|root| kubepods::parents(root))
            .collect()
    }

    /// How pending pods are recognised, for operators.
    #[must_use]
    pub fn describe(&self) -> String {
        if self.roots.is_empty() {
            return format!(
                "node-wide default (open): {} has no path per pod, so a pod is known once its address is",
                self.top.display()
            );
        }
        let roots: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
        format!("by cgroup, below {}", roots.join(", "))
    }
}

/// A cgroup that two pods seem to have is nobody's.
fn unshared(found: Vec<(&PodKey, Cgroup)>) -> BTreeMap<PodKey, Cgroup> {
    let mut owners: BTreeMap<u64, u32> = BTreeMap::new();
    for (_, cgroup) in &found {
        *owners.entry(cgroup.id).or_default() += 1;
    }
    let own = found
        .into_iter()
        .filter(|(_, cgroup)| owners.get(&cgroup.id) == Some(&1));
    own.map(|(pod, cgroup)| (pod.clone(), cgroup)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::desired::ObjectName;

    fn pod(name: &str) -> PodKey {
        PodKey {
            object: ObjectName::new("shop", name),
            uid: name.into(),
        }
    }

    #[test]
    fn cgroups_come_and_go() {
        let top = tempfile::tempdir().unwrap();
        let dir = |name: &str| top.path().join("kubepods").join(name);
        fs::create_dir_all(dir("")).unwrap();
        let mut pending = Pending::below(top.path());
        let (a, b) = (pod("a"), pod("b"));
        assert!(pending.look([(&a, "a")].into_iter()).is_empty());
        assert!(pending.levels().is_none());

        fs::create_dir(dir("poda")).unwrap();
        assert_eq!(pending.look([(&a, "a")].into_iter()), [a.clone()].into());
        assert_eq!(pending.cgroup(&a).unwrap().path, dir("poda"));
        assert!(pending.look([(&a, "a")].into_iter()).is_empty());
        // One cgroup, two pods.
        assert_eq!(
            pending.look([(&a, "a"), (&b, "a")].into_iter()),
            [a.clone()].into()
        );
        assert_eq!(pending.cgroup(&b), None);
        assert_eq!(pending.look([(&b, "a")].into_iter()), [b.clone()].into());
        fs::remove_dir(dir("poda")).unwrap();
        assert_eq!(pending.look([(&b, "a")].into_iter()), [b].into());
    }

    #[test]
    fn a_kubelet_that_comes_later_is_found_when_something_stirs() {
        let top = tempfile::tempdir().unwrap();
        let mut pending = Pending::below(top.path());
        fs::create_dir_all(top.path().join("kubepods/poda")).unwrap();
        let a = pod("a");
        pending.stir();
        assert_eq!(pending.look([(&a, "a")].into_iter()), [a].into());
    }

    #[test]
    fn where_cgroups_cannot_tell_that_is_said() {
        let top = tempfile::tempdir().unwrap();
        let pending = Pending::below(top.path());
        assert_eq!(
            pending.describe(),
            format!(
                "node-wide default (open): {} has no path per pod, so a pod is known once its address is",
                top.path().display()
            )
        );
        assert_eq!(pending.places(), [top.path().to_path_buf()].into());
        fs::create_dir(top.path().join("kubepods")).unwrap();
        let pending = Pending::below(top.path());
        assert!(pending.describe().starts_with("by cgroup, below "));
        assert_eq!(pending.places().len(), 3);
    }
}
