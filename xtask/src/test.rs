//! `cargo xtask test`: from a bare machine to one line of totals.

mod report;
mod selection;
mod skip;
mod tally;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::builder::FalseyValueParser;

use crate::cross::{self, Outcome};
use crate::kernel::{self, Version};
use crate::lint::{self, Mode};
use crate::run::{ask, run as run_command};
use crate::shown::shown;
use crate::stream::stream;
use crate::workspace::Workspace;
use crate::{ebpf, setup};
use report::Report;
use selection::{Selection, Step};
use skip::{MESH_SKIP_LOG, SkipLog};

pub use selection::{KERNEL_PACKAGE, WHOLE_WORKSPACE};
pub use skip::Skip;
pub use tally::Tally;

const MESH_TEST_LONG: &str = "MESH_TEST_LONG";

/// What `test` is asked to do.
#[derive(clap::Args)]
pub struct Args {
    /// Also run what takes minutes
    #[arg(long, env = MESH_TEST_LONG, value_parser = FalseyValueParser::new())]
    long: bool,

    /// Only these steps
    #[arg(long, value_delimiter = ',')]
    only: Vec<Step>,

    /// Only kernel tests, on this kernel in an emulator instead of on the running one
    #[arg(long, conflicts_with = "only")]
    kernel: Option<Version>,

    /// Only tests whose name contains one of these
    filters: Vec<String>,
}

/// Prepares, builds, lints and tests.
pub fn run(args: &Args, workspace: &Workspace) -> Result<ExitCode> {
    let selection = Selection::new(&args.only, args.kernel, rustix::process::geteuid().is_root());
    setup::ensure(&selection.groups(), workspace)?;
    ebpf::build(workspace)?;
    let mut report = Report::default();
    if selection.tests() {
        run_command(workspace.cargo().arg("build").args(WHOLE_WORKSPACE))?;
    }
    if selection.lints() {
        report.failed.extend(lint::lint(Mode::Check, workspace)?);
    }
    if selection.crosses() {
        match cross::build(workspace)? {
            Outcome::Built => {}
            Outcome::Failed => report.failed.push("build for arm64"),
            Outcome::Skipped(reason) => report.skips.push(Skip::new("build for arm64", &reason)),
        }
    }
    if selection.tests() {
        report.tally = Some(test(args, &selection, workspace, &mut report.failed)?);
    }
    print!("{report}");
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn test(
    args: &Args,
    selection: &Selection,
    workspace: &Workspace,
    failed: &mut Vec<&'static str>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let log = SkipLog::create()?;
    if let Some(packages) = selection.packages() {
        let mut cargo = workspace.cargo();
        cargo
            .arg("test")
            .args(packages)
            .args(["--no-fail-fast", "--"])
            .args(&args.filters);
        cargo.env(MESH_SKIP_LOG, log.path());
        if args.long {
            cargo.env(MESH_TEST_LONG, "1");
        }
        let status = stream(&mut cargo, &mut |line| tally.read(line))?;
        if !status.success() {
            eprintln!("{} failed: {status}", shown(&cargo));
            failed.push("tests");
            tally.at_least_one_failed();
        }
    }
    for skip in log.read()? {
        tally.skip(skip);
    }
    if selection.kernel_tests_need_root() {
        let reason = "these tests need root: they attach programs and make network namespaces";
        tally.skip_many(count_kernel_tests(args, workspace)?, Skip::new("kernel", reason));
    }
    for &kernel in selection.kernels() {
        if !kernel::test(kernel, &args.filters, workspace, &mut tally)? {
            failed.push(kernel.title());
        }
    }
    Ok(tally)
}

/// How many tests would have run; they are built for that, so that they build is known at least.
fn count_kernel_tests(args: &Args, workspace: &Workspace) -> Result<u64> {
    let build = ["test", "--package", KERNEL_PACKAGE];
    run_command(workspace.cargo().args(build).arg("--no-run"))?;
    let mut list = workspace.cargo();
    list.args(build)
        .args(["--quiet", "--tests", "--", "--list", "--format", "terse"])
        .args(&args.filters);
    let listing = ask(&mut list).with_context(|| format!("{} failed", shown(&list)))?;
    Ok(tally::count_listed(&listing))
}
