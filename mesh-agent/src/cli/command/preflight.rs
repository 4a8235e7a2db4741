//! `check --pre`: whether a node can run the agent.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::StatVfsMountFlags;

use super::check::report::{Check, Report};
use crate::cli::{answer::Answer, args::Format, failure::Failure, node::Node, output::style::Style};

/// The oldest kernel the programs are made for.
const KERNEL: (u32, u32) = (6, 1);
/// The kernel's type information.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// What the helper to refuse a connection is called in `enum bpf_func_id`.
const SET_RETVAL: &[u8] = b"\0BPF_FUNC_set_retval\0";

/// What a link to an interface is called in `enum bpf_attach_type` of a kernel that has them.
const TCX: &[u8] = b"\0BPF_TCX_INGRESS\0";

/// `check --pre`.
pub fn run(node: &Node, format: Format, style: Style) -> Result<Answer, Failure> {
    let types = fs::read(TYPES);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let checks = vec![
        kernel(&release),
        type_information(&types),
        helper(types.as_deref().unwrap_or_default()),
        bpffs(node.bpffs()),
        cgroup2(
            node.cgroup2(),
            &fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        ),
        packets(types.as_deref().unwrap_or_default()),
        capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
        lockdown(
            fs::read_to_string("/sys/kernel/security/lockdown")
                .ok()
                .as_deref(),
        ),
    ];
    Report::new(checks).answer(format, style)
}

fn kernel(release: &str) -> Check {
    const NAME: &str = "kernel is 6.1 or newer";
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= KERNEL => Check::good(NAME, release),
        _ => Check::bad(NAME, release, "boot a newer kernel"),
    }
}

fn type_information(types: &io::Result<Vec<u8>>) -> Check {
    const NAME: &str = "kernel shows its types";
    match types {
        Ok(_) => Check::good(NAME, TYPES),
        Err(error) => {
            let next =
                "boot a kernel with CONFIG_DEBUG_INFO_BTF; without it live connections can't be listed";
            Check::bad(NAME, format_args!("{TYPES}: {error}"), next)
        }
    }
}

fn names(types: &[u8], name: &[u8]) -> bool {
    types.windows(name.len()).any(|window| window == name)
}

/// Packets are counted in one way or the other, so this never fails.
fn packets(types: &[u8]) -> Check {
    const NAME: &str = "packets can be counted";
    if names(types, TCX) {
        return Check::good(NAME, "by tcx");
    }
    Check::good(
        NAME,
        "by clsact (no tcx before 6.6): it takes the modules sch_ingress and cls_bpf",
    )
}

fn cgroup2(found: io::Result<PathBuf>, mountinfo: &str) -> Check {
    const NAME: &str = "cgroup2 is mounted";
    // `proc_pid_mountinfo(5)`: the type is the first field after the separator.
    let hybrid = mountinfo.lines().any(|line| line.contains(" - cgroup "));
    match found {
        Ok(path) if hybrid => {
            let shown = path.display();
            Check::good(
                NAME,
                format_args!("{shown} (hybrid: hierarchies of version 1 are mounted, too)"),
            )
        }
        Ok(path) => Check::good(NAME, path.display()),
        Err(error) => Check::bad(NAME, error, "mount -t cgroup2 none /sys/fs/cgroup/unified"),
    }
}

fn helper(types: &[u8]) -> Check {
    const NAME: &str = "kernel has bpf_set_retval";
    if names(types, SET_RETVAL) {
        Check::good(NAME, "")
    } else {
        Check::bad(
            NAME,
            "not among the kernel's types",
            "boot a newer kernel (5.18 brought it)",
        )
    }
}

