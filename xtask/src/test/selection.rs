//! Which steps run, and what they need: a pure function of what was asked and who asks.

use clap::ValueEnum;

use crate::setup::Group;

/// The package of the tests that need a kernel and root.
pub const KERNEL_PACKAGE: &str = "mesh-tests";

/// A part of `cargo xtask test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// Format and clippy, of both halves
    Lint,
    /// Tests that need neither root nor kernel programs
    Unit,
    /// Tests that load the kernel programs; as root
    Kernel,
}

/// The steps to run.
#[derive(Debug)]
pub struct Selection {
    steps: Vec<Step>,
    root: bool,
}

impl Selection {
    /// The steps named in `only`, or all.
    pub fn new(only: &[Step], root: bool) -> Self {
        let steps = if only.is_empty() {
            Step::value_variants()
        } else {
            only
        };
        Self {
            steps: steps.to_vec(),
            root,
        }
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

    /// Tests are to be run, or at least counted.
    pub fn tests(&self) -> bool {
        self.steps.contains(&Step::Unit) || self.steps.contains(&Step::Kernel)
    }

    /// Kernel tests were asked for by someone who cannot run them.
    pub fn kernel_tests_need_root(&self) -> bool {
        self.steps.contains(&Step::Kernel) && !self.root
    }

    /// What to tell `cargo test`; nothing when no test can run. The halves run in one go where possible:
    /// another set of packages is another set of features, and builds everything again.
    pub fn packages(&self) -> Option<&'static [&'static str]> {
        match (self.steps.contains(&Step::Unit), self.runs_kernel_tests()) {
            (true, true) => Some(&["--workspace", "--exclude", "mesh-ebpf"]),
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
        let all = Selection::new(&[], true);
        assert!(all.lints() && all.tests() && !all.kernel_tests_need_root());
        assert_eq!(
            all.packages(),
            Some(["--workspace", "--exclude", "mesh-ebpf"].as_slice())
        );
        assert_eq!(all.groups(), [Group::Toolchain, Group::Test]);
    }

    #[test]
    fn without_root_kernel_tests_are_skipped_and_need_nothing() {
        let all = Selection::new(&[], false);
        assert!(all.kernel_tests_need_root());
        assert!(
            all.packages()
                .expect("unit tests")
                .ends_with(&["--exclude", KERNEL_PACKAGE])
        );
        assert_eq!(all.groups(), [Group::Toolchain]);
        assert_eq!(Selection::new(&[Step::Kernel], false).packages(), None);
    }

    #[test]
    fn only_what_is_named_runs() {
        let lint = Selection::new(&[Step::Lint], true);
        assert!(lint.lints() && !lint.tests());
        let kernel = Selection::new(&[Step::Kernel], true);
        assert!(!kernel.lints());
        assert_eq!(kernel.packages(), Some(["--package", KERNEL_PACKAGE].as_slice()));
        assert!(!Selection::new(&[Step::Unit], false).kernel_tests_need_root());
    }
}
