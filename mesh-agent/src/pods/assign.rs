//! Ties pods to network namespaces: by the pod's address, or by its annotation; never by guessing.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use mesh_common::addr::Addr;
use thiserror::Error;

use super::{discover::Namespace, links::Link};
use crate::model::desired::PodKey;

/// What a local, enrolled pod says of its namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// The pod.
    pub pod: PodKey,
    /// Its addresses.
    pub addresses: Vec<Addr>,
    /// The value of the annotation `mesh-agent.io/netns`, where it is there and heeded.
    pub annotation: Option<String>,
}

/// Why a pod has no namespace.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Unassigned {
    /// It was not given an address (yet).
    #[error("it has no address of its own yet")]
    NoAddress,
    /// No namespace has its address (yet).
    #[error("no network namespace under {dir} has its address {addresses}")]
    NotFound {
        /// Where was looked.
        dir: PathBuf,
        /// The pod's addresses.
        addresses: String,
    },
    /// More than one namespace could be it.
    #[error("{count} network namespaces have its address ({paths}): no match until one is left")]
    Ambiguous {
        /// How many.
        count: usize,
        /// Which.
        paths: String,
    },
    /// The annotation names nothing that is there.
    #[error(
        "annotation mesh-agent.io/netns names {path}, which is no network namespace that could be entered"
    )]
    Annotation {
        /// The path.
        path: PathBuf,
    },
    /// Nobody could look.
    #[error("the network namespaces under {dir} can't be listed: {error}")]
    Unlisted {
        /// Where.
        dir: PathBuf,
        /// Why.
        error: String,
    },
    /// Another pod is matched by the same namespace.
    #[error("its network namespace {path} also matches pod {other}: no match until one is left")]
    Shared {
        /// The namespace.
        path: PathBuf,
        /// The other pod.
        other: PodKey,
    },
}

/// Who has which namespace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Assignment {
    /// Cookie by pod.
    pub cookies: BTreeMap<PodKey, u64>,
    /// Path of the handle by pod.
    pub paths: BTreeMap<PodKey, PathBuf>,
    /// Interfaces by pod.
    pub links: BTreeMap<PodKey, Vec<Link>>,
    /// The pods that have none, with the reason.
    pub unassigned: BTreeMap<PodKey, Unassigned>,
}

impl Assignment {
    /// What is left of it where the namespaces can't be listed: who was tied stays so, and nobody else is.
    #[must_use]
    pub fn unlisted(&self, pods: &[Candidate], dir: &Path, error: &io::Error) -> Self {
        let (tied, others): (Vec<_>, Vec<_>) = pods
            .iter()
            .map(|candidate| candidate.pod.clone())
            .partition(|pod| self.cookies.contains_key(pod));
        let reason = Unassigned::Unlisted {
            dir: dir.to_path_buf(),
            error: error.to_string(),
        };
        Self {
            cookies: of(&self.cookies, &tied),
            paths: of(&self.paths, &tied),
            links: of(&self.links, &tied),
            unassigned: others.into_iter().map(|pod| (pod, reason.clone())).collect(),
        }
    }
}

fn of<T: Clone>(map: &BTreeMap<PodKey, T>, pods: &[PodKey]) -> BTreeMap<PodKey, T> {
    let entry = |pod: &PodKey| Some((pod.clone(), map.get(pod)?.clone()));
    pods.iter().filter_map(entry).collect()
}

