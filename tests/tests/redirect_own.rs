//! The redirect between the mesh's own sockets, which need no pod's consent; and what the start-up probe says of
//! this kernel, for them and for applications' sockets.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use harness::{
    kernel, require_root,
    twins::{Path, Twins},
    until,
};
use mesh_agent::{
    app::acceleration,
    datapath::{listing, marks, pins::Pins},
};
use mesh_common::{abi::map, accel::Enrolment};
use rustix::io::ioctl_fionread;
use socket2::{Domain, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(20);
/// Records each way; emulated kernels run this, too.
const RECORDS: u32 = 20_000;

/// A connection of marked sockets, between pods that do not ask for acceleration.
fn connect(twins: &Twins) -> Result<(TcpStream, TcpStream)> {
    let pins = Pins::new(&twins.sandbox.bpffs());
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None);
    let any = SocketAddr::new(twins.server.v4(), 0);
    let listener = twins.server.run(|| -> Result<TcpListener> {
        let listener = socket()?;
        marks::mark(&pins, &listener)?;
        listener.bind(&any.into())?;
        listener.listen(8)?;
        Ok(listener.into())
    })?;
    let to = listener.local_addr()?;
    let near = twins.client.run(|| -> Result<TcpStream> {
        let near = socket()?;
        marks::mark(&pins, &near)?;
        near.connect(&to.into())?;
        Ok(near.into())
    })?;
    let (far, _) = listener.accept()?;
    for end in [&near, &far] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(PATIENCE))?;
        end.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((near, far))
}

/// Messages that went past TCP, and those that went by TCP, of all sockets.
fn moved(twins: &Twins) -> Result<(u64, u64)> {
    let flows = listing::read(&Pins::new(&twins.sandbox.bpffs()))?;
    ensure!(!flows.is_empty(), "no connection is listed");
    for flow in &flows {
        ensure!(
            flow.sock.accel.enrolment == Enrolment::Enrolled as u32,
            "{flow:?}"
        );
    }
    let accel = || flows.iter().map(|flow| flow.sock.accel);
    Ok((
        accel().map(|accel| accel.redirected.messages).sum(),
        accel().map(|accel| accel.passed.messages).sum(),
    ))
}

#[test]
fn both_are_enrolled_and_requests_go_past_tcp() -> Result<()> {
    require_root!();
    let twins = Twins::new("own-ask", Path::Tcp)?;
    let (mut near, mut far) = connect(&twins)?;
    let mut bytes = [0; 512];
    for number in 0..500_u32 {
        let sent = [u8::try_from(number % 251)?; 512];
        near.write_all(&sent)?;
        far.read_exact(&mut bytes)?;
        ensure!(bytes == sent, "request {number}");
        far.write_all(&bytes)?;
        near.read_exact(&mut bytes)?;
        ensure!(bytes == sent, "answer {number}");
    }
    let (redirected, _) = moved(&twins)?;
    ensure!(
        redirected >= 990,
        "{redirected} of 1,000 messages were redirected"
    );
    Ok(())
}

/// The stream verdict, where applications need it, is attached to their table.
#[test]
fn they_are_kept_apart_from_applications_sockets() -> Result<()> {
    require_root!();
    let twins = Twins::new("own-table", Path::Tcp)?;
    let pins = Pins::new(&twins.sandbox.bpffs());
    let entries = || [map::MESH_SOCKETS, map::SOCKETS].map(|map| kernel::entries(&pins.map(map)).ok());
    let ends = connect(&twins)?;
    ensure!(entries() == [Some(2), Some(0)], "{:?}", entries());
    drop(ends);
    let gone = || entries() == [Some(0); 2];
    ensure!(
        until(PATIENCE, gone),
        "left when they are closed: {:?}",
        entries()
    );
    Ok(())
}

#[test]
fn numbered_records_arrive_in_order_on_whatever_path() -> Result<()> {
    require_root!();
    let twins = Twins::new("own-order", Path::Tcp)?;
    let (near, far) = connect(&twins)?;
    let switch = |word| -> Result<()> {
        let done = twins.sandbox.meshctl(["accel", word])?;
        ensure!(done.status.success(), "{done:?}");
        Ok(())
    };
    switch("disable")?;
    thread::scope(|scope| -> Result<()> {
        let ways = [(&near, &far), (&far, &near)];
        let threads: Vec<_> = ways
            .into_iter()
            .flat_map(|(from, to)| [scope.spawn(move || send(from)), scope.spawn(move || receive(to))])
            .collect();
        // On a slow machine, too, the first go by TCP, and those after them past it.
        let by_tcp = || moved(&twins).is_ok_and(|(_, passed)| passed > 0);
        ensure!(until(PATIENCE, by_tcp), "nothing is sent");
        for word in ["enable", "disable", "enable"] {
            switch(word)?;
            thread::sleep(Duration::from_millis(50));
        }
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    let (redirected, passed) = moved(&twins)?;
    ensure!(
        redirected > 0 && passed > 0,
        "{redirected} redirected, {passed} by TCP"
    );
    Ok(())
}

/// Numbered records, a few in each message, with pauses that let the reader catch up.
fn send(mut socket: &TcpStream) -> Result<()> {
    let mut next = 0;
    while next < RECORDS {
        let until = (next + 1 + next % 7).min(RECORDS);
        let bytes: Vec<u8> = (next..until).flat_map(u32::to_be_bytes).collect();
        socket.write_all(&bytes)?;
        if next % 50 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        next = until;
    }
    Ok(())
}

fn receive(mut socket: &TcpStream) -> Result<()> {
    let mut record = [0; 4];
    let mut at = 0;
    for expected in 0..RECORDS {
        while at < record.len() {
            match socket.read(&mut record[at..]) {
                Ok(0) => anyhow::bail!("ended at record {expected}"),
                Ok(count) => at += count,
                // A sender beside us that gets room again ends a blocking read (a limit of the kernel).
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context(format!("record {expected}")),
            }
        }
        let found = u32::from_be_bytes(record);
        ensure!(found == expected, "record {found} where {expected} was due");
        at = 0;
    }
    Ok(())
}

/// Kernels differ in what `FIONREAD` tells of redirected bytes; applications must be kept out where it is wrong.
#[test]
fn the_probe_says_of_fionread_what_the_kernel_does() -> Result<()> {
    require_root!();
    let twins = Twins::new("own-fionread", Path::Tcp)?;
    let report = acceleration::load(&twins.sandbox.run_dir())?.context("there is no report")?;
    ensure!(
        report.own.is_none(),
        "own sockets may not be redirected: {report:?}"
    );
    let (mut near, mut far) = connect(&twins)?;
    near.write_all(b"a")?;
    far.read_exact(&mut [0])?;
    near.write_all(&[7; 100])?;
    let (redirected, _) = moved(&twins)?;
    ensure!(redirected > 0, "nothing was redirected");
    let told = ioctl_fionread(&far)?;
    println!("{}: FIONREAD tells {told} of 100 redirected bytes", report.kernel);
    let objection = report.applications.unwrap_or_default();
    ensure!(
        (told == 100) != objection.contains("fionread_redirected"),
        "FIONREAD told {told} of 100, and the probe: {objection:?}"
    );
    Ok(())
}
