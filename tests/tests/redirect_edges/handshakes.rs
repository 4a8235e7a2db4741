//! Handshakes that are not the usual three segments.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use harness::twins::{Path, Twins};
use harness::{Pod, require_root, skip_this};
use mesh_common::accel::{Enrolment, Moved};
use mesh_common::addr::Port;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::raw;
use crate::seen::{empties, enrolments, entries, live, redirected};
use crate::stamped::{PATIENCE, Stamp, echo, patient, receive};

/// What both ends of a usual connection are.
pub const fn usual(path: Path) -> Enrolment {
    match path {
        Path::Tcp => Enrolment::NotAsked,
        Path::Redirect => Enrolment::Enrolled,
    }
}

/// A listener in the server's pod, prepared before it listens; it gives up like everybody.
fn listen(
    twins: &Twins,
    backlog: i32,
    protocol: Option<Protocol>,
    prepare: impl Fn(&Socket) -> Result<()> + Sync,
) -> Result<(TcpListener, SocketAddr)> {
    let addr = SocketAddr::new(twins.server.v4(), 0);
    let socket = twins.server.run(|| -> Result<_> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, protocol)?;
        socket.bind(&addr.into())?;
        prepare(&socket)?;
        socket.listen(backlog)?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

#[test]
fn three_immediate_writes_to_a_listener_that_defers_stay_in_order() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let twins = Twins::new("defer", path)?;
        let defer = |socket: &Socket| Ok(raw::set(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 3)?);
        let (listener, to) = listen(&twins, 128, None, defer)?;
        let one = || -> Result<_> {
            let mut near = patient(TcpStream::connect(to)?)?;
            let mut stamp = Stamp::default();
            for len in [7, 64, 1000] {
                near.write_all(&stamp.next(len))?;
            }
            let far = patient(listener.accept()?.0)?;
            receive(&far, &mut Stamp::default(), 1071)?;
            Ok((near, far))
        };
        let (near, far) = twins.client.run(|| -> Result<_> {
            for number in 0..299 {
                one().with_context(|| format!("connection {number}"))?;
            }
            one()
        })?;
        assert_eq!(enrolments(&twins.sandbox, &near, &far)?, [usual(path); 2]);
        echo(&near, &far, 10)?;
        let expected = if path == Path::Redirect { 10 } else { 0 };
        assert_eq!(redirected(&twins, &far)?.messages, expected);
    }
    Ok(())
}

#[test]
fn a_full_accept_queue_loses_nothing() -> Result<()> {
    const CLIENTS: u64 = 8;
    require_root!();
    for path in Path::BOTH {
        let twins = Twins::new("overflow", path)?;
        // With them, a connection the full queue dropped may be reset later, by TCP itself.
        sysctl(&twins.server, "ipv4/tcp_syncookies", "0")?;
        let (listener, to) = listen(&twins, 1, None, |_| Ok(()))?;
        let ask = |number: u64| -> Result<()> {
            let mut near = patient(TcpStream::connect(to)?)?;
            let mut stamp = Stamp::default();
            near.write_all(&number.to_be_bytes())?;
            for _ in 0..3 {
                near.write_all(&stamp.next(100))?;
            }
            receive(&near, &mut Stamp::default(), 300)
        };
        let answer = |mut far: TcpStream| -> Result<u64> {
            let mut number = [0; 8];
            far.read_exact(&mut number)?;
            receive(&far, &mut Stamp::default(), 300)?;
            far.write_all(&Stamp::default().next(300))?;
            Ok(u64::from_be_bytes(number))
        };
        let mut served = twins.client.run(|| {
            thread::scope(|scope| -> Result<Vec<u64>> {
                let asking = (0..CLIENTS).map(|number| scope.spawn(move || ask(number)));
                let asking: Vec<_> = asking.collect();
                // So that the queue is full.
                thread::sleep(Duration::from_millis(300));
                let mut answering = Vec::new();
                for _ in 0..CLIENTS {
                    let far = patient(listener.accept()?.0)?;
                    answering.push(scope.spawn(move || answer(far)));
                }
                for (number, client) in asking.into_iter().enumerate() {
                    joined(client.join()).with_context(|| format!("{path:?}, client {number}"))?;
                }
                answering.into_iter().map(|far| joined(far.join())).collect()
            })
        })?;
        served.sort_unstable();
        assert!(netstat(&twins.server, "ListenOverflows")? + netstat(&twins.server, "ListenDrops")? > 0);
        assert_eq!(served, (0..CLIENTS).collect::<Vec<_>>());
        assert!(empties(&twins.sandbox), "{:?}", entries(&twins.sandbox)?);
    }
    Ok(())
}

#[test]
fn the_same_ports_again_and_again_are_new_connections() -> Result<()> {
    const PORT: u16 = 7_777;
    require_root!();
    for path in Path::BOTH {
        let twins = Twins::new("reuse", path)?;
        let (listener, to) = listen(&twins, 16, None, |_| Ok(()))?;
        let from = SocketAddr::new(twins.client.v4(), PORT);
        let dial = || -> Result<TcpStream> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&to.into(), PATIENCE)?;
            Ok(patient(socket.into())?)
        };
        for round in 0..120 {
            // The last segments of the connection before may still be on their way.
            let near = harness::eventually(PATIENCE, || twins.client.run(dial))?;
            let far = patient(listener.accept()?.0)?;
            echo(&near, &far, 5).with_context(|| format!("round {round}"))?;
            if round % 10 == 0 {
                assert_eq!(enrolments(&twins.sandbox, &near, &far)?, [usual(path); 2]);
                let expected = match path {
                    Path::Tcp => Moved::default(),
                    Path::Redirect => Moved {
                        messages: 5,
                        bytes: 320,
                    },
                };
                assert_eq!(redirected(&twins, &near)?, expected, "round {round}");
                assert_eq!(redirected(&twins, &far)?, expected, "round {round}");
                let two = if path == Path::Redirect { 2 } else { 0 };
                assert_eq!(entries(&twins.sandbox)?, [two; 2], "round {round}");
            }
            if round % 3 == 0 {
                SockRef::from(&near).set_linger(Some(Duration::ZERO))?;
                drop(near);
            } else {
                // The server first: it keeps TIME_WAIT, which the next SYN ends.
                drop(far);
            }
        }
        assert!(empties(&twins.sandbox), "{:?}", entries(&twins.sandbox)?);
    }
    Ok(())
}

