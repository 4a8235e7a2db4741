//! Sockets with odd addresses, ports and ways to connect.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;

use anyhow::{Result, ensure};
use harness::manifest::{self, Endpoint, Port};
use harness::probe::{Outcome, Protocol};
use harness::scene::mapped;
use harness::{require, require_root, uring};
use socket2::{Domain, Socket, Type};

use crate::town::{SOON, Town, at, confine, got_through, guard};

/// All of these from the client to the server, by TCP and UDP; whether one of them got through.
fn any(town: &Town, to: impl IntoIterator<Item = SocketAddr>) -> bool {
    let mut all = to
        .into_iter()
        .flat_map(|to| [Protocol::Tcp, Protocol::Udp].map(|it| (it, to)));
    all.any(|(protocol, to)| got_through(&town.attempt(town.client.place(), protocol, to)))
}

#[test]
fn plain_sockets() -> Result<()> {
    require_root!();
    let town = Town::build("plain")?;
    let (guard, confine) = (guard(), confine());
    town.closes(
        &[&[("shop/guard", &guard)], &[("shop/confine", &confine)]],
        &[
            ("IPv4", |town| Ok(any(town, [at(&town.server, 80)[0]]))),
            ("IPv6", |town| Ok(any(town, [at(&town.server, 80)[1]]))),
            ("another port", |town| Ok(any(town, at(&town.server, 81)))),
        ],
    )
}

#[test]
fn mapped_addresses() -> Result<()> {
    require_root!();
    let town = Town::build("mapped")?;
    let (guard, confine) = (guard(), confine());
    town.closes(
        &[&[("shop/guard", &guard)], &[("shop/confine", &confine)]],
        &[
            ("port 80, UDP not connected", |town| {
                Ok(any(town, [mapped(at(&town.server, 80)[0])]))
            }),
            ("port 81, UDP connected", |town| {
                Ok(any(town, [mapped(at(&town.server, 81)[0])]))
            }),
        ],
    )
}

/// From a port as a server has, so that what is sent looks like an answer.
fn from_port(town: &Town, kind: Type, family: usize, port: u16) -> Result<bool> {
    let (from, to) = (at(&town.client, port)[family], at(&town.server, 80)[family]);
    town.client.run(|| {
        let socket = Socket::new(Domain::for_address(from), kind, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&from.into())?;
        socket.set_read_timeout(Some(town.limit()))?;
        socket.set_write_timeout(Some(town.limit()))?;
        socket.set_linger(Some(std::time::Duration::ZERO))?;
        let talk = || -> std::io::Result<()> {
            use std::io::{Read as _, Write as _};
            socket.connect(&to.into())?;
            (&socket).write_all(b"12345678")?;
            (&socket).read_exact(&mut [0; 8])
        };
        Ok(talk().is_ok())
    })
}

#[test]
fn ports_bound_before() -> Result<()> {
    require_root!();
    let town = Town::build("bound")?;
    let (guard, confine) = (guard(), confine());
    town.closes(
        &[&[("shop/guard", &guard)], &[("shop/confine", &confine)]],
        &[
            ("TCP from 443", |town| from_port(town, Type::STREAM, 0, 443)),
            ("TCP from 443 over IPv6", |town| {
                from_port(town, Type::STREAM, 1, 443)
            }),
            ("UDP from 53", |town| from_port(town, Type::DGRAM, 0, 53)),
            ("UDP from 53 over IPv6", |town| {
                from_port(town, Type::DGRAM, 1, 53)
            }),
        ],
    )
}

/// The friend may ask port 80 only.
#[test]
fn a_port_that_is_not_allowed() -> Result<()> {
    require_root!();
    let guard = guard();
    let town = Town::guarded("another-port", &[("shop/guard", &guard)])?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for family in [0, 1] {
            let [good, bad] = [80, 81].map(|port| at(&town.server, port)[family]);
            Town::passes(town.friend.place(), protocol, good)?;
            let outcome = town.counted(|| Ok(town.attempt(town.friend.place(), protocol, bad)))?;
            ensure!(
                outcome == Outcome::Refused,
                "{bad} by {}: {outcome}",
                protocol.name()
            );
        }
    }
    Ok(())
}

fn by_ring(town: &Town, to: SocketAddr) -> Result<bool> {
    town.client.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        match uring::connect(&socket, to) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => Ok(false),
            Err(error) => Err(error.into()),
        }
    })
}

#[test]
fn connects_by_io_uring() -> Result<()> {
    require_root!();
    require!(uring::available());
    let town = Town::build("uring")?;
    let (guard, confine) = (guard(), confine());
    town.closes(
        &[&[("shop/guard", &guard)], &[("shop/confine", &confine)]],
        &[
            ("IPv4", |town| by_ring(town, at(&town.server, 80)[0])),
            ("IPv6", |town| by_ring(town, at(&town.server, 80)[1])),
        ],
    )
}

