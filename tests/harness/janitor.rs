//! Cleaning up after test processes that could not.
//!
//! A test process that is killed, by Ctrl-C or worse, drops nothing. A handler for signals would be
//! one more owner of signals in a process that is not ours (the test framework's), and no answer to
//! `SIGKILL`. So each test process has a janitor: a shell in a process group of its own that waits for
//! the end of its input, which is the end of the test process however that came, and then removes
//! whatever still bears its process id. [`sweep`] does the same for those whose janitor was killed too.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, anyhow};

use crate::cgroup;

/// Where run directories lie.
pub const RUN: &str = "/run";
/// What the name of everything of ours begins with; the process id follows.
pub const PREFIX: &str = "mesh-test-";

/// `$1` is the process id, `$2` the cgroup mount. Only names of ours with that id are touched, and
/// only processes in its cgroup are ended, where none but those it started can be.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r _
cgroup=$2/mesh-test-$1
[ ! -e "$cgroup/cgroup.kill" ] || echo 1 >"$cgroup/cgroup.kill"
for run in /run/mesh-test-"$1"-*; do
    case ${run#/run/mesh-test-"$1"-} in *[!0-9]*) continue ;; esac
    [ ! -d "$run" ] || { umount -l "$run"; rmdir "$run"; }
done
tries=0
while [ -d "$cgroup" ] && [ $tries -lt 100 ]; do
    find "$cgroup" -depth -type d -exec rmdir {} \;
    tries=$((tries + 1))
    [ ! -d "$cgroup" ] || sleep 0.05
done
"#;

/// The name of what process `pid` owns: its cgroup and, with a number behind, its run directories.
pub fn owned_by(pid: u32) -> String {
    format!("{PREFIX}{pid}")
}

/// Hires a janitor for this process. He starts when the returned pipe closes.
pub fn hire(cgroups: &Path) -> Result<ChildStdin> {
    let mut shell = shell(std::process::id(), cgroups);
    let child = shell
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("starting sh, the janitor")?;
    child.stdin.ok_or_else(|| anyhow!("the janitor has no input"))
}

fn shell(pid: u32, cgroups: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "mesh-test-janitor", &pid.to_string()])
        .arg(cgroups);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Removes what earlier test processes left that are dead now, and returns their process ids.
///
/// Every process of tests does this once at its start.
pub fn sweep() -> Result<Vec<u32>> {
    let cgroups = cgroup::mount_point()?;
    let mut owners = BTreeSet::new();
    for dir in [Path::new(RUN), &cgroups] {
        let entries = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
        owners.extend(
            entries
                .flatten()
                .filter_map(|entry| owner(entry.file_name().to_str()?)),
        );
    }
    let dead: Vec<_> = owners
        .into_iter()
        .filter(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        .collect();
    for pid in &dead {
        shell(*pid, &cgroups)
            .stdin(Stdio::null())
            .status()
            .context("running sh, the janitor")?;
    }
    Ok(dead)
}

/// Whose a name is: `mesh-test-<pid>` (cgroup) or `mesh-test-<pid>-<n>` (run directory), nothing else.
fn owner(name: &str) -> Option<u32> {
    let mut numbers = name.strip_prefix(PREFIX)?.split('-');
    let owner = numbers.next()?.parse().ok()?;
    let number_is_good = numbers.next().is_none_or(|number| number.parse::<u32>().is_ok());
    (number_is_good && numbers.next().is_none()).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_names_of_ours_have_an_owner() {
        assert_eq!(owner("mesh-test-12"), Some(12));
        assert_eq!(owner("mesh-test-12-3"), Some(12));
        for stranger in [
            "mesh-test-",
            "mesh-test-x",
            "mesh-test-1-2-3",
            "mesh-test-1-x",
            "mesh",
            "mesh-test",
        ] {
            assert_eq!(owner(stranger), None, "{stranger}");
        }
    }
}
