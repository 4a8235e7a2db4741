//! `cargo xtask demo`: the mesh at work, in network namespaces of this machine.
//!
//! The show itself is `mesh-demo` of the package `mesh-tests`, which has the harness. This half prepares it,
//! passes signals on, and looks afterwards, however it ended, whether anything is left.

mod host;
mod leftovers;

use std::io::{Write as _, stdin, stdout};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::interrupt::{self, Forwarding};
use crate::run::run as run_command;
use crate::setup::{self, Group};
use crate::workspace::Workspace;
use crate::{ebpf, shown::shown};
pub use host::Host;
use leftovers::Leftovers;

/// What `demo` is asked to do.
#[derive(clap::Args)]
pub struct Args {
    /// Leave everything up at the end, until Enter or Ctrl-C, and tell how to look around
    #[arg(long)]
    keep: bool,

    /// Optimise what is built
    #[arg(long)]
    release: bool,
}

/// Prepares and shows.
pub fn run(args: &Args, workspace: &Workspace) -> Result<ExitCode> {
    if let Some(lack) = Host::look().lack() {
        bail!("the demonstration cannot run here: {lack}");
    }
    setup::ensure(&[Group::Toolchain, Group::Demo], workspace)?;
    ebpf::build(workspace)?;
    build(args, workspace)?;
    let profile = if args.release { "release" } else { "debug" };
    let begun = Instant::now();
    let good = show(&mut command(args, &workspace.target().join(profile)), args.keep)?;
    if !good {
        return Ok(ExitCode::FAILURE);
    }
    say(&format!(
        "the demonstration took {:.1} s",
        begun.elapsed().as_secs_f64()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn build(args: &Args, workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args([
        "build",
        "--package",
        "mesh-agent",
        "--package",
        "mesh-tests",
        "--bins",
    ]);
    if args.release {
        cargo.arg("--release");
    }
    run_command(&mut cargo)
}

fn command(args: &Args, binaries: &Path) -> Command {
    let mut command = Command::new(binaries.join("mesh-demo"));
    command
        .env("MESH_AGENT_BIN", binaries.join("mesh-agent"))
        .env("MESHCTL_BIN", binaries.join("meshctl"));
    if args.keep {
        command.arg("--keep");
    }
    command
}

/// Runs a program of the harness to whatever end it comes to; true when that is a good one and nothing is left.
pub fn show(command: &mut Command, keep: bool) -> Result<bool> {
    interrupt::check()?;
    // Its input is a pipe: when this process is killed, the pipe ends, and so does the show.
    let mut child = command
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    let forwarding = Forwarding::to(&child);
    let leash = Leash::of(&mut child, keep)?;
    let pid = child.id();
    let status = child.wait().with_context(|| shown(command))?;
    drop(forwarding);
    drop(leash);
    report(pid)?;
    interrupt::check()?;
    // One that failed said why.
    ensure!(status.code().is_some(), "{} was killed: {status}", shown(command));
    Ok(status.success())
}

/// Says what the process `pid` left; an error when that is anything.
fn report(pid: u32) -> Result<()> {
    let leftovers = Leftovers::await_none(pid)?;
    if leftovers.is_empty() {
        say(&format!(
            "nothing is left of process {pid}: no cgroup, no process, no mount, no directory"
        ))
    } else {
        Err(anyhow!("left behind:\n{leftovers}"))
    }
}

/// An audience that went away is an error, not a panic.
fn say(text: &str) -> Result<()> {
    writeln!(stdout(), "{text}").context("cannot write to standard output")
}

/// The input of the show. A line typed here goes there, where it ends a show that was kept.
enum Leash {
    Held { _pipe: ChildStdin },
    Typed,
}

impl Leash {
    fn of(child: &mut Child, keep: bool) -> Result<Self> {
        let pipe = child.stdin.take().context("the input is not piped")?;
        if !keep {
            return Ok(Self::Held { _pipe: pipe });
        }
        thread::spawn(move || forward_lines(pipe));
        Ok(Self::Typed)
    }
}

fn forward_lines(mut pipe: ChildStdin) {
    for line in stdin().lines().map_while(Result::ok) {
        if writeln!(pipe, "{line}").is_err() {
            return;
        }
    }
    // Without a terminal there is no Enter: a signal will come.
    loop {
        thread::park();
    }
}

/// Where the cgroups are.
fn cgroups(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        (root == "/" && right.starts_with("cgroup2 ")).then(|| point.into())
    })
}

fn mounts() -> Result<String> {
    std::fs::read_to_string("/proc/self/mountinfo").context("cannot read the list of mounts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_wherever_it_is() {
        let mounts = "\
22 1 0:20 / /sys rw shared:2 - sysfs sysfs rw
31 22 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro
32 31 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(cgroups(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroups("22 1 0:20 / /sys rw - sysfs sysfs rw"), None);
    }

    #[test]
    fn the_show_is_told_where_the_programs_are() {
        let args = Args {
            keep: true,
            release: false,
        };
        let command = command(&args, Path::new("/t/debug"));
        assert_eq!(
            shown(&command),
            "MESHCTL_BIN=/t/debug/meshctl MESH_AGENT_BIN=/t/debug/mesh-agent mesh-demo --keep"
        );
    }
}
