//! What an operator does while bytes flow.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::require_root;
use harness::twins::{Path, Twins, wait_probed};
use mesh_common::accel::Enrolment;

use crate::raw::received_by_tcp;
use crate::seen::{enrolments, live, redirected};
use crate::stamped::{Traffic, connect, echo};

#[test]
fn the_switch_loses_nothing_while_bytes_flow_both_ways() -> Result<()> {
    require_root!();
    let twins = Twins::new("toggle", Path::Redirect)?;
    let (near, far) = connect(&twins)?;
    let traffic = Traffic::start(&near, &far)?;
    for _ in 0..8 {
        for verb in ["disable", "enable"] {
            let done = twins.sandbox.meshctl(["accel", verb])?;
            ensure!(done.status.success(), "{done:?}");
            sleep(Duration::from_millis(60));
        }
    }
    let bytes = traffic.finish()?;
    let flows = live(&twins.sandbox)?;
    let [redirected, passed] = flows.iter().fold([0, 0], |[one, other], flow| {
        let accel = flow.sock.accel;
        [one + accel.redirected.bytes, other + accel.passed.bytes]
    });
    println!("{redirected} bytes of {bytes} were redirected");
    assert_eq!(redirected + passed, bytes, "{flows:?}");
    assert!(redirected > 0 && passed > 0, "{flows:?}");
    Ok(())
}

#[test]
fn uninstalling_leaves_live_connections_to_tcp() -> Result<()> {
    require_root!();
    let mut twins = Twins::new("uninstall", Path::Redirect)?;
    let (near, far) = connect(&twins)?;
    let (idle_near, idle_far) = connect(&twins)?;
    echo(&idle_near, &idle_far, 10)?;
    let traffic = Traffic::start(&near, &far)?;
    sleep(Duration::from_millis(100));
    assert_eq!(redirected(&twins, &idle_near)?.messages, 10);
    assert_eq!(received_by_tcp(&idle_far)?, 0);
    twins.agent.terminate()?;
    let done = twins.sandbox.cleanup()?;
    ensure!(done.status.success(), "{done:?}");
    sleep(Duration::from_millis(100));
    let census = twins.sandbox.census()?;
    assert!(census.pins.is_empty(), "{census:?}");
    echo(&idle_near, &idle_far, 100)?;
    assert_eq!(received_by_tcp(&idle_far)?, 6_400);
    twins.agent.restart()?;
    wait_probed(&twins.sandbox)?;
    sleep(Duration::from_millis(100));
    assert!(traffic.finish()? > 0);
    echo(&idle_near, &idle_far, 100)?;
    assert_eq!(received_by_tcp(&idle_far)?, 12_800);
    assert_eq!(
        live(&twins.sandbox)?.len(),
        0,
        "the new agent does not know the old ones"
    );
    let (young, accepted) = connect(&twins)?;
    echo(&young, &accepted, 10)?;
    let found = enrolments(&twins.sandbox, &young, &accepted)?;
    assert_eq!(found, [Enrolment::Enrolled; 2]);
    assert_eq!(redirected(&twins, &young)?.messages, 10);
    Ok(())
}