/// Ties each pod to at most one namespace, and each namespace to at most one pod.
///
/// Who was tied before stays so as long as that namespace has an address of it: a pod that may configure its network could
/// else untie others by adding their addresses.
#[must_use]
pub fn assign(
    pods: &[Candidate],
    namespaces: &[Namespace],
    dir: &Path,
    before: &BTreeMap<PodKey, u64>,
) -> Assignment {
    let mut chosen: BTreeMap<&PodKey, &Namespace> = BTreeMap::new();
    let mut result = Assignment::default();
    for pod in pods {
        match choose(pod, namespaces, dir, before.get(&pod.pod).copied()) {
            Ok(namespace) => drop(chosen.insert(&pod.pod, namespace)),
            Err(reason) => drop(result.unassigned.insert(pod.pod.clone(), reason)),
        }
    }
    for (pod, namespace) in &chosen {
        let was = |pod: &PodKey| before.get(pod) == Some(&namespace.cookie);
        let rival = chosen
            .iter()
            .find(|(other, theirs)| *other != pod && theirs.cookie == namespace.cookie);
        let rival = rival.filter(|(other, _)| !was(pod) || was(other));
        if let Some((&other, _)) = rival {
            let reason = Unassigned::Shared {
                path: namespace.path.clone(),
                other: other.clone(),
            };
            result.unassigned.insert((*pod).clone(), reason);
        } else {
            result.cookies.insert((*pod).clone(), namespace.cookie);
            result.paths.insert((*pod).clone(), namespace.path.clone());
            result.links.insert((*pod).clone(), namespace.links.clone());
        }
    }
    result
}

fn choose<'a>(
    pod: &Candidate,
    namespaces: &'a [Namespace],
    dir: &Path,
    before: Option<u64>,
) -> Result<&'a Namespace, Unassigned> {
    if let Some(annotation) = &pod.annotation {
        // Joining an absolute path replaces the directory.
        let path = dir.join(annotation);
        let named = namespaces.iter().find(|namespace| namespace.path == path);
        return named.ok_or(Unassigned::Annotation { path });
    }
    if pod.addresses.is_empty() {
        return Err(Unassigned::NoAddress);
    }
    let ours: BTreeSet<Addr> = pod.addresses.iter().copied().collect();
    let matches: Vec<&Namespace> = namespaces
        .iter()
        .filter(|namespace| namespace.addresses.iter().any(|addr| ours.contains(addr)))
        .collect();
    if let Some(still) = matches.iter().find(|it| Some(it.cookie) == before) {
        return Ok(still);
    }
    match matches[..] {
        [only] => Ok(only),
        [] => Err(Unassigned::NotFound {
            dir: dir.to_path_buf(),
            addresses: join(&pod.addresses),
        }),
        _ => {
            let paths: Vec<_> = matches.iter().map(|namespace| namespace.path.display()).collect();
            Err(Unassigned::Ambiguous {
                count: matches.len(),
                paths: join(&paths),
            })
        }
    }
}

