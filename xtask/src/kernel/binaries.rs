//! The built binaries of kernel tests, and the tests in them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run::{ask, run};
use crate::shown::shown;
use crate::test::{KERNEL_PACKAGE, WHOLE_WORKSPACE};
use crate::workspace::Workspace;

/// A binary of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Its name in cargo.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// Names of its tests.
    pub tests: Vec<String>,
}

/// Builds the kernel tests, with all else so that nothing is built twice, and lists them.
pub fn built(workspace: &Workspace) -> Result<Vec<Binary>> {
    let build = |arguments: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo
            .arg("test")
            .args(WHOLE_WORKSPACE)
            .arg("--no-run")
            .args(arguments);
        cargo
    };
    run(&mut build(&[]))?;
    let mut query = build(&["--message-format=json"]);
    let messages = ask(&mut query).with_context(|| format!("{} failed", shown(&query)))?;
    messages.lines().filter_map(executable).map(list).collect()
}

fn list((name, path): (String, PathBuf)) -> Result<Binary> {
    let mut command = Command::new(&path);
    command.args(["--list", "--format", "terse"]);
    let listing = ask(&mut command).with_context(|| format!("{} failed", shown(&command)))?;
    Ok(Binary {
        name,
        path,
        tests: names(&listing),
    })
}

fn names(listing: &str) -> Vec<String> {
    listing
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

/// Name and program of an integration test of the kernel package, if it is that what cargo's message tells of.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let target = &message["target"];
    let ours = message["reason"] == "compiler-artifact"
        && target["kind"][0] == "test"
        && message["package_id"].as_str()?.contains(KERNEL_PACKAGE);
    let (name, path) = (target["name"].as_str()?, message["executable"].as_str()?);
    ours.then(|| (name.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integration_tests_of_the_kernel_package_count() {
        let message = |package: &str, kind: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///src/tests#{package}@0.1.0",
                "manifest_path":"/src/tests/Cargo.toml","target":{{"kind":["{kind}"],"name":"services"}},
                "executable":{executable}}}"#
            )
        };
        let program = r#""/src/target/debug/deps/services-1""#;
        assert_eq!(
            executable(&message("mesh-tests", "test", program)),
            Some(("services".to_owned(), "/src/target/debug/deps/services-1".into()))
        );
        assert_eq!(executable(&message("mesh-tests", "lib", program)), None);
        assert_eq!(executable(&message("xtask", "test", program)), None);
        assert_eq!(executable(&message("mesh-tests", "test", "null")), None);
        assert_eq!(executable("   Compiling mesh-tests"), None);
    }

    #[test]
    fn tests_are_listed_by_name() {
        assert_eq!(names("a::b: test\nfast: benchmark\nc: test\n\n"), ["a::b", "c"]);
    }
}
