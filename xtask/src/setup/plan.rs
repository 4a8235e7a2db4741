//! What is missing: a pure function of what was found.

use std::collections::BTreeSet;
use std::fmt;

use super::Group;
use super::package::{self, Package, Purpose};

/// What was found of a kernel toolchain.
#[derive(Clone, Copy, Debug)]
pub struct Toolchain {
    /// A rustc that builds for the kernel.
    pub compiler: bool,
    /// A bpf-linker that runs.
    pub linker: bool,
}

impl Toolchain {
    /// Nothing is missing.
    pub fn is_complete(self) -> bool {
        self.compiler && self.linker
    }
}

/// What to install.
#[derive(Debug, Default)]
pub struct Plan {
    /// By apt.
    pub packages: Vec<&'static Package>,
    /// bpf-linker, by `cargo install`.
    pub bpf_linker: bool,
}

impl Plan {
    /// What `groups` lack; `toolchain` is looked at only when it is one of them.
    pub fn new(groups: &[Group], toolchain: Option<Toolchain>, installed: &BTreeSet<String>) -> Self {
        let (compiler, linker) = match toolchain {
            Some(found) => (!found.compiler, !found.linker),
            None => (false, false),
        };
        let purposes: Vec<_> = [
            (compiler, Purpose::Compiler),
            (linker, Purpose::Linker),
            (groups.contains(&Group::Test), Purpose::Test),
            (groups.contains(&Group::Emulator), Purpose::Emulator),
            (groups.contains(&Group::Demo), Purpose::Demo),
            (groups.contains(&Group::Cross), Purpose::Cross),
        ]
        .into_iter()
        .filter_map(|(wanted, purpose)| wanted.then_some(purpose))
        .collect();
        let missing = package::packages(&purposes).filter(|package| !installed.contains(package.name));
        Self {
            packages: missing.collect(),
            bpf_linker: linker,
        }
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.bpf_linker
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "missing:")?;
        for Package { name, reason, .. } in &self.packages {
            writeln!(f, "  {name:<24} {reason}")?;
        }
        if self.bpf_linker {
            writeln!(
                f,
                "  {:<24} links the kernel programs (by cargo install)",
                "bpf-linker"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: Toolchain = Toolchain {
        compiler: true,
        linker: true,
    };
    const NOTHING: Toolchain = Toolchain {
        compiler: false,
        linker: false,
    };

    fn names(plan: &Plan) -> Vec<&str> {
        plan.packages.iter().map(|package| package.name).collect()
    }

    fn all_but_python() -> BTreeSet<String> {
        let names = package::names(&[Purpose::Test]).into_iter().map(str::to_owned);
        names.filter(|name| name != "python3").collect()
    }

    #[test]
    fn a_complete_toolchain_needs_no_package_whoever_brought_it() {
        assert!(Plan::new(&[Group::Toolchain], Some(COMPLETE), &BTreeSet::new()).is_empty());
    }

    #[test]
    fn an_empty_machine_gets_compiler_and_linker() {
        let plan = Plan::new(&[Group::Toolchain], Some(NOTHING), &BTreeSet::new());
        assert!(plan.bpf_linker);
        assert!(names(&plan).contains(&"rustc-web") && names(&plan).contains(&"llvm-22-dev"));
        assert!(!names(&plan).contains(&"nginx-light"));
    }

    #[test]
    fn a_nightly_without_linker_gets_the_linker_only() {
        let plan = Plan::new(
            &[Group::Toolchain],
            Some(Toolchain {
                compiler: true,
                linker: false,
            }),
            &BTreeSet::new(),
        );
        assert!(plan.bpf_linker);
        assert!(!names(&plan).contains(&"rustc-web") && names(&plan).contains(&"gcc"));
    }

    #[test]
    fn what_is_installed_is_not_installed_again() {
        let plan = Plan::new(&[Group::Test], None, &all_but_python());
        assert_eq!(names(&plan), ["python3"]);
        assert!(!plan.bpf_linker);
    }

    #[test]
    fn a_plan_says_why() {
        let plan = Plan::new(&[Group::Test], None, &all_but_python());
        assert_eq!(
            plan.to_string(),
            "missing:\n  python3                  small peers in another language than ours\n"
        );
    }
}
