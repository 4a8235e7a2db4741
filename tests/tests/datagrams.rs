//! UDP: which backend a datagram goes to, where its answer seems to come from, and DNS over it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::manifest::Port;
use harness::scene::{PORT, Shop, all_vips, mapped, vips};
use harness::traffic::{PATIENCE, ask_tcp, ask_udp_connected, ask_udp_unconnected};
use harness::{Pod, Spread, require, require_root, until};
use rustix::net::connect_unspec;
use socket2::{Domain, Socket, Type};

const SOON: Duration = Duration::from_secs(2);

fn ports() -> [Port; 1] {
    [Port::udp(80).to(PORT)]
}

/// A shop with the service `web`, number 10, of all backends.
fn web(test_name: &str, backends: &[&str]) -> Result<Shop> {
    let shop = Shop::open(test_name, backends)?;
    shop.sell("web", 10, &ports(), backends)?;
    Ok(shop)
}

/// A socket of the pod, neither bound nor connected.
fn socket(pod: &Pod, like: SocketAddr) -> io::Result<UdpSocket> {
    let socket = pod.run(|| Socket::new(Domain::for_address(like), Type::DGRAM, None))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// The address of a backend, for a socket of this family.
fn direct(pod: &Pod, like: SocketAddr) -> SocketAddr {
    match like.ip() {
        IpAddr::V4(_) => (pod.v4(), PORT).into(),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => mapped((pod.v4(), PORT).into()),
        IpAddr::V6(_) => (pod.v6(), PORT).into(),
    }
}

/// Who answers, unconnected; the answer has to come from the address that was asked.
fn ask(socket: &UdpSocket, addr: SocketAddr) -> Result<String> {
    let answer = ask_udp_unconnected(socket, addr).with_context(|| format!("asking {addr}"))?;
    assert_eq!(answer.peer_seen, addr, "where {} answers from", answer.name);
    Ok(answer.name)
}

#[test]
fn answers_come_from_the_service() -> Result<()> {
    require_root!();
    let shop = web("answers", &["web-1", "web-2"])?;
    let _agent = shop.start()?;
    for vip in all_vips(10, 80) {
        for _ in 0..20 {
            let socket = socket(&shop.client, vip)?;
            let answer = ask_udp_unconnected(&socket, vip)?;
            assert_eq!(answer.peer_seen, vip);
            let client = direct(&shop.client, vip).ip();
            assert_eq!(answer.client_seen.ip(), mapped((client, 0).into()).ip());
            assert!(socket.peer_addr().is_err(), "still not connected");
        }
    }
    Ok(())
}

#[test]
fn a_socket_keeps_its_backend_and_sockets_are_spread() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3"];
    let shop = web("sticky", &names)?;
    let _agent = shop.start()?;
    for vip in all_vips(10, 80) {
        let mut spread = Spread::default();
        for number in 0..240 {
            let socket = socket(&shop.client, vip)?;
            let first = ask(&socket, vip)?;
            let more = if number % 20 == 0 { 20 } else { 1 };
            for _ in 0..more {
                assert_eq!(ask(&socket, vip)?, first, "another backend on the same socket");
            }
            spread.add(first);
        }
        spread.assert_even(&names);
    }
    Ok(())
}

#[test]
fn every_service_has_its_own_backend_on_one_socket() -> Result<()> {
    require_root!();
    let (webs, carts) = (["web-1", "web-2"], ["cart-1", "cart-2"]);
    let shop = Shop::open("two", &[webs, carts].concat())?;
    shop.sell("web", 10, &ports(), &webs)?;
    shop.sell("cart", 20, &ports(), &carts)?;
    let _agent = shop.start()?;
    for (web, cart) in all_vips(10, 80).into_iter().zip(all_vips(20, 80)) {
        for _ in 0..8 {
            let socket = socket(&shop.client, web)?;
            let first = (ask(&socket, web)?, ask(&socket, cart)?);
            assert!(
                first.0.starts_with("web-") && first.1.starts_with("cart-"),
                "{first:?}"
            );
            for _ in 0..4 {
                assert_eq!((ask(&socket, web)?, ask(&socket, cart)?), first);
            }
        }
    }
    Ok(())
}

