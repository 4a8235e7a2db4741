//! Sockets of a network namespace: listed, and destroyed without touching any other.

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{Pod, Sandbox, require, require_root};
use mesh_agent::sys::sock_diag::{self, DestroyError, Family, Protocol, Socket, States};
use socket2::SockRef;

/// A client pod and a server pod.
struct Scene {
    client: Pod,
    server: Pod,
    _sandbox: Sandbox,
}

impl Scene {
    fn new(test_name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(test_name)?;
        Ok(Self {
            client: sandbox.pod("client", &["10.0.1.1", "fd00::1:1"])?,
            server: sandbox.pod("server", &["10.0.1.2", "fd00::1:2"])?,
            _sandbox: sandbox,
        })
    }

    /// One connection: the client's end and the server's.
    fn tcp(&self, to: IpAddr) -> Result<(TcpStream, TcpStream)> {
        let listener = self.server.run(|| TcpListener::bind((to, 0)))?;
        let to = listener.local_addr()?;
        let near = self.client.run(|| TcpStream::connect(to))?;
        Ok((near, listener.accept()?.0))
    }

    /// A UDP socket of the client that is connected to the server.
    fn udp(&self, to: IpAddr) -> Result<UdpSocket> {
        Ok(self.client.run(|| {
            let from: IpAddr = if to.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            let socket = UdpSocket::bind((from, 0))?;
            socket.connect((to, 9))?;
            std::io::Result::Ok(socket)
        })?)
    }
}

/// The socket with these ends, among all that are established in the pod.
fn listed(
    pod: &Pod,
    protocol: Protocol,
    ends: (SocketAddr, SocketAddr),
    cookie: u64,
) -> Result<Option<Socket>> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        found.extend(pod.run(|| sock_diag::list(family, protocol, States::ESTABLISHED))?);
    }
    let mine: Vec<_> = found
        .into_iter()
        .filter(|socket| (socket.local, socket.remote) == ends)
        .collect();
    ensure!(mine.len() <= 1, "{mine:?}");
    ensure!(
        mine.iter().all(|socket| socket.cookie == cookie),
        "{mine:?}, {cookie}"
    );
    Ok(mine.first().copied())
}