fn join(items: &[impl ToString]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::desired::ObjectName;

    const DIR: &str = "/run/netns";

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn pod(name: &str, ip: &str, annotation: Option<&str>) -> Candidate {
        Candidate {
            pod: PodKey {
                object: ObjectName::new("shop", name),
                uid: name.into(),
            },
            addresses: vec![addr(ip)],
            annotation: annotation.map(Into::into),
        }
    }

    fn namespace(name: &str, cookie: u64, ips: &[&str]) -> Namespace {
        let addresses = ips.iter().map(|ip| addr(ip)).collect();
        Namespace {
            path: Path::new(DIR).join(name),
            cookie,
            addresses,
            links: Vec::new(),
        }
    }

    fn run(pods: &[Candidate], namespaces: &[Namespace]) -> Assignment {
        later(pods, namespaces, &BTreeMap::new())
    }

    fn later(pods: &[Candidate], namespaces: &[Namespace], before: &BTreeMap<PodKey, u64>) -> Assignment {
        assign(pods, namespaces, Path::new(DIR), before)
    }

    #[test]
    fn one_match_is_a_match() {
        let web = pod("web", "10.0.0.1", None);
        let result = run(
            std::slice::from_ref(&web),
            &[
                namespace("a", 1, &["10.0.0.1", "fd00::1"]),
                namespace("b", 2, &["10.0.0.2"]),
            ],
        );
        assert_eq!(result.cookies[&web.pod], 1);
        assert!(result.unassigned.is_empty());
    }

    #[test]
    fn none_is_reported_with_its_address() {
        let web = pod("web", "10.0.0.1", None);
        let result = run(std::slice::from_ref(&web), &[namespace("b", 2, &["10.0.0.2"])]);
        assert!(result.cookies.is_empty());
        assert!(result.unassigned[&web.pod].to_string().contains("10.0.0.1"));
    }

    #[test]
    fn more_than_one_is_no_match() {
        let web = pod("web", "10.0.0.1", None);
        let result = run(
            std::slice::from_ref(&web),
            &[namespace("a", 1, &["10.0.0.1"]), namespace("b", 2, &["10.0.0.1"])],
        );
        assert!(result.cookies.is_empty());
        assert!(matches!(
            result.unassigned[&web.pod],
            Unassigned::Ambiguous { count: 2, .. }
        ));
    }

    #[test]
    fn the_annotation_decides_by_name_or_path() {
        let spaces = [namespace("a", 1, &["10.0.0.1"]), namespace("b", 2, &["10.0.0.1"])];
        let by_name = pod("x", "10.0.0.1", Some("b"));
        assert_eq!(
            run(std::slice::from_ref(&by_name), &spaces).cookies[&by_name.pod],
            2
        );
        let by_path = pod("x", "10.0.0.1", Some("/run/netns/a"));
        assert_eq!(
            run(std::slice::from_ref(&by_path), &spaces).cookies[&by_path.pod],
            1
        );
        let unknown = pod("x", "10.0.0.1", Some("c"));
        assert!(matches!(
            run(std::slice::from_ref(&unknown), &spaces).unassigned[&unknown.pod],
            Unassigned::Annotation { .. }
        ));
    }

    #[test]
    fn a_namespace_has_one_owner() {
        let (old, new) = (pod("old", "10.0.0.1", None), pod("new", "10.0.0.1", None));
        let result = run(&[old, new], &[namespace("a", 1, &["10.0.0.1"])]);
        assert!(result.cookies.is_empty());
        assert_eq!(result.unassigned.len(), 2);
    }

    #[test]
    fn who_was_tied_stays_so_while_the_namespace_has_its_address() {
        let (old, new) = (pod("old", "10.0.0.1", None), pod("new", "10.0.0.2", None));
        let pods = [old.clone(), new.clone()];
        let (own, both) = (&["10.0.0.1"][..], &["10.0.0.1", "10.0.0.2"][..]);
        // What a has, what b has, to which the pods were tied and are.
        let table = [
            // Another pod's namespace has its address, too.
            (own, both, [Some(1), Some(2)], [Some(1), Some(2)]),
            // Who was never tied waits until one is left.
            (own, both, [None, Some(2)], [None, Some(2)]),
            (own, both, [None, None], [None, Some(2)]),
            (both, both, [None, None], [None, None]),
            // Its own lost the address: the other one is somebody else's.
            (&[], both, [Some(1), Some(2)], [None, Some(2)]),
            (both, &[], [Some(1), None], [Some(1), None]),
            // Tied to one that is gone.
            (own, &["10.0.0.2"], [Some(9), Some(2)], [Some(1), Some(2)]),
        ];
        for (index, (a, b, before, after)) in table.into_iter().enumerate() {
            let spaces = [namespace("a", 1, a), namespace("b", 2, b)];
            let tied = |cookies: [Option<u64>; 2]| -> BTreeMap<PodKey, u64> {
                let keys = pods.iter().map(|it| it.pod.clone());
                keys.zip(cookies)
                    .filter_map(|(pod, cookie)| Some((pod, cookie?)))
                    .collect()
            };
            assert_eq!(
                later(&pods, &spaces, &tied(before)).cookies,
                tied(after),
                "case {index}"
            );
        }
    }

    #[test]
    fn where_nobody_can_look_who_was_tied_stays_so_and_the_others_wait() {
        let [old, new, gone] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| pod(ip, ip, None));
        let spaces = [namespace("a", 1, &["10.0.0.1"]), namespace("c", 3, &["10.0.0.3"])];
        let before = run(&[old.clone(), gone], &spaces);
        let denied = io::ErrorKind::PermissionDenied.into();
        let now = before.unlisted(&[old.clone(), new.clone()], Path::new(DIR), &denied);
        assert_eq!(now.cookies, [(old.pod.clone(), 1)].into());
        assert!(now.paths.keys().eq([&old.pod]) && now.links.keys().eq([&old.pod]));
        assert_eq!(
            now.unassigned[&new.pod].to_string(),
            "the network namespaces under /run/netns can't be listed: permission denied"
        );
        assert_eq!(now.unassigned.len(), 1);
    }
}