/// IPv4 and IPv6 services over one socket of IPv6, answers read in another order than asked.
#[test]
fn answers_of_several_services_in_any_order() -> Result<()> {
    require_root!();
    let shop = Shop::open("order", &["web-1", "cart-1"])?;
    shop.sell("web", 10, &ports(), &["web-1"])?;
    shop.sell("cart", 20, &ports(), &["cart-1"])?;
    let _agent = shop.start()?;
    let addrs = [all_vips(10, 80), all_vips(20, 80)].concat();
    let mut addrs: Vec<_> = addrs.into_iter().filter(SocketAddr::is_ipv6).collect();
    let socket = socket(&shop.client, addrs[0])?;
    for addr in &addrs {
        socket.send_to(b"?", addr)?;
    }
    let mut heard = Vec::new();
    let mut buffer = [0; 512];
    for _ in &addrs {
        let (length, from) = socket.recv_from(&mut buffer)?;
        let web = [vips(10, 80)[1], mapped(vips(10, 80)[0])].contains(&from);
        let name = if web { "web-1 " } else { "cart-1 " };
        assert!(buffer[..length].starts_with(name.as_bytes()), "from {from}");
        heard.push(from);
    }
    heard.sort();
    addrs.sort();
    assert_eq!(heard, addrs);
    Ok(())
}

/// What a socket cannot tell apart: the most recent question decides.
#[test]
fn services_that_share_a_backend_on_one_socket() -> Result<()> {
    require_root!();
    let shop = web("shared", &["web-1"])?;
    shop.sell("twin", 20, &ports(), &["web-1"])?;
    let _agent = shop.start()?;
    for (web, twin) in all_vips(10, 80).into_iter().zip(all_vips(20, 80)) {
        let socket = socket(&shop.client, web)?;
        for addr in [web, twin, web, twin, twin, web] {
            assert_eq!(ask(&socket, addr)?, "web-1");
        }
        // On two sockets there is nothing to confuse.
        let other = self::socket(&shop.client, web)?;
        ask(&other, twin)?;
        socket.send_to(b"?", web)?;
        other.send_to(b"?", twin)?;
        assert_eq!(socket.recv_from(&mut [0; 512])?.1, web);
        assert_eq!(other.recv_from(&mut [0; 512])?.1, twin);
    }
    Ok(())
}

/// A question to the pod itself is a question, too, and the most recent one.
#[test]
fn a_pod_asked_directly_answers_as_itself() -> Result<()> {
    require_root!();
    let shop = web("itself", &["web-1"])?;
    let _agent = shop.start()?;
    for vip in all_vips(10, 80) {
        let pod = direct(shop.backend("web-1"), vip);
        let socket = socket(&shop.client, vip)?;
        assert_eq!(ask(&socket, pod)?, "web-1");
        assert_eq!(ask(&socket, vip)?, "web-1");
        assert_eq!(ask(&socket, pod)?, "web-1");
        assert_eq!(ask(&socket, vip)?, "web-1");
    }
    Ok(())
}

#[test]
fn connected_sockets() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2"];
    let shop = web("connected", &names)?;
    let _agent = shop.start()?;
    for vip in all_vips(10, 80) {
        let mut spread = Spread::default();
        for _ in 0..100 {
            let socket = socket(&shop.client, vip)?;
            socket.connect(vip)?;
            assert_eq!(socket.peer_addr()?, vip);
            let first = ask_udp_connected(&socket)?;
            assert_eq!(ask_udp_connected(&socket)?.name, first.name);
            socket.send(b"?")?;
            let (length, from) = socket.recv_from(&mut [0; 512])?;
            assert!(length > 1);
            assert_eq!(from, vip, "recvfrom()");
            assert_eq!(socket.peer_addr()?, vip);
            spread.add(first.name);
        }
        spread.assert_even(&names);
    }
    Ok(())
}

