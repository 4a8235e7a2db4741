//! Which steps run, and what they need: a pure function of what was asked and who asks.

use clap::ValueEnum;

use crate::kernel::Version;
use crate::setup::Group;

/// The package of the tests that need a kernel and root.
pub const KERNEL_PACKAGE: &str = "mesh-tests";

/// All that is built for the host. The halves run in one go where possible: another set of packages is another set
/// of features, and builds everything again.
pub const WHOLE_WORKSPACE: &[&str] = &["--workspace", "--exclude", "mesh-ebpf"];

/// A part of `cargo xtask test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// Format and clippy, of both halves
    Lint,
    /// Builds for arm64
    Cross,
    /// Tests that need neither root nor kernel programs
    Unit,
    /// Tests that load the kernel programs; as root
    Kernel,
}

/// The steps to run.
#[derive(Debug)]
pub struct Selection {
    steps: Vec<Step>,
    /// The kernels to emulate.
    kernels: Vec<Version>,
    root: bool,
}

impl Selection {
    /// The steps named in `only`, or the tests on one kernel alone, or all of everything.
    pub fn new(only: &[Step], kernel: Option<Version>, root: bool) -> Self {
        let (steps, kernels) = match (only, kernel) {
            ([], None) => (Step::value_variants(), Version::value_variants().to_vec()),
            (steps, kernel) => (steps, kernel.into_iter().collect()),
        };
        Self {
            steps: steps.to_vec(),
            kernels,
            root,
        }
    }

    /// The kernels to emulate.
    pub fn kernels(&self) -> &[Version] {
        &self.kernels
    }

    /// What must be installed. Kernel tests that are skipped need nothing.
    pub fn groups(&self) -> Vec<Group> {
        let mut groups = vec![Group::Toolchain];
        if self.runs_kernel_tests() {
            groups.push(Group::Test);
        }
        groups
    }

    /// Lints run.
    pub fn lints(&self) -> bool {
        self.steps.contains(&Step::Lint)
    }

    /// The build for arm64 runs.
    pub fn crosses(&self) -> bool {
        self.steps.contains(&Step::Cross)
    }

    /// Tests are to be run, or at least counted.
    pub fn tests(&self) -> bool {
        self.steps.contains(&Step::Unit) || self.steps.contains(&Step::Kernel) || !self.kernels.is_empty()
    }

    /// Kernel tests were asked for by someone who cannot run them.
    pub fn kernel_tests_need_root(&self) -> bool {
        self.steps.contains(&Step::Kernel) && !self.root
    }

    /// What to tell `cargo test`; nothing when no test can run.
    pub fn packages(&self) -> Option<&'static [&'static str]> {
        match (self.steps.contains(&Step::Unit), self.runs_kernel_tests()) {
            (true, true) => Some(WHOLE_WORKSPACE),
            (true, false) => Some(&[
                "--workspace",
                "--exclude",
                "mesh-ebpf",
                "--exclude",
                KERNEL_PACKAGE,
            ]),
            (false, true) => Some(&["--package", KERNEL_PACKAGE]),
            (false, false) => None,
        }
    }

    fn runs_kernel_tests(&self) -> bool {
        self.steps.contains(&Step::Kernel) && self.root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_runs_everything_in_one_go() {
        let all = Selection::new(&[], None, true);
        assert!(all.lints() && all.crosses() && all.tests() && !all.kernel_tests_need_root());
        assert_eq!(
            all.packages(),
            Some(["--workspace", "--exclude", "mesh-ebpf"].as_slice())
        );
        assert_eq!(all.groups(), [Group::Toolchain, Group::Test]);
    }

    #[test]
    fn without_root_kernel_tests_are_skipped_and_need_nothing() {
        let all = Selection::new(&[], None, false);
        assert!(all.kernel_tests_need_root());
        assert!(
            all.packages()
                .expect("unit tests")
                .ends_with(&["--exclude", KERNEL_PACKAGE])
        );
        assert_eq!(all.groups(), [Group::Toolchain]);
        assert_eq!(Selection::new(&[Step::Kernel], None, false).packages(), None);
    }

    #[test]
    fn other_kernels_are_part_of_everything_or_all_there_is() {
        let all = Selection::new(&[], None, true);
        assert_eq!(all.kernels(), [Version::V6_1]);
        let one = Selection::new(&[], Some(Version::V6_1), true);
        assert_eq!(one.kernels(), [Version::V6_1]);
        assert!(one.tests() && !one.lints() && one.packages().is_none());
        assert_eq!(one.groups(), [Group::Toolchain]);
        assert!(Selection::new(&[Step::Kernel], None, true).kernels().is_empty());
    }

    #[test]
    fn only_what_is_named_runs() {
        let lint = Selection::new(&[Step::Lint], None, true);
        assert!(lint.lints() && !lint.crosses() && !lint.tests());
        let cross = Selection::new(&[Step::Cross], None, true);
        assert!(cross.crosses() && !cross.lints() && !cross.tests());
        let kernel = Selection::new(&[Step::Kernel], None, true);
        assert!(!kernel.lints());
        assert_eq!(kernel.packages(), Some(["--package", KERNEL_PACKAGE].as_slice()));
        assert!(!Selection::new(&[Step::Unit], None, false).kernel_tests_need_root());
    }
}
