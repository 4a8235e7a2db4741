//! The harness starts, watches, crashes and restarts an agent: shown with a double of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use harness::{Sandbox, require_root, until};

/// The double, a program of this package.
const DOUBLE: &str = env!("CARGO_BIN_EXE_agent-double");

#[test]
fn starts_crashes_and_comes_back() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("double")?;
    let mut agent = sandbox.agent().binary(DOUBLE).arg("--extra").start()?;
    let flags = format!("run --manifests {} --cgroup", sandbox.manifests().dir().display());
    assert!(agent.log().starts_with(&flags), "{}", agent.log());
    assert!(
        agent.log().contains("--node-name node-1 --extra\n"),
        "{}",
        agent.log()
    );
    assert_eq!(agent.ready()?.body, "ready");
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", agent.program().pid()))?;
    assert!(
        cgroup.contains(&format!("0::/mesh-test-{}\n", std::process::id())),
        "{cgroup}"
    );
    let first = agent.program().pid();
    assert!(!agent.kill9()?.success());
    assert!(agent.ready().is_err(), "the dead answer");
    agent.restart()?;
    assert_ne!(agent.program().pid(), first);
    let pid = agent.program().pid();
    drop(agent);
    assert!(until(Duration::from_secs(1), || !PathBuf::from(format!(
        "/proc/{pid}"
    ))
    .exists()));
    Ok(())
}

#[test]
fn errors_show_the_log() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("broken")?;
    let error = sandbox
        .agent()
        .binary(DOUBLE)
        .env("MESH_TEST_DOUBLE", "broken")
        .start()
        .expect_err("it is broken");
    let text = format!("{error:#}");
    assert!(
        text.contains("ended before it was ready") && text.contains("broken as told"),
        "{text}"
    );
    Ok(())
}