fn bpffs(path: &Path) -> Check {
    /// `BPF_FS_MAGIC` of `include/uapi/linux/magic.h`.
    const MAGIC: i128 = 0xcafe_4a11;
    const NAME: &str = "BPF filesystem is mounted";
    let shown = path.display();
    let read_only =
        rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    match rustix::fs::statfs(path) {
        Ok(stat) if i128::from(stat.f_type) == MAGIC && read_only => Check::bad(
            NAME,
            format_args!("{shown} is read-only"),
            "mount -o remount,rw /sys/fs/bpf",
        ),
        Ok(stat) if i128::from(stat.f_type) == MAGIC => Check::good(NAME, shown),
        Ok(_) => Check::bad(
            NAME,
            format_args!("{shown} is another filesystem"),
            "mount -t bpf bpf /sys/fs/bpf, or name the mount point with --bpffs; into a container mount the node's",
        ),
        Err(error) => Check::bad(
            NAME,
            format_args!("{shown}: {error}"),
            "mount -t bpf bpf /sys/fs/bpf",
        ),
    }
}

/// Bits of `include/uapi/linux/capability.h` the agent needs.
const CAPABILITIES: [(u32, &str); 4] = [
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (38, "CAP_PERFMON"),
    (39, "CAP_BPF"),
];

fn capabilities(status: &str) -> Check {
    const NAME: &str = "the caller has the agent's capabilities";
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or(0);
    let missing = CAPABILITIES.iter().filter(|(bit, _)| effective >> bit & 1 == 0);
    let missing: Vec<&str> = missing.map(|(_, name)| *name).collect();
    if missing.is_empty() {
        let all: Vec<&str> = CAPABILITIES.iter().map(|(_, name)| *name).collect();
        return Check::good(NAME, all.join(", "));
    }
    Check::bad(
        NAME,
        format_args!("without {}", missing.join(", ")),
        "run as root, or grant them",
    )
}

/// `kernel_lockdown(7)`: the mode in brackets; no file where the kernel has no such thing.
fn lockdown(modes: Option<&str>) -> Check {
    const NAME: &str = "lockdown lets programs read the kernel";
    let mode = modes
        .and_then(|modes| modes.split_once('[')?.1.split_once(']'))
        .map_or("none", |(mode, _)| mode);
    if mode == "confidentiality" {
        Check::bad(NAME, mode, "boot with lockdown=integrity or none")
    } else {
        Check::good(NAME, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        assert!(kernel("6.18.44-fc").good && kernel("6.1.0").good && kernel("10.0").good);
        assert!(!kernel("5.15.0-91-generic").good && !kernel("6.0.9").good && !kernel("what").good);
    }

    #[test]
    fn capabilities_are_named_where_they_are_missing() {
        assert!(capabilities("CapPrm:\t0\nCapEff:\t000001ffffffffff\n").good);
        let check = capabilities("CapEff:\t0000000000201000\n");
        assert_eq!(check.detail, "without CAP_PERFMON, CAP_BPF");
        assert!(!capabilities("").good);
    }

    #[test]
    fn only_confidentiality_is_too_much() {
        assert!(lockdown(None).good && lockdown(Some("none [integrity] confidentiality\n")).good);
        assert!(!lockdown(Some("none integrity [confidentiality]\n")).good);
    }

    #[test]
    fn the_helper_is_found_by_its_whole_name() {
        assert!(helper(b"\0x\0BPF_FUNC_set_retval\0").good);
        assert!(!helper(b"\0BPF_FUNC_set_retval_too\0").good);
    }

    #[test]
    fn of_a_hybrid_host_it_is_said() {
        let unified = "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
        let hybrid = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let check = |mounts: &str| cgroup2(Ok("/cg".into()), mounts);
        assert_eq!(check(unified).detail, "/cg");
        assert!(
            check(&[unified, hybrid].concat())
                .detail
                .starts_with("/cg (hybrid")
        );
        assert!(!cgroup2(Err(io::ErrorKind::NotFound.into()), unified).good);
    }

    #[test]
    fn packets_are_counted_in_one_way_or_the_other() {
        let (new, old) = (packets(b"\0x\0BPF_TCX_INGRESS\0"), packets(b"\0BPF_TCX\0"));
        assert!(new.good && new.detail == "by tcx");
        assert!(old.good && old.detail.starts_with("by clsact"));
    }

    #[test]
    fn another_filesystem_is_no_bpffs() {
        let dir = tempfile::tempdir().unwrap();
        assert!(bpffs(dir.path()).detail.ends_with("another filesystem"));
        assert!(!bpffs(&dir.path().join("none")).good);
    }
}
