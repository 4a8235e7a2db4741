//! The guarded redirect: what two accelerated pods see is what plain TCP shows, byte by byte.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use harness::{
    require_root,
    twins::{Path, Twins},
    until,
};
use mesh_agent::datapath::{listing, pins::Pins};
use mesh_common::{
    accel::{Enrolment, Moved},
    flow::LiveFlow,
};

/// What the kernel knows of the open connections.
fn live(twins: &Twins) -> anyhow::Result<Vec<LiveFlow>> {
    Ok(listing::read(&Pins::new(&twins.sandbox.bpffs()))?)
}

fn echo(near: &mut TcpStream, far: &mut TcpStream, messages: u32) -> anyhow::Result<()> {
    let mut bytes = [0; 64];
    for number in 0..messages {
        let sent = [u8::try_from(number % 251)?; 64];
        near.write_all(&sent)?;
        far.read_exact(&mut bytes)?;
        far.write_all(&bytes)?;
        near.read_exact(&mut bytes)?;
        assert_eq!(bytes, sent);
    }
    Ok(())
}

#[test]
fn requests_and_responses_go_past_tcp_where_both_pods_ask_for_it() -> anyhow::Result<()> {
    require_root!();
    for path in Path::BOTH {
        let twins = Twins::new("ask", path)?;
        let (mut near, mut far) = twins.connect()?;
        echo(&mut near, &mut far, 1_000)?;
        let flows = live(&twins)?;
        assert_eq!(flows.len(), 2, "{flows:?}");
        for flow in flows {
            let all = Moved {
                messages: 1_000,
                bytes: 64_000,
            };
            let (enrolment, moved) = match path {
                Path::Tcp => (Enrolment::NotAsked, Moved::default()),
                Path::Redirect => (Enrolment::Enrolled, all),
            };
            assert_eq!(flow.sock.accel.enrolment, enrolment as u32, "{path:?}");
            assert_eq!(flow.sock.accel.redirected, moved, "{path:?}");
            assert_eq!(flow.received, moved, "{path:?}");
        }
    }
    Ok(())
}

#[test]
fn the_switch_works_at_once_on_open_connections() -> anyhow::Result<()> {
    require_root!();
    let twins = Twins::new("switch", Path::Redirect)?;
    let (mut near, mut far) = twins.connect()?;
    let redirected = || -> anyhow::Result<u64> {
        Ok(live(&twins)?
            .iter()
            .map(|flow| flow.sock.accel.redirected.messages)
            .sum())
    };
    echo(&mut near, &mut far, 100)?;
    let before = redirected()?;
    assert_eq!(before, 200);
    let off = twins.sandbox.meshctl(["accel", "disable"])?;
    assert!(off.status.success(), "{off:?}");
    echo(&mut near, &mut far, 100)?;
    assert_eq!(redirected()?, before);
    let on = twins.sandbox.meshctl(["accel", "enable"])?;
    assert!(on.status.success(), "{on:?}");
    echo(&mut near, &mut far, 100)?;
    assert_eq!(redirected()?, before + 200);
    Ok(())
}

#[test]
fn no_bytes_and_no_entries_are_left_when_connections_end() -> anyhow::Result<()> {
    require_root!();
    let twins = Twins::new("end", Path::Redirect)?;
    let pins = Pins::new(&twins.sandbox.bpffs());
    let splices = || {
        use mesh_agent::datapath::tables::entries;
        use mesh_common::{
            abi::map,
            accel::{SocketKey, Splice},
        };
        entries::<SocketKey, Splice>(&pins, map::SPLICES).map(|all| all.len())
    };
    let (mut near, mut far) = twins.connect()?;
    echo(&mut near, &mut far, 10)?;
    assert_eq!(splices()?, 2);
    drop((near, far));
    assert!(until(Duration::from_secs(5), || splices().is_ok_and(|left| left == 0)));
    Ok(())
}