/// A connected IPv6 socket with a mapped peer runs the hook of `sendmsg` at every send.
#[test]
fn a_connected_socket_stays_with_its_backend_over_many_sends() -> Result<()> {
    require_root!();
    let shop = web("many-sends", &["web-1", "web-2", "web-3"])?;
    let _agent = shop.start()?;
    for vip in all_vips(10, 80) {
        let socket = socket(&shop.client, vip)?;
        socket.connect(vip)?;
        let first = ask_udp_connected(&socket)?;
        for _ in 0..100 {
            assert_eq!(ask_udp_connected(&socket)?, first);
        }
        let socket = socket2::SockRef::from(&socket);
        for flags in [0, libc::MSG_DONTWAIT, libc::MSG_CONFIRM] {
            // sendmsg() without an address, in pieces.
            let pieces = [io::IoSlice::new(b"in "), io::IoSlice::new(b"pieces")];
            assert_eq!(socket.send_vectored_with_flags(&pieces, flags)?, 9);
            let mut buffer = [0; 512];
            let length = io::Read::read(&mut &*socket, &mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..length]);
            assert!(
                text.starts_with(&first.name) && text.ends_with("\nin pieces"),
                "{text}"
            );
        }
    }
    Ok(())
}

/// `sendto()` with an address on a connected socket goes there, and only that once.
#[test]
fn a_connected_socket_sends_elsewhere_once() -> Result<()> {
    require_root!();
    let shop = Shop::open("elsewhere", &["web-1", "cart-1"])?;
    shop.sell("web", 10, &ports(), &["web-1"])?;
    let server = shop.backend("cart-1").run(|| UdpSocket::bind("[::]:9000"))?;
    server.set_read_timeout(Some(PATIENCE))?;
    shop.sell("mail", 30, &[Port::udp(25).to(9000)], &["cart-1"])?;
    let _agent = shop.start()?;
    for (web, mail) in all_vips(10, 80).into_iter().zip(all_vips(30, 25)) {
        let socket = socket(&shop.client, web)?;
        socket.connect(web)?;
        // To its own service, then to another, which the socket does not hear.
        assert_eq!(ask(&socket, web)?, "web-1");
        socket.send_to(b"letter", mail)?;
        let mut buffer = [0; 64];
        let (length, _) = server.recv_from(&mut buffer)?;
        assert_eq!(&buffer[..length], b"letter");
        assert_eq!(socket.peer_addr()?, web);
        assert_eq!(ask_udp_connected(&socket)?.name, "web-1");
    }
    Ok(())
}

#[test]
fn an_endpoint_that_is_gone_is_not_asked_again() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3"];
    let shop = web("gone", &names)?;
    let _agent = shop.start()?;
    let mut sockets = Vec::new();
    for vip in all_vips(10, 80) {
        for _ in 0..12 {
            let socket = socket(&shop.client, vip)?;
            let name = ask(&socket, vip)?;
            sockets.push((vip, socket, name));
        }
    }
    shop.staff("web", &ports(), &["web-1", "web-3"])?;
    for vip in all_vips(10, 80) {
        let fresh = || socket(&shop.client, vip).is_ok_and(|it| ask(&it, vip).is_ok_and(|it| it == "web-2"));
        // Forty in a row that are others: once in ten million times although it is still there.
        assert!(until(SOON, || (0..40).all(|_| !fresh())));
    }
    for (vip, socket, name) in &sockets {
        let now = ask(socket, *vip)?;
        if name == "web-2" {
            assert!(["web-1", "web-3"].contains(&now.as_str()), "{now}");
        } else {
            assert_eq!(now, *name, "its backend is still there");
        }
        assert_eq!(ask(socket, *vip)?, now);
    }
    shop.staff("web", &ports(), &[])?;
    let (vip, socket, _) = &sockets[0];
    let refused = || matches!(socket.send_to(b"?", vip), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused);
    assert!(until(SOON, refused), "a socket that had a backend sends on");
    Ok(())
}