/// Destroys a socket, or says why this kernel can't.
fn destroy(pod: &Pod, socket: &Socket) -> Result<Result<(), String>> {
    match pod.run(|| sock_diag::destroy(socket)) {
        Ok(was_there) => {
            ensure!(was_there, "{socket:?} was gone");
            Ok(Ok(()))
        }
        Err(error @ DestroyError::Unsupported(_)) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn tcp_is_found_and_destroyed_in_its_namespace_alone() -> Result<()> {
    require_root!();
    let scene = Scene::new("diag-tcp")?;
    for to in [scene.server.v4(), scene.server.v6()] {
        let (mut near, mut far) = scene.tcp(to)?;
        let (_other_near, other_far) = scene.tcp(to)?;
        let ends = (near.local_addr()?, near.peer_addr()?);
        let cookie = SockRef::from(&near).cookie()?;
        let found = listed(&scene.client, Protocol::Tcp, ends, cookie)?.context("listed")?;
        assert!(!found.is_orphan() && found.uid == 0, "{found:?}");
        assert_eq!((found.unread, found.unacknowledged), (0, 0));
        // The same tuple is nothing in the server's namespace, where the other end is.
        let peer_cookie = SockRef::from(&far).cookie()?;
        assert_eq!(listed(&scene.server, Protocol::Tcp, ends, cookie)?, None);
        let elsewhere = scene.server.run(|| sock_diag::destroy(&found));
        assert!(!matches!(elsewhere, Ok(true)), "{elsewhere:?}");
        let turned = (ends.1, ends.0);
        let peer = listed(&scene.server, Protocol::Tcp, turned, peer_cookie)?.context("listed")?;
        // With another's cookie, nothing goes.
        let stranger = Socket {
            cookie: peer.cookie,
            ..found
        };
        let refused = scene.client.run(|| sock_diag::destroy(&stranger));
        assert!(!matches!(refused, Ok(true)), "{refused:?}");
        assert!(listed(&scene.client, Protocol::Tcp, ends, cookie)?.is_some());
        require!(destroy(&scene.client, &found)?);
        let error = near.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(error, Err(ErrorKind::ConnectionAborted));
        far.set_read_timeout(Some(Duration::from_secs(5)))?;
        let error = far.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(error, Err(ErrorKind::ConnectionReset));
        assert_eq!(listed(&scene.client, Protocol::Tcp, ends, cookie)?, None);
        let again = scene.client.run(|| sock_diag::destroy(&found));
        assert!(matches!(again, Ok(false)), "{again:?}");
        // The connection beside it goes on.
        assert_eq!(other_far.take_error()?.map(|error| error.kind()), None);
        let ends = (other_far.local_addr()?, other_far.peer_addr()?);
        let cookie = SockRef::from(&other_far).cookie()?;
        assert!(listed(&scene.server, Protocol::Tcp, ends, cookie)?.is_some());
    }
    Ok(())
}

#[test]
fn a_socket_that_is_bound_to_an_interface_is_found_and_destroyed() -> Result<()> {
    require_root!();
    let scene = Scene::new("diag-bound")?;
    for to in [scene.server.v4(), scene.server.v6()] {
        let (mut near, _far) = scene.tcp(to)?;
        let (local, remote) = (near.local_addr()?, near.peer_addr()?);
        let find = || scene.client.run(|| sock_diag::find_tcp(local, remote));
        let unbound = find()?.context("unbound")?;
        let interfaces = scene.client.run(mesh_agent::sys::route::interfaces)?;
        let index = interfaces.into_iter().max().context("interfaces")?;
        // An established connection can be bound, too.
        scene
            .client
            .run(|| SockRef::from(&near).bind_device_by_index_v4(NonZeroU32::new(index)))?;
        let bound = find()?.context("bound")?;
        assert_eq!((bound.cookie, bound.interface), (unbound.cookie, index));
        require!(destroy(&scene.client, &bound)?);
        let error = near.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(error, Err(ErrorKind::ConnectionAborted));
        assert_eq!(find()?, None);
    }
    Ok(())
}

#[test]
fn connected_udp_is_found_and_destroyed() -> Result<()> {
    require_root!();
    let scene = Scene::new("diag-udp")?;
    for to in [scene.server.v4(), scene.server.v6()] {
        let [socket, other] = [scene.udp(to)?, scene.udp(to)?];
        let of = |socket: &UdpSocket| -> Result<_> {
            let ends = (socket.local_addr()?, socket.peer_addr()?);
            Ok((ends, SockRef::from(socket).cookie()?))
        };
        let (ends, cookie) = of(&socket)?;
        let found = listed(&scene.client, Protocol::Udp, ends, cookie)?.context("listed")?;
        require!(destroy(&scene.client, &found)?);
        socket.set_nonblocking(true)?;
        let error = socket.recv(&mut [0]).map_err(|error| error.kind());
        assert_eq!(error, Err(ErrorKind::ConnectionAborted));
        let (ends, cookie) = of(&other)?;
        assert!(listed(&scene.client, Protocol::Udp, ends, cookie)?.is_some());
    }
    Ok(())
}

/// A socket of IPv6 that talks IPv4 is found by its addresses of IPv4.
#[test]
fn a_mapped_address_is_one_of_ipv4() -> Result<()> {
    require_root!();
    let scene = Scene::new("diag-mapped")?;
    let listener = scene
        .server
        .run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)))?;
    let to = SocketAddr::new(scene.server.v4(), listener.local_addr()?.port());
    let near = scene.client.run(|| TcpStream::connect(to))?;
    let (mut far, _) = listener.accept()?;
    let from = near.local_addr()?;
    let found = scene.server.run(|| sock_diag::find_tcp(to, from))?;
    let found = found.context("the accepted socket")?;
    assert_eq!((found.family, found.ends()), (Family::V6, (to, from)));
    require!(destroy(&scene.server, &found)?);
    let error = far.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(error, Err(ErrorKind::ConnectionAborted));
    Ok(())
}

/// A socket whose process has closed it is told from one that is in use.
#[test]
fn what_nobody_has_is_an_orphan() -> Result<()> {
    require_root!();
    let scene = Scene::new("diag-orphan")?;
    let (near, far) = scene.tcp(scene.server.v4())?;
    let (local, remote) = (far.local_addr()?, far.peer_addr()?);
    let find = || scene.server.run(|| sock_diag::find_tcp(local, remote));
    let found = find()?.context("the accepted socket")?;
    assert!(!found.is_orphan(), "{found:?}");
    assert_eq!(found.cookie, SockRef::from(&far).cookie()?);
    drop(far);
    let found = find()?.context("it waits for the other end's FIN")?;
    assert!(found.is_orphan(), "{found:?}");
    drop(near);
    Ok(())
}
