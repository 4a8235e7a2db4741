//! Where the kubelet keeps the cgroups of pods, and which is whose.
//!
//! A pod's cgroup is there before anything of the pod runs. Its name comes from the pod's uid, its place from the kubelet's
//! cgroup driver and from the pod's class of quality of service (`pkg/kubelet/cm/pod_container_manager_linux.go` and
//! `cgroup_manager_linux.go` of 1.33):
//!
//! ```text
//! cgroupfs  kubepods/[burstable/|besteffort/]pod<uid>
//! systemd   kubepods.slice/[kubepods-burstable.slice/]kubepods[-burstable]-pod<uid, _ for ->.slice
//! ```
//!
//! below whatever `--cgroup-root` says, which kind sets: `kubelet.slice/kubelet-kubepods.slice`.

use std::{
    fs, iter,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use mesh_common::pending::Levels;

/// The kubelet's directory is looked for so deep, no deeper: what lies in a container's cgroup is the container's word.
const DEPTH: usize = 3;

/// The classes that have a directory of their own; pods of the third, Guaranteed, lie beside them.
const CLASSES: [&str; 2] = ["burstable", "besteffort"];

/// A cgroup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cgroup {
    /// Its directory.
    pub path: PathBuf,
    /// The kernel's id: the inode number of the directory.
    pub id: u64,
}

/// The kubelet's directories of pods below a cgroup: those that lie nearest. More than one where several nodes share
/// a host.
#[must_use]
pub fn find(top: &Path) -> Vec<PathBuf> {
    let mut level = vec![top.to_path_buf()];
    for _ in 0..DEPTH {
        let children = level.iter().flat_map(|dir| directories(dir));
        let children: Vec<PathBuf> = children.collect();
        let found = children.iter().filter(|dir| is_kubepods(dir));
        let found: Vec<PathBuf> = found.cloned().collect();
        if !found.is_empty() {
            return found;
        }
        level = children;
    }
    Vec::new()
}

/// The directories whose children are pods' cgroups.
pub fn parents(root: &Path) -> impl Iterator<Item = PathBuf> {
    let of_class = |class: &str| {
        root.join(match slice(root) {
            Some(stem) => format!("{stem}-{class}.slice"),
            None => class.to_owned(),
        })
    };
    iter::once(root.to_path_buf()).chain(CLASSES.map(of_class))
}

/// What may be the directory of the pod that the kubelet knows by this id; nothing for what is no id.
#[must_use]
pub fn candidates(root: &Path, id: &str) -> Vec<PathBuf> {
    let is_plain = !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_plain {
        return Vec::new();
    }
    let own = |parent: PathBuf| {
        let name = match slice(&parent) {
            Some(stem) => format!("{stem}-pod{}.slice", id.replace('-', "_")),
            None => format!("pod{id}"),
        };
        parent.join(name)
    };
    parents(root).map(own).collect()
}

/// The cgroup of a pod; none where none or more than one could be it.
#[must_use]
pub fn cgroup(roots: &[PathBuf], id: &str) -> Option<Cgroup> {
    let candidates = roots.iter().flat_map(|root| candidates(root, id));
    let mut found = candidates.filter_map(|path| {
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_dir)?;
        let id = metadata.ino();
        Some(Cgroup { path, id })
    });
    found.next().filter(|_| found.next().is_none())
}

/// The levels of the pods' cgroups below these directories, which lie equally deep.
#[must_use]
pub fn levels(roots: &[PathBuf]) -> Levels {
    let Some(root) = roots.first().and_then(|root| fs::canonicalize(root).ok()) else {
        return Levels::NONE;
    };
    // Every cgroup other than the root of the hierarchy has a type (Documentation/admin-guide/cgroup-v2.rst).
    let above = root
        .ancestors()
        .take_while(|dir| dir.join("cgroup.type").exists());
    let level = above.count();
    let top = root.ancestors().nth(level);
    // A container's part of the hierarchy is shown as the whole, and then the rest is above it.
    let is_whole = top.is_some_and(|top| top.join("cgroup.procs").exists());
    let count = if is_whole { 2 } else { Levels::MOST };
    u16::try_from(level + 1).map_or(Levels::NONE, |first| Levels::from(first, count))
}

fn is_kubepods(dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default();
    name == "kubepods" || slice(dir).is_some_and(|stem| stem == "kubepods" || stem.ends_with("-kubepods"))
}