/// In the pod's network, but a process of no cgroup of the mesh's, so that no program runs when it connects; or of
/// another pod's cgroup; or one that was moved there after it was started.
#[test]
fn processes_in_other_cgroups() -> Result<()> {
    fn moved(town: &Town, protocol: Protocol) -> bool {
        let cgroup = town
            .friend
            .place()
            .cgroup()
            .expect("a cgroup")
            .join("cgroup.threads");
        town.client.run(|| {
            let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
            std::fs::write(&cgroup, thread).expect("the cgroup is joined");
            at(&town.server, 80).into_iter().any(|to| {
                let hopeful = town.limit() > std::time::Duration::from_secs(1);
                got_through(&harness::probe::once(harness::probe::Attempt {
                    protocol,
                    to,
                    hopeful,
                }))
            })
        })
    }
    fn out_of_it(town: &Town, protocol: Protocol) -> bool {
        let mut to = at(&town.server, 80).into_iter();
        to.any(|to| got_through(&town.attempt(&town.client.unenrolled(), protocol, to)))
    }
    require_root!();
    let town = Town::build("cgroups")?;
    let (guard, confine) = (guard(), confine());
    town.closes(
        &[&[("shop/guard", &guard)], &[("shop/confine", &confine)]],
        &[
            ("TCP, out of the mesh's", |town| {
                Ok(out_of_it(town, Protocol::Tcp))
            }),
            ("UDP, out of the mesh's", |town| {
                Ok(out_of_it(town, Protocol::Udp))
            }),
            ("TCP, moved to the friend's", |town| {
                Ok(moved(town, Protocol::Tcp))
            }),
            ("UDP, moved to the friend's", |town| {
                Ok(moved(town, Protocol::Udp))
            }),
        ],
    )
}

/// The service's address and the pod's own are one as far as policies go.
#[test]
fn the_service_and_the_pod_behind_it() -> Result<()> {
    require_root!();
    let mut town = Town::build("behind")?;
    let vip: IpAddr = "10.96.0.10".parse()?;
    let ports = [Port::tcp(80).named("web"), Port::udp(80).named("dns")];
    let endpoint = Endpoint::ready(town.server.v4()).of("shop", "server");
    let manifests = town.sandbox.manifests();
    manifests.apply(&manifest::endpoint_slice(
        "shop",
        "web",
        "web-1",
        &ports,
        &[endpoint],
    ))?;
    manifests.apply(&manifest::service(
        "shop",
        "web",
        &[vip],
        &ports,
        &[("app", "server")],
    ))?;
    town.start()?;
    let both = [SocketAddr::new(vip, 80), at(&town.server, 80)[0]];
    let ask = |town: &Town, pod: &harness::Pod, passes: bool| -> Result<()> {
        for to in both {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                if passes {
                    Town::passes(pod.place(), protocol, to)?;
                    continue;
                }
                let outcome = town.counted(|| Ok(town.attempt(pod.place(), protocol, to)))?;
                ensure!(
                    outcome == Outcome::Refused,
                    "{to} by {}: {outcome}",
                    protocol.name()
                );
            }
        }
        Ok(())
    };
    harness::eventually(SOON, || ask(&town, &town.client, true))?;
    let (guard, confine) = (guard(), confine());
    for version in [("shop/guard", &guard), ("shop/confine", &confine)] {
        town.enforce(&[version])?;
        ask(&town, &town.client, false)?;
        ask(&town, &town.friend, true)?;
    }
    Ok(())
}

/// A socket that was allowed one peer, and is connected to another.
#[test]
fn a_socket_that_is_connected_again() -> Result<()> {
    require_root!();
    let confine = confine();
    let town = Town::guarded("again", &[("shop/confine", &confine)])?;
    for family in [0, 1] {
        let (good, bad) = (at(&town.friend, 80)[family], at(&town.server, 80)[family]);
        let socket = town.client.run(|| -> Result<_> {
            let socket = Socket::new(Domain::for_address(good), Type::DGRAM, None)?;
            socket.connect(&good.into())?;
            Ok(socket)
        })?;
        let error = town.counted(|| Ok(socket.connect(&bad.into()).and_then(|()| socket.send(b"1234"))))?;
        let error = error.err().and_then(|error| error.raw_os_error());
        ensure!(error == Some(libc::ECONNREFUSED), "{error:?}");
        // Nor past the address it is connected to.
        let sent = town.counted(|| {
            Ok(rustix::net::sendto(
                socket.as_fd(),
                b"1234",
                rustix::net::SendFlags::empty(),
                &bad,
            ))
        })?;
        ensure!(sent == Err(rustix::io::Errno::CONNREFUSED), "{sent:?}");
    }
    Ok(())
}
