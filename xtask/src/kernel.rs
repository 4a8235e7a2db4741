//! The kernel tests on another kernel than the running one: in an emulator, so neither root nor KVM is needed.
//!
//! The guest boots the kernel of a Debian package. Its root is the host's, read-only over 9p below a layer in
//! memory, so the test binaries run there where cargo put them, with the host's libraries and programs.

mod binaries;
mod console;
mod guest;
mod image;
mod machine;
mod module;
mod newc;
mod package;
mod plan;
mod suite;
mod transcript;

use std::fs;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::interrupt::Interrupted;
use crate::setup::{self, Group};
use crate::test::{Skip, Tally};
use crate::workspace::Workspace;
use binaries::Binary;
use package::Kernel;
use transcript::Transcript;

/// A kernel to test on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// The oldest one supported: Debian 12's
    #[value(name = "6.1")]
    V6_1,
}

impl Version {
    /// As a step of the run.
    pub fn title(self) -> &'static str {
        match self {
            Self::V6_1 => "tests on kernel 6.1",
        }
    }

    /// As in the names of its packages.
    pub fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
        }
    }
}

/// Runs what of the kernel tests is meant for this kernel, and adds to `tally`. True when all went well; a machine
/// that cannot do it skips every one of the tests.
pub fn test(version: Version, filters: &[String], workspace: &Workspace, tally: &mut Tally) -> Result<bool> {
    let binaries = binaries::built(workspace)?;
    let plan = plan::plan(&binaries, filters)?;
    eprintln!("kernel {}: {plan}", version.name());
    for (name, reason) in &plan.lacking {
        tally.skip_many(1, Skip::new(&format!("{}/{name}", version.name()), reason));
    }
    if plan.binaries.is_empty() {
        return Ok(true);
    }
    match kernel(version, workspace) {
        Ok(kernel) => boot(version, &kernel, &plan.binaries, workspace, tally),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => {
            let skip = Skip::new(&format!("kernel {}", version.name()), &format!("{error:#}"));
            tally.skip_many(plan.count(), skip);
            Ok(true)
        }
    }
}

/// The emulator and the kernel, installed and fetched when they are missing.
fn kernel(version: Version, workspace: &Workspace) -> Result<Kernel> {
    if !cfg!(target_arch = "x86_64") {
        bail!("only x86_64 is emulated, with the binaries of the host");
    }
    setup::ensure(&[Group::Emulator], workspace)?;
    machine::check()?;
    Kernel::fetch(version, &workspace.target().join("kernel"))
}

fn boot(
    version: Version,
    kernel: &Kernel,
    binaries: &[Binary],
    workspace: &Workspace,
    tally: &mut Tally,
) -> Result<bool> {
    let image = tempfile::tempdir().context("cannot make a directory for the image")?;
    let initramfs = image.path().join("initramfs");
    let content = image::build(kernel, &guest::script(binaries, workspace))?;
    fs::write(&initramfs, content).with_context(|| initramfs.display().to_string())?;
    let console = workspace
        .target()
        .join(format!("kernel/{}-console.log", version.name()));
    let mut transcript = Transcript::default();
    let status = machine::run(&kernel.image, &initramfs, &console, &mut |line| {
        transcript.read(line, tally);
    })?;
    let mut problems = transcript.problems(status);
    let log = fs::read(&console).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    problems.extend(console::complaints(&log));
    for problem in &problems {
        eprintln!("kernel {}: {problem}", version.name());
    }
    if !problems.is_empty() {
        tally.at_least_one_failed();
        eprintln!(
            "--- the end of {}\n{}\n---",
            console.display(),
            console::tail(&log)
        );
    }
    Ok(problems.is_empty())
}