/// The name of a systemd slice.
fn slice(dir: &Path) -> Option<&str> {
    dir.file_name()?.to_str()?.strip_suffix(".slice")
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    // One that went meanwhile has none.
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &str, id: &str) -> Vec<String> {
        let candidates = candidates(Path::new(root), id).into_iter();
        candidates.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn pods_are_named_as_the_kubelet_does() {
        let uid = "2a8e1f5c-7d1b-4c6e-9b0a-3f2d4e5a6b7c";
        let slice = "pod2a8e1f5c_7d1b_4c6e_9b0a_3f2d4e5a6b7c.slice";
        for (root, id, expected) in [
            (
                "/c/kubepods",
                uid,
                [
                    format!("/c/kubepods/pod{uid}"),
                    format!("/c/kubepods/burstable/pod{uid}"),
                    format!("/c/kubepods/besteffort/pod{uid}"),
                ],
            ),
            (
                "/c/kubepods.slice",
                uid,
                [
                    format!("/c/kubepods.slice/kubepods-{slice}"),
                    format!("/c/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{slice}"),
                    format!("/c/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-{slice}"),
                ],
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice",
                uid,
                [
                    format!("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-{slice}"),
                    format!(
                        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-{slice}"
                    ),
                    format!(
                        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-{slice}"
                    ),
                ],
            ),
            // A static pod.
            (
                "/kubepods",
                "9f1c3ae6b1f7d8be",
                [
                    "/kubepods/pod9f1c3ae6b1f7d8be".to_owned(),
                    "/kubepods/burstable/pod9f1c3ae6b1f7d8be".to_owned(),
                    "/kubepods/besteffort/pod9f1c3ae6b1f7d8be".to_owned(),
                ],
            ),
        ] {
            assert_eq!(names(root, id), expected);
        }
    }

    #[test]
    fn what_is_no_id_names_nothing() {
        for id in ["", "a/b", "..", "a.b", "manifest:10.0.0.1", "a_b", "a b"] {
            assert_eq!(names("/kubepods", id), [""; 0], "{id:?}");
        }
    }

    fn tree(dirs: &[&str]) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        for dir in dirs {
            fs::create_dir_all(top.path().join(dir)).unwrap();
        }
        top
    }

    #[test]
    fn the_nearest_directories_are_the_kubelets() {
        for (dirs, expected) in [
            (&["kubepods/x/kubepods", "system.slice"][..], &["kubepods"][..]),
            (&["kubepods.slice", "a/kubepods"], &["kubepods.slice"]),
            (&["kubelet/kubepods"], &["kubelet/kubepods"]),
            (
                &["kubelet.slice/kubelet-kubepods.slice"],
                &["kubelet.slice/kubelet-kubepods.slice"],
            ),
            (
                &["docker/1/kubepods", "docker/2/kubepods"],
                &["docker/1/kubepods", "docker/2/kubepods"],
            ),
            (&["docker/1/2/kubepods", "mykubepods", "x.slice"], &[]),
        ] {
            let top = tree(dirs);
            let mut found = find(top.path());
            found.sort();
            let expected: Vec<PathBuf> = expected.iter().map(|dir| top.path().join(dir)).collect();
            assert_eq!(found, expected, "{dirs:?}");
        }
    }

    #[test]
    fn one_directory_is_the_pods_and_two_are_none() {
        let top = tree(&[
            "kubepods/pod1",
            "kubepods/burstable/pod2",
            "kubepods/pod3",
            "kubepods/besteffort/pod3",
        ]);
        let roots = find(top.path());
        let path = |id| cgroup(&roots, id).map(|it| it.path.strip_prefix(top.path()).unwrap().to_owned());
        assert_eq!(path("1"), Some("kubepods/pod1".into()));
        assert_eq!(path("2"), Some("kubepods/burstable/pod2".into()));
        assert_eq!(path("3"), None);
        assert_eq!(path("4"), None);
        let id = fs::metadata(top.path().join("kubepods/pod1")).unwrap().ino();
        assert_eq!(cgroup(&roots, "1").unwrap().id, id);
    }

    #[test]
    fn levels_are_counted_from_the_root_where_that_is_seen() {
        let top = tree(&["kubelet/kubepods"]);
        let file = |path: &str| fs::write(top.path().join(path), "").unwrap();
        file("kubelet/cgroup.type");
        file("kubelet/kubepods/cgroup.type");
        let roots = find(top.path());
        assert_eq!(levels(&roots), Levels::from(3, Levels::MOST));
        file("cgroup.procs");
        assert_eq!(levels(&roots), Levels::from(3, 2));
        assert_eq!(levels(&[]), Levels::NONE);
    }
}
