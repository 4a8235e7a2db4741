//! Agents that die, come back, or come back with less.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::manifest::{self, Port};
use harness::traffic::ask_tcp;
use harness::twins::{NAMESPACE, Path, Twins};
use harness::{Agent, eventually, require, require_root, until};
use mesh_common::accel::Enrolment;

use crate::seen::{empties, enrolments, entries, redirected};
use crate::stamped::{Traffic, connect, echo};

const SOON: Duration = Duration::from_secs(10);

/// Waits until this agent, and not the one before, has probed.
fn probed(agent: &Agent) -> bool {
    until(SOON, || agent.log().contains("applications="))
}

#[test]
fn a_killed_agent_is_not_missed_and_its_successor_goes_on() -> Result<()> {
    require_root!();
    let mut twins = Twins::new("killed", Path::Redirect)?;
    let (near, far) = connect(&twins)?;
    let (busy_near, busy_far) = connect(&twins)?;
    let traffic = Traffic::start(&busy_near, &busy_far)?;
    echo(&near, &far, 10)?;
    twins.agent.kill9()?;
    echo(&near, &far, 10)?;
    assert_eq!(redirected(&twins, &near)?.messages, 20);
    let (orphan, accepted) = connect(&twins)?;
    echo(&orphan, &accepted, 10)?;
    assert_eq!(
        redirected(&twins, &orphan)?.messages,
        10,
        "nobody runs, and new ones are enrolled"
    );
    twins.agent.restart()?;
    echo(&near, &far, 10)?;
    assert!(probed(&twins.agent), "{}", twins.agent.log());
    for (near, far) in [(&near, &far), (&orphan, &accepted)] {
        let before = redirected(&twins, far)?.messages;
        echo(near, far, 10)?;
        assert_eq!(redirected(&twins, far)?.messages, before + 10);
    }
    let (young, youngest) = connect(&twins)?;
    echo(&young, &youngest, 10)?;
    assert_eq!(redirected(&twins, &young)?.messages, 10);
    sleep(Duration::from_millis(50));
    let before = redirected(&twins, &busy_near)?.messages;
    assert!(until(SOON, || redirected(&twins, &busy_near)
        .is_ok_and(|moved| moved.messages > before)));
    assert!(traffic.finish()? > 0);
    drop((near, far, busy_near, busy_far, orphan, accepted, young, youngest));
    assert!(empties(&twins.sandbox), "{:?}", entries(&twins.sandbox)?);
    Ok(())
}

#[test]
fn where_the_kernel_hides_its_types_all_but_the_redirect_works_and_says_why() -> Result<()> {
    const HIDE: &str = "mount --bind /dev/null /sys/kernel/btf/vmlinux && exec \"$@\"";
    require!(harness::require::root(), harness::require::program("unshare"));
    let mut twins = Twins::new("types", Path::Redirect)?;
    let ports = [Port::tcp(80)];
    let selector = [("app", "server")];
    let service = manifest::service(NAMESPACE, "web", &["10.96.0.10".parse()?], &ports, &selector);
    twins.sandbox.manifests().apply(&service)?;
    let _web = twins.server.serve_tcp("0.0.0.0:80".parse()?, "web")?;
    let (near, far) = connect(&twins)?;
    let traffic = Traffic::start(&near, &far)?;
    twins.agent.terminate()?;
    twins.agent = twins
        .sandbox
        .agent()
        .under(&["unshare", "--mount", "sh", "-c", HIDE, "sh"])
        .start()?;
    assert!(probed(&twins.agent), "{}", twins.agent.log());
    let log = twins.agent.log();
    assert!(log.contains("nothing can be accelerated"), "{log}");
    let status = twins.sandbox.meshctl(["accel", "status"])?;
    let text = String::from_utf8_lossy(&status.stdout);
    let said = |what: &str| {
        text.lines()
            .any(|line| line.starts_with(what) && line.contains("disabled") && line.contains("btf/vmlinux"))
    };
    assert!(said("Applications") && said("Own sockets"), "{status:?}");
    let answer = eventually(SOON, || {
        twins
            .client
            .run(|| ask_tcp("10.96.0.10:80".parse().map_err(std::io::Error::other)?))
    })?;
    assert_eq!(answer.name, "web");
    let (young, accepted) = connect(&twins)?;
    echo(&young, &accepted, 10)?;
    let found = enrolments(&twins.sandbox, &young, &accepted)?;
    assert_eq!(found, [Enrolment::Off; 2]);
    assert_eq!(redirected(&twins, &young)?.messages, 0);
    // What is enrolled goes on.
    assert!(traffic.finish()? > 0);
    let before = redirected(&twins, &near)?.messages;
    echo(&near, &far, 10)?;
    assert_eq!(redirected(&twins, &near)?.messages, before + 10);
    drop((near, far, young, accepted));
    assert!(empties(&twins.sandbox), "{:?}", entries(&twins.sandbox)?);
    // With the capability all is as before.
    twins.agent.terminate()?;
    twins.agent = twins.sandbox.agent().start()?;
    assert!(probed(&twins.agent), "{}", twins.agent.log());
    let (young, accepted) = connect(&twins)?;
    echo(&young, &accepted, 10)?;
    ensure!(
        redirected(&twins, &young)?.messages == 10,
        "{}",
        twins.agent.log()
    );
    Ok(())
}
