//! What the kernel knows of sockets and tables.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::twins::Twins;
use harness::{Sandbox, kernel, until};
use mesh_agent::datapath::{listing, pins::Pins};
use mesh_common::abi::map;
use mesh_common::accel::{Enrolment, Moved};
use mesh_common::flow::LiveFlow;
use rustix::net::sockopt::socket_cookie;

/// Every connection that is listed.
pub fn live(sandbox: &Sandbox) -> Result<Vec<LiveFlow>> {
    Ok(listing::read(&Pins::new(&sandbox.bpffs()))?)
}

/// The record of a socket.
pub fn flow(sandbox: &Sandbox, socket: &impl AsFd) -> Result<LiveFlow> {
    let cookie = socket_cookie(socket)?;
    let all = live(sandbox)?;
    let found = all.iter().find(|flow| flow.sock.cookie == cookie);
    found
        .copied()
        .with_context(|| format!("no socket {cookie} in {all:?}"))
}

/// Whether a socket is enrolled, or why not.
pub fn enrolment(sandbox: &Sandbox, socket: &impl AsFd) -> Result<Enrolment> {
    let number = flow(sandbox, socket)?.sock.accel.enrolment;
    Enrolment::from_number(number).with_context(|| format!("enrolment {number}"))
}

/// The same of both ends.
pub fn enrolments(sandbox: &Sandbox, near: &impl AsFd, far: &impl AsFd) -> Result<[Enrolment; 2]> {
    Ok([enrolment(sandbox, near)?, enrolment(sandbox, far)?])
}

/// What a socket sent by redirect.
pub fn redirected(twins: &Twins, socket: &impl AsFd) -> Result<Moved> {
    Ok(flow(&twins.sandbox, socket)?.sock.accel.redirected)
}

/// Entries of `SOCKETS` and `SPLICES`.
pub fn entries(sandbox: &Sandbox) -> Result<[usize; 2]> {
    let pins = Pins::new(&sandbox.bpffs());
    Ok([
        kernel::entries(&pins.map(map::SOCKETS))?,
        kernel::entries(&pins.map(map::SPLICES))?,
    ])
}

/// Whether both tables become empty soon.
pub fn empties(sandbox: &Sandbox) -> bool {
    until(Duration::from_secs(5), || {
        entries(sandbox).is_ok_and(|left| left == [0, 0])
    })
}