/// Resolvers connect UDP sockets to every address they found, to see which one they could reach, and from
/// where.
#[test]
fn probes_for_a_route_are_harmless() -> Result<()> {
    require_root!();
    let shop = web("probes", &["web-1"])?;
    shop.sell("none", 30, &ports(), &[])?;
    let _agent = shop.start()?;
    for vip in [all_vips(10, 80), all_vips(30, 80)].concat() {
        for port in [0, 9, 65535] {
            let probe = SocketAddr::new(vip.ip(), port);
            let socket = socket(&shop.client, vip)?;
            socket
                .connect(probe)
                .with_context(|| format!("probing {probe}"))?;
            assert_eq!(socket.local_addr()?.ip(), direct(&shop.client, vip).ip());
            if port != 0 {
                assert_eq!(socket.peer_addr()?, probe);
            }
            connect_unspec(&socket)?;
        }
    }
    // All over one socket, as glibc does it, and then in earnest. Connected: the kernel gives an IPv6
    // socket that was disconnected only what comes from where it had been connected to last.
    for vip in all_vips(10, 80) {
        let socket = socket(&shop.client, vip)?;
        for port in [0, 9, 65535] {
            socket.connect(SocketAddr::new(vip.ip(), port))?;
            connect_unspec(&socket)?;
        }
        socket.connect(vip)?;
        assert_eq!(ask_udp_connected(&socket)?.peer_seen, vip);
    }
    Ok(())
}

const NAME: &str = "web.shop.svc.cluster.local";
const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const AAAA: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);

/// A name server that knows one name.
struct Dns {
    stopped: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    fn start(pod: &Pod, port: u16) -> Result<Self> {
        let socket = pod.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let (stopped, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stop, count) = (Arc::clone(&stopped), Arc::clone(&asked));
        let thread = thread::spawn(move || {
            let mut query = [0; 1232];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut query) else {
                    continue;
                };
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(reply) = reply(&query[..length]) {
                    let _ = socket.send_to(&reply, client);
                }
            }
        });
        Ok(Self {
            stopped,
            asked,
            thread: Some(thread),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A query as the wire has it (RFC 1035), with EDNS where there is room for more than 512 bytes (RFC 6891).
fn query(id: u16, name: &str, kind: u16, edns: bool) -> Vec<u8> {
    let mut text = [id, 0x0100, 1, 0, 0, u16::from(edns)]
        .map(u16::to_be_bytes)
        .concat();
    for label in name.split('.') {
        text.push(u8::try_from(label.len()).expect("a short label"));
        text.extend_from_slice(label.as_bytes());
    }
    text.push(0);
    text.extend([kind, 1].map(u16::to_be_bytes).concat());
    if edns {
        text.push(0);
        text.extend([41, 1232, 0, 0, 0].map(u16::to_be_bytes).concat());
    }
    text
}

/// The question of a query: its name, its kind, and where it ends.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(label).into_owned());
    }
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    Some((labels.join("."), kind, at + 4))
}

fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let (name, kind, end) = question(query)?;
    let known = name.eq_ignore_ascii_case(NAME);
    let data = match kind {
        1 if known => A.octets().to_vec(),
        28 if known => AAAA.octets().to_vec(),
        _ => Vec::new(),
    };
    // An answer, recursion available; no such name.
    let flags: u16 = if known { 0x8580 } else { 0x8583 };
    let counts = [flags, 1, u16::from(!data.is_empty()), 0, 0].map(u16::to_be_bytes);
    let mut text = [&query[..2], &counts.concat(), query.get(12..end)?].concat();
    if !data.is_empty() {
        let length = u16::try_from(data.len()).ok()?;
        text.extend([0xc00c, kind, 1, 0, 60, length].map(u16::to_be_bytes).concat());
        text.extend(data);
    }
    Some(text)
}

/// A shop with the service `dns`, number 53, of name servers that do not listen on port 53.
fn dns(test_name: &str) -> Result<(Shop, [Dns; 2])> {
    let names = ["dns-1", "dns-2"];
    let shop = Shop::open(test_name, &names)?;
    let ports = [
        Port::udp(53).to(5353).named("dns"),
        Port::tcp(53).to(PORT).named("dns-tcp"),
    ];
    shop.sell("dns", 53, &ports, &names)?;
    let start = |name| Dns::start(shop.backend(name), 5353);
    let servers = [start("dns-1")?, start("dns-2")?];
    Ok((shop, servers))
}

