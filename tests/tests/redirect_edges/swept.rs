//! Entries of sockets that closed while no program was there to see it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::twins::{Path, Twins};
use harness::{require_root, until};
use mesh_agent::datapath::{accel, pins::Pins, splices::Splices};
use mesh_agent::model::stale::Entry;

use crate::seen::{empties, entries, flow, redirected};
use crate::stamped::{connect, echo};

/// Takes up to 15 seconds: the agent looks every ten, and believes the second look.
#[test]
fn slow_entries_of_sockets_that_are_gone_go_and_others_stay() -> Result<()> {
    require_root!();
    let mut twins = Twins::new("swept", Path::Redirect)?;
    let (near, far) = connect(&twins)?;
    let gone = [connect(&twins)?, connect(&twins)?];
    echo(&near, &far, 10)?;
    assert_eq!(entries(&twins.sandbox)?, [6, 6]);
    // Without its link, no program sees what happens to sockets.
    twins.agent.kill9()?;
    let link = Pins::new(&twins.sandbox.bpffs()).link(accel::PLAIN);
    fs::remove_file(&link).with_context(|| link.display().to_string())?;
    // The kernel detaches it in its own time.
    let blind = || connect(&twins).is_ok_and(|(new, _)| flow(&twins.sandbox, &new).is_err());
    assert!(until(Duration::from_secs(5), blind), "connections are still seen");
    drop(gone);
    let missed = || entries(&twins.sandbox).is_ok_and(|left| left == [2, 6]);
    assert!(
        until(Duration::from_secs(5), missed),
        "{:?}",
        entries(&twins.sandbox)?
    );
    twins.agent.restart()?;
    let swept = || entries(&twins.sandbox).is_ok_and(|left| left == [2, 2]);
    assert!(
        until(Duration::from_secs(15), swept),
        "{:?}",
        entries(&twins.sandbox)?
    );
    assert!(twins.agent.log().contains("removed=4"), "{}", twins.agent.log());
    // What stayed is what it was.
    let before = redirected(&twins, &near)?.messages;
    echo(&near, &far, 10)?;
    assert_eq!(redirected(&twins, &near)?.messages, before + 10);
    drop((near, far));
    assert!(empties(&twins.sandbox), "{:?}", entries(&twins.sandbox)?);
    Ok(())
}

#[test]
fn an_entry_that_another_socket_has_made_is_put_back() -> Result<()> {
    require_root!();
    let twins = Twins::new("putback", Path::Redirect)?;
    let (near, far) = connect(&twins)?;
    echo(&near, &far, 10)?;
    let sock = flow(&twins.sandbox, &near)?.sock;
    let mut splices = Splices::open(&Pins::new(&twins.sandbox.bpffs()))?;
    let all = splices.entries()?;
    let entry = |cookie| Entry {
        key: sock.key(),
        cookie,
    };
    assert!(!splices.remove(entry(sock.cookie + 1))?);
    let (mut before, mut after) = (all, splices.entries()?);
    for list in [&mut before, &mut after] {
        list.sort_by_key(|(_, splice)| splice.cookie);
    }
    assert_eq!(before, after);
    echo(&near, &far, 10)?;
    assert_eq!(redirected(&twins, &far)?.messages, 20);
    assert!(splices.remove(entry(sock.cookie))?);
    ensure!(!splices.remove(entry(sock.cookie))?, "it was gone");
    // Without it, all goes by TCP.
    echo(&near, &far, 10)?;
    assert_eq!(redirected(&twins, &far)?.messages, 20);
    Ok(())
}
