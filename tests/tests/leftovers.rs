//! The harness leaves nothing behind, however a test ends.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::traffic::Conversation;
use harness::{Sandbox, require_root, until};

const SOON: Duration = Duration::from_secs(5);

/// Whether a process lives; one that only waits to be reaped, by init perhaps, does not.
fn exists(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[test]
fn programs_end_with_their_children() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("children")?;
    let pod = sandbox.pod("pod", &["10.0.1.2"])?;
    // A child of its own session, as a daemon: only the cgroup still knows it.
    let shell = "trap '' TERM; sleep 1000 & echo $!; setsid sleep 1000 & echo $!; echo done; wait";
    let program = pod.command("sh").args(["-c", shell]).start()?;
    assert!(
        until(SOON, || program.log().contains("done")),
        "{}",
        program.tail()
    );
    let children: Vec<_> = program.log().lines().take(2).map(str::to_owned).collect();
    assert!(
        program.alive() && children.iter().all(|pid| exists(pid)),
        "{children:?}"
    );
    drop(program);
    assert!(until(SOON, || !exists(&children[0])), "the group's child lives");
    pod.delete()?;
    assert!(until(SOON, || !exists(&children[1])), "the daemon lives");
    Ok(())
}

#[test]
fn children_outlive_a_crash_but_not_the_test() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("orphans")?;
    let program = sandbox
        .node()
        .command("sh")
        .args(["-c", "sleep 1000 & echo $!; wait"])
        .start()?;
    assert!(
        until(SOON, || program.log().ends_with('\n')),
        "{}",
        program.tail()
    );
    let child = program.log();
    program.signal(rustix::process::Signal::KILL)?;
    assert_eq!(program.wait(SOON)?.signal(), Some(9));
    assert!(exists(&child), "the child died with its parent");
    drop(program);
    assert!(until(SOON, || !exists(&child)), "the child lives");
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("clean")?;
    let pod = sandbox.pod("pod", &["10.0.1.2", "fd00::1:2"])?;
    let server = pod.serve_tcp("0.0.0.0:80".parse()?, "server")?;
    let idle = pod.run(|| Conversation::open("127.0.0.1:80".parse().expect("an address")))?;
    let program = pod.command("sleep").arg("1000").start()?;
    let (pid, witness) = (program.pid().to_string(), sandbox.witness());
    let census = sandbox.census()?;
    assert_eq!(census.cgroups.len(), 2, "{census:?}");
    assert_eq!(
        census.mounts.len(),
        4,
        "run directory, bpffs, two namespaces: {census:?}"
    );
    assert_eq!(census.links, ["br0", "veth-pod"]);
    assert!(census.pins.is_empty() && census.files.is_empty());
    // The handles outlive the sandbox; what they stand for does not.
    drop(sandbox);
    assert!(!program.alive() && !exists(&pid));
    assert!(witness.census()?.is_empty(), "{:?}", witness.census()?);
    drop((server, idle, pod, program));
    Ok(())
}

#[test]
fn killed_processes_leave_nothing() -> Result<()> {
    require_root!();
    let mut command = Command::new(env!("CARGO_BIN_EXE_crashing-process"));
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(child.stdout.take().context("no output")?);
    let up = output
        .lines()
        .map_while(io::Result::ok)
        .find_map(|line| line.strip_prefix("up ").map(str::to_owned));
    let up = up.context("the process did not come up")?;
    let (program, cgroup) = up.split_once(' ').context("two words")?;
    let (run, cgroup) = (
        format!("/run/mesh-test-{}-0", child.id()),
        Path::new(cgroup).to_owned(),
    );
    let parent = cgroup.parent().context("a parent")?;
    assert!(Path::new(&run).exists() && cgroup.exists() && exists(program));
    child.kill()?;
    child.wait()?;
    assert!(until(SOON, || !exists(program)), "the program lives");
    assert!(until(SOON, || !Path::new(&run).exists()), "{run} stays");
    assert!(until(SOON, || !parent.exists()), "{} stays", parent.display());
    Ok(())
}

#[test]
fn leftovers_of_the_dead_are_swept() -> Result<()> {
    require_root!();
    // Makes sure that this process's own sweep is over, and shows where cgroups are.
    let sandbox = Sandbox::new("sweep")?;
    let cgroups: PathBuf = sandbox.cgroup().ancestors().nth(2).context("a mount")?.into();
    let mut child = Command::new("true").spawn()?;
    let dead = child.id();
    child.wait()?;
    let run = PathBuf::from(format!("/run/mesh-test-{dead}-7"));
    let cgroup = cgroups.join(format!("mesh-test-{dead}"));
    let stranger = PathBuf::from(format!("/run/mesh-test-{dead}-not-ours"));
    fs::create_dir_all(cgroup.join("7-test/pod"))?;
    fs::create_dir(&run)?;
    fs::create_dir(&stranger)?;
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &run, "tmpfs", none, None::<&std::ffi::CStr>)?;
    fs::create_dir(run.join("bpf"))?;
    rustix::mount::mount("bpf", run.join("bpf"), "bpf", none, None::<&std::ffi::CStr>)?;
    let swept = harness::sweep();
    let strangers = stranger.exists();
    fs::remove_dir(&stranger)?;
    ensure!(swept?.contains(&dead), "the dead are known");
    ensure!(strangers, "the sweep took what is not ours");
    ensure!(!run.exists() && !cgroup.exists(), "the sweep left something");
    ensure!(sandbox.bpffs().exists(), "the sweep took from the living");
    Ok(())
}