#[test]
fn glibc_resolves_through_a_service() -> Result<()> {
    require_root!();
    require!(harness::require::program("getent"));
    let (shop, servers) = dns("getent")?;
    let _agent = shop.start()?;
    for vip in vips(53, 53) {
        let getent = |database: &str, name: &str| {
            let command = shop.client.command("getent").args([database, name]);
            let output = command.nameservers(&[vip.ip()]).output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            anyhow::Ok((output.status.code(), text))
        };
        // A and AAAA over one connected socket, in one call of sendmmsg().
        let (status, text) = getent("ahosts", NAME)?;
        assert_eq!(status, Some(0), "{text}");
        assert!(
            text.contains("192.0.2.10") && text.contains("2001:db8::10"),
            "{text}"
        );
        let (status, text) = getent("ahosts", "nobody.shop.svc.cluster.local")?;
        assert_eq!((status, text.as_str()), (Some(2), ""), "no such name");
        assert!(getent("ahostsv4", NAME)?.1.contains("192.0.2.10"));
        assert!(getent("hosts", NAME)?.1.contains("2001:db8::10"));
    }
    assert!(servers.iter().map(Dns::asked).sum::<usize>() >= 12);
    Ok(())
}

#[test]
fn dig_resolves_through_a_service() -> Result<()> {
    require_root!();
    require!(harness::require::program("dig"));
    let (shop, _servers) = dns("dig")?;
    let _agent = shop.start()?;
    for vip in vips(53, 53) {
        let server = format!("@{}", vip.ip());
        let flags = ["+short", "+tries=1", "+time=2"];
        let output = shop
            .client
            .command("dig")
            .args([&server, NAME, "A"])
            .args(flags)
            .output()?;
        // It warns of answers from another address than it asked.
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "192.0.2.10\n",
            "{output:?}"
        );
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    Ok(())
}

/// A connected socket, both families asked at once with EDNS, and every answer checked for where it comes
/// from: as c-ares does it, and Go.
#[test]
fn resolvers_with_a_connected_socket() -> Result<()> {
    require_root!();
    let next = AtomicU16::new(1);
    let (shop, servers) = dns("c-ares")?;
    let _agent = shop.start()?;
    for vip in all_vips(53, 53) {
        let all = servers.iter().map(Dns::asked).sum::<usize>();
        for _ in 0..20 {
            let socket = socket(&shop.client, vip)?;
            socket.connect(vip)?;
            let ids = [1, 28].map(|kind| (next.fetch_add(1, Ordering::Relaxed), kind));
            for (id, kind) in ids {
                socket.send(&query(id, NAME, kind, true))?;
            }
            let mut buffer = [0; 1232];
            for _ in ids {
                let (length, from) = socket.recv_from(&mut buffer)?;
                assert_eq!(from, vip, "an answer from elsewhere is thrown away");
                let text = &buffer[..length];
                let id = u16::from_be_bytes([text[0], text[1]]);
                let (_, kind) = ids
                    .into_iter()
                    .find(|it| it.0 == id)
                    .context("an answer to nothing")?;
                assert_eq!(question(text).map(|it| it.1), Some(kind));
                let data: &[u8] = if kind == 1 { &A.octets() } else { &AAAA.octets() };
                assert!(text.ends_with(data), "{text:?}");
            }
        }
        assert_eq!(servers.iter().map(Dns::asked).sum::<usize>(), all + 40);
    }
    // Over TCP the same service has other backends' ports.
    let answer = shop.client.run(|| ask_tcp(vips(53, 53)[0]))?;
    assert!(answer.name.starts_with("dns-"));
    Ok(())
}

/// Unbound asks from a new socket and port every time, and not connected.
#[test]
fn resolvers_with_unconnected_sockets() -> Result<()> {
    require_root!();
    let (shop, _servers) = dns("unbound")?;
    let _agent = shop.start()?;
    for vip in all_vips(53, 53) {
        for id in 0..30 {
            let socket = socket(&shop.client, vip)?;
            socket.send_to(&query(id, NAME, 1, id % 2 == 0), vip)?;
            let mut buffer = [0; 512];
            let (length, from) = socket.recv_from(&mut buffer)?;
            assert_eq!((&buffer[..2], from), (&id.to_be_bytes()[..], vip));
            assert!(buffer[..length].ends_with(&A.octets()));
        }
    }
    Ok(())
}
