//! Nobody gets another pod's bytes, whatever addresses it gives itself.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Result, ensure};
use harness::manifest;
use harness::twins::{NAMESPACE, Path, Twins};
use harness::{Pod, eventually, require_root};
use mesh_common::accel::Enrolment;
use socket2::{Domain, Socket, Type};

use crate::seen::{enrolments, redirected};
use crate::stamped::{PATIENCE, connect, echo, patient};

/// A connection within a pod, from one exact end to another.
fn within(pod: &Pod, from: SocketAddr, to: SocketAddr) -> Result<(TcpStream, TcpStream)> {
    pod.run(|| {
        let listener = TcpListener::bind(to)?;
        let socket = Socket::new(Domain::for_address(from), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok((patient(socket.into())?, patient(listener.accept()?.0)?))
    })
}

/// Sends a word one way, and it comes out at the other end of the same connection.
fn say(mut from: &TcpStream, mut to: &TcpStream, word: [u8; 8]) -> Result<()> {
    from.write_all(&word)?;
    let mut heard = [0; 8];
    to.read_exact(&mut heard)?;
    ensure!(heard == word, "{heard:?} instead of {word:?}");
    Ok(())
}

/// Nothing more comes.
fn silent(mut socket: &TcpStream) -> Result<()> {
    socket.set_nonblocking(true)?;
    let read = socket.read(&mut [0; 8]);
    socket.set_nonblocking(false)?;
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        read => anyhow::bail!("read {read:?}"),
    }
}

#[test]
fn the_same_loopback_ports_in_two_pods_are_two_connections() -> Result<()> {
    require_root!();
    let twins = Twins::new("loopback", Path::Redirect)?;
    let [from, to] = [7_001, 7_002].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let (near, far) = within(&twins.client, from, to)?;
    let (other_near, other_far) = within(&twins.server, from, to)?;
    for round in 0..200_u64 {
        // Both are under way at once before either is read.
        for (near, far, word) in [(&near, &far, 1), (&other_near, &other_far, 2)] {
            let word = (round << 2 | word).to_be_bytes();
            say(near, far, word)?;
            say(far, near, word)?;
        }
        (&near).write_all(b"one one.")?;
        (&other_far).write_all(b"two two.")?;
        let mut bytes = [0; 8];
        (&far).read_exact(&mut bytes)?;
        assert_eq!(&bytes, b"one one.");
        (&other_near).read_exact(&mut bytes)?;
        assert_eq!(&bytes, b"two two.");
        for end in [&near, &far, &other_near, &other_far] {
            silent(end)?;
        }
    }
    for (near, far) in [(&near, &far), (&other_near, &other_far)] {
        let found = enrolments(&twins.sandbox, near, far)?;
        assert_eq!(found, [Enrolment::ForeignAddress; 2]);
    }
    Ok(())
}

#[test]
fn a_pod_with_forged_addresses_gets_nothing_and_disturbs_nobody() -> Result<()> {
    require_root!();
    let twins = Twins::new("forged", Path::Redirect)?;
    let (near, far) = connect(&twins)?;
    let ends = [near.local_addr()?, near.peer_addr()?];
    let thief = twins.sandbox.pod("thief", &["10.0.1.3", "fd00::1:3"])?;
    twins
        .sandbox
        .manifests()
        .apply(&manifest::pod_of(NAMESPACE, &thief, &[]))?;
    for end in ends {
        let addr = format!("{}/32", end.ip());
        let added = thief
            .command("ip")
            .args(["addr", "add", &addr, "dev", "lo"])
            .output()?;
        assert!(added.status.success(), "{added:?}");
    }
    // The thief is in the mesh, and asks for acceleration like everybody.
    let own = SocketAddr::new(thief.v4(), 0);
    let accepted = eventually(PATIENCE, || {
        let listener = thief.run(|| TcpListener::bind(own))?;
        let to = listener.local_addr()?;
        let dialled = thief.run(|| TcpStream::connect(to))?;
        let (accepted, _) = listener.accept()?;
        let found = enrolments(&twins.sandbox, &dialled, &accepted)?;
        ensure!(found == [Enrolment::Enrolled; 2], "{found:?}");
        Ok((dialled, accepted))
    })?;
    drop(accepted);
    let before = redirected(&twins, &near)?.messages;
    // In both roles: as who dialled, and as who was dialled.
    for [from, to] in [ends, [ends[1], ends[0]]] {
        let (forged, double) = within(&thief, from, to)?;
        let found = enrolments(&twins.sandbox, &forged, &double)?;
        assert_eq!(found, [Enrolment::ForeignAddress; 2]);
        for round in 0..50_u64 {
            (&forged).write_all(b"forged..")?;
            (&double).write_all(b"double..")?;
            say(&near, &far, (round << 1).to_be_bytes())?;
            say(&far, &near, (round << 1 | 1).to_be_bytes())?;
            let mut bytes = [0; 8];
            (&double).read_exact(&mut bytes)?;
            assert_eq!(&bytes, b"forged..");
            (&forged).read_exact(&mut bytes)?;
            assert_eq!(&bytes, b"double..");
            for end in [&near, &far, &forged, &double] {
                silent(end)?;
            }
        }
        assert_eq!(redirected(&twins, &forged)?.messages, 0);
        socket2::SockRef::from(&forged).set_linger(Some(std::time::Duration::ZERO))?;
    }
    // Nor did the end of the forged ones take anything away.
    echo(&near, &far, 50)?;
    assert_eq!(redirected(&twins, &near)?.messages, before + 150);
    Ok(())
}
