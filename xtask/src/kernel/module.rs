//! The kernel's modules, and in which order they can be loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

/// What the guest and the tests need beyond what is built in.
const WANTED: [&str; 12] = [
    "virtio_pci",
    "virtio_console",
    "9pnet_virtio",
    "9p",
    "overlay",
    "veth",
    "bridge",
    "sch_ingress",
    "cls_bpf",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
];

/// A module: its name and its file's content.
pub type Module = (String, Vec<u8>);

/// The wanted modules below this directory and those they depend on, each after its dependencies.
pub fn load_order(directory: &Path) -> Result<Vec<Module>> {
    let files = find(directory)?;
    order(&WANTED, &|name| {
        let file = files
            .get(name)
            .ok_or_else(|| anyhow!("the kernel has no module {name} below {}", directory.display()))?;
        fs::read(file).with_context(|| file.display().to_string())
    })
}

fn order(wanted: &[&str], read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<Vec<Module>> {
    let mut ordered = Vec::new();
    for name in wanted {
        add(name, read, &mut ordered)?;
    }
    Ok(ordered)
}

/// Dependencies of modules have no cycles.
fn add(name: &str, read: &dyn Fn(&str) -> Result<Vec<u8>>, ordered: &mut Vec<Module>) -> Result<()> {
    if ordered.iter().any(|(there, _)| there == name) {
        return Ok(());
    }
    let content = read(name)?;
    for dependency in dependencies(&content) {
        add(&dependency, read, ordered)?;
    }
    ordered.push((name.to_owned(), content));
    Ok(())
}

/// What the section `.modinfo` says: `depends=a,b`, between zeros.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[start + KEY.len()..]
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(plain)
        .collect()
}

/// Names are written with dashes or underscores as it happens.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn find(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
        for entry in entries {
            let path = entry.with_context(|| directory.display().to_string())?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                directories.push(path);
            } else if let Some(name) = name.strip_suffix(".ko") {
                files.insert(plain(name), path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_depend_on() {
        let read = |name: &str| -> Result<Vec<u8>> {
            let depends = match name {
                "bridge" => "stp,llc",
                "stp" => "llc",
                "llc" | "veth" => "",
                other => return Err(anyhow!("no {other}")),
            };
            Ok(format!("\x7fELF\0license=GPL\0depends={depends}\0name={name}\0").into_bytes())
        };
        let ordered = order(&["veth", "bridge", "llc"], &read).unwrap();
        let names: Vec<_> = ordered.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["veth", "llc", "stp", "bridge"]);
        assert!(order(&["gone"], &read).is_err());
    }

    #[test]
    fn dependencies_are_named_as_files_are() {
        assert_eq!(
            dependencies(b"x\0depends=nf-tables,stp\0intree=Y"),
            ["nf_tables", "stp"]
        );
        assert!(dependencies(b"x\0depends=\0intree=Y").is_empty());
        assert!(dependencies(b"").is_empty());
    }

    #[test]
    fn modules_are_found_wherever_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("net/bridge")).unwrap();
        fs::write(dir.path().join("net/bridge/br-netfilter.ko"), "").unwrap();
        let files = find(dir.path()).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["br_netfilter"]);
    }
}