fn joined<T>(thread: thread::Result<Result<T>>) -> Result<T> {
    thread.map_err(|_| anyhow!("panicked"))?
}

/// Sets a switch of a pod's network.
fn sysctl(pod: &Pod, name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    pod.run(|| fs::write(&path, value))
        .with_context(|| format!("{path} = {value}"))
}

/// A figure of a pod's TCP.
fn netstat(pod: &Pod, figure: &str) -> Result<u64> {
    let text = pod.run(|| fs::read_to_string("/proc/thread-self/net/netstat"))?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, value) = both
        .find(|(name, _)| *name == figure)
        .with_context(|| figure.to_owned())?;
    Ok(value.parse()?)
}

#[test]
fn data_in_the_syn_stays_first_and_keeps_the_connection_on_tcp() -> Result<()> {
    /// Client and server, both without cookies, on every listener.
    const WITHOUT_COOKIES: &str = "1543";
    const TCP_FASTOPEN_CONNECT: i32 = 30;
    require_root!();
    for path in Path::BOTH {
        let twins = Twins::new("fastopen", path)?;
        for pod in [&twins.client, &twins.server] {
            sysctl(pod, "ipv4/tcp_fastopen", WITHOUT_COOKIES)?;
        }
        let open = |socket: &Socket| Ok(raw::set(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 16)?);
        let (listener, to) = listen(&twins, 16, None, open)?;
        for round in 1..=20 {
            let (near, mut stamp) = twins.client.run(|| -> Result<_> {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                raw::set(&socket, libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)?;
                socket.connect(&to.into())?;
                let mut near = patient(TcpStream::from(socket))?;
                let mut stamp = Stamp::default();
                for len in [100, 200, 300] {
                    near.write_all(&stamp.next(len))?;
                }
                Ok((near, stamp))
            })?;
            assert_eq!(netstat(&twins.client, "TCPFastOpenActive")?, round);
            let far = patient(listener.accept()?.0)?;
            let mut read = Stamp::default();
            receive(&far, &mut read, 600)?;
            (&near).write_all(&stamp.next(400))?;
            receive(&far, &mut read, 400)?;
            echo(&near, &far, 5)?;
            let expected = match path {
                Path::Tcp => Enrolment::NotAsked,
                Path::Redirect => Enrolment::EarlyData,
            };
            assert_eq!(
                enrolments(&twins.sandbox, &near, &far)?,
                [expected; 2],
                "{path:?}"
            );
            assert_eq!(redirected(&twins, &near)?, Moved::default());
        }
    }
    Ok(())
}

#[test]
fn mptcp_stays_with_tcp() -> Result<()> {
    require_root!();
    if let Err(error) = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
        return skip_this(&format!("needs MPTCP in the kernel: {error}"));
    }
    let twins = Twins::new("mptcp", Path::Redirect)?;
    let (mptcp, tcp) = (Some(Protocol::MPTCP), None);
    for (client, server, expected) in [
        (mptcp, mptcp, [Enrolment::Mptcp, Enrolment::Mptcp]),
        // One end falls back; what is left is a socket of TCP below one of MPTCP, or one of TCP alone.
        (mptcp, tcp, [Enrolment::Mptcp, Enrolment::Enrolled]),
        (tcp, mptcp, [Enrolment::Enrolled, Enrolment::Enrolled]),
    ] {
        let (listener, to) = listen(&twins, 16, server, |_| Ok(()))?;
        let near = twins.client.run(|| -> Result<_> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, client)?;
            socket.connect_timeout(&to.into(), PATIENCE)?;
            Ok(socket)
        })?;
        near.set_read_timeout(Some(PATIENCE))?;
        let near = TcpStream::from(near);
        let (far, _) = listener.accept()?;
        far.set_read_timeout(Some(PATIENCE))?;
        echo(&near, &far, 100).with_context(|| format!("{client:?} to {server:?}"))?;
        let mut found = live(&twins.sandbox)?;
        // Those before may still be closing.
        found.retain(|flow| [flow.sock.local_port, flow.sock.remote_port].contains(&Port::new(to.port())));
        found.sort_by_key(|flow| flow.sock.flags & mesh_common::sock::flag::PASSIVE);
        let found: Vec<_> = found
            .iter()
            .filter_map(|flow| Enrolment::from_number(flow.sock.accel.enrolment))
            .collect();
        assert_eq!(found, expected, "{client:?} to {server:?}");
    }
    Ok(())
}

#[test]
fn a_layer_above_tcp_goes_on_working() -> Result<()> {
    const TCP_ULP: i32 = 31;
    require_root!();
    let twins = Twins::new("layer", Path::Redirect)?;
    let (near, far) = crate::stamped::connect(&twins)?;
    if let Err(error) = raw::set_bytes(&near, libc::IPPROTO_TCP, TCP_ULP, b"tls") {
        // Even so the connection must not suffer from having been asked.
        echo(&near, &far, 10)?;
        return skip_this(&format!("needs kernel TLS: {error}"));
    }
    // Without keys, bytes go as they are.
    echo(&near, &far, 100)
}
