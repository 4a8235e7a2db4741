//! Another tool's programs on the same sockets: here, a second agent with tables of its own.

use anyhow::Result;
use harness::twins::{Path, Twins, wait_probed};
use harness::{Sandbox, require_root};
use mesh_common::accel::Enrolment;

use crate::seen::{empties, enrolments, entries, redirected};
use crate::stamped::{Traffic, connect, echo};

#[test]
fn a_socket_that_another_tool_has_is_left_to_it() -> Result<()> {
    require_root!();
    let twins = Twins::new("first", Path::Redirect)?;
    // For its directories only.
    let other = Sandbox::new("second")?;
    let second = twins
        .sandbox
        .agent()
        .arg("--bpffs")
        .arg(other.bpffs())
        .arg("--run-dir")
        .arg(other.run_dir())
        .arg("--metrics-address")
        .arg("127.0.0.1:15120")
        .arg("--readiness-address")
        .arg("127.0.0.1:15121")
        .start()?;
    wait_probed(&other)?;
    let (near, far) = connect(&twins)?;
    echo(&near, &far, 100)?;
    let seen = |sandbox: &Sandbox| enrolments(sandbox, &near, &far);
    assert_eq!(seen(&twins.sandbox)?, [Enrolment::Enrolled; 2]);
    assert_eq!(seen(&other)?, [Enrolment::Busy; 2], "{}", second.log());
    assert_eq!(entries(&other)?, [0; 2], "a refused socket leaves nothing");
    let traffic = Traffic::start(&near, &far)?;
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(traffic.finish()? > 0);
    assert!(redirected(&twins, &near)?.messages >= 100);
    drop((near, far));
    assert!(empties(&twins.sandbox) && empties(&other));
    Ok(())
}
