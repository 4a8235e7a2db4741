//! TCP, and sockets used in odd ways: what is translated, what it looks like, and what is left alone.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use harness::manifest::{self, Endpoint, Port};
use harness::scene::{self, NAMESPACE, PORT, Shop, UNTOUCHED, all_vips, mapped, vips};
use harness::traffic::{Conversation, PATIENCE, ask_tcp, ask_udp_connected, ask_udp_unconnected};
use harness::{Place, Pod, Spread, patient, require_root, until};
use rustix::net::connect_unspec;
use socket2::{Domain, Protocol, Socket, Type};

const SOON: Duration = Duration::from_secs(2);
/// What an answer without a packet may take.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Ports of a service, TCP and UDP.
fn both(port: u16) -> [Port; 2] {
    [
        Port::tcp(port).to(PORT).named("tcp"),
        Port::udp(port).to(PORT).named("udp"),
    ]
}

/// A shop with the service `web`, number 10, port 80 for TCP and UDP.
fn web(test_name: &str, backends: &[&str]) -> Result<Shop> {
    let shop = Shop::open(test_name, backends)?;
    shop.sell("web", 10, &both(80), backends)?;
    Ok(shop)
}

/// The client's own address in the family of another, as the client's socket shows it.
fn own(pod: &Pod, like: SocketAddr) -> IpAddr {
    match like.ip() {
        IpAddr::V4(_) => pod.v4(),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => mapped((pod.v4(), 0).into()).ip(),
        IpAddr::V6(_) => pod.v6(),
    }
}

/// The backend's address in the family of a service's.
fn direct(pod: &Pod, like: SocketAddr) -> SocketAddr {
    (own(pod, like), PORT).into()
}

fn tcp(like: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(like), Type::STREAM, None)
}

fn udp(like: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(like), Type::DGRAM, None)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn peer(socket: &Socket) -> io::Result<Option<SocketAddr>> {
    socket.peer_addr().map(|addr| addr.as_socket())
}

/// Who answers on a UDP socket that is connected.
fn ask_connected(socket: &Socket) -> io::Result<String> {
    ask_udp_connected(&socket.try_clone()?.into()).map(|answer| answer.name)
}

#[test]
fn connections_are_spread_evenly_in_every_family() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3"];
    let shop = web("even", &names)?;
    let _agent = shop.start()?;
    for vip in all_vips(10, 80) {
        let ask = || ask_tcp(vip).map(|answer| answer.name);
        shop.client.run(|| Spread::ask(300, ask))?.assert_even(&names);
    }
    Ok(())
}

#[test]
fn both_ends_see_the_right_names() -> Result<()> {
    require_root!();
    let shop = Shop::open("names", &["web-1"])?;
    shop.sell("web", 10, &[Port::tcp(80).to(9000)], &["web-1"])?;
    let _agent = shop.start()?;
    let listener = shop.backend("web-1").run(|| TcpListener::bind("[::]:9000"))?;
    for vip in all_vips(10, 80) {
        let client = shop.client.run(|| -> io::Result<Socket> {
            let client = tcp(vip)?;
            client.set_write_timeout(Some(PATIENCE))?;
            client.connect(&vip.into())?;
            Ok(client)
        })?;
        assert_eq!(peer(&client)?, Some(vip));
        let local = client.local_addr()?.as_socket().context("an address")?;
        assert_eq!(local.ip(), own(&shop.client, vip));
        let (server, accepted) = listener.accept()?;
        // The listener's family is IPv6, the client's may be the other.
        assert_eq!(accepted, mapped(local), "accept()");
        assert_eq!(server.peer_addr()?, mapped(local), "getpeername() of the server");
        let target = SocketAddr::new(own(shop.backend("web-1"), vip), 9000);
        assert_eq!(
            server.local_addr()?,
            mapped(target),
            "getsockname() of the server"
        );
    }
    Ok(())
}

#[test]
fn sockets_bound_before_they_connect() -> Result<()> {
    require_root!();
    let shop = web("bound", &["web-1"])?;
    let _agent = shop.start()?;
    for (number, vip) in (0..).zip(all_vips(10, 80)) {
        let any = match vip {
            SocketAddr::V4(_) => IpAddr::from([0; 4]),
            SocketAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let own = own(&shop.client, vip);
        let ports = 20_000 + number * 10;
        for local in [(own, 0), (own, ports + 1), (any, ports + 2)].map(SocketAddr::from) {
            let answer = shop.client.run(|| {
                let mut conversation = Conversation::open_from(local, vip)?;
                conversation.echo(b"bound")?;
                io::Result::Ok(conversation.answer().clone())
            });
            let answer = answer.with_context(|| format!("{local} to {vip}"))?;
            assert_eq!(answer.peer_seen, vip);
            assert_eq!(answer.local.ip(), own);
            assert_eq!(answer.client_seen, mapped(answer.local));
            if local.port() != 0 {
                assert_eq!(answer.local.port(), local.port());
            }

            let udp = shop.client.run(|| UdpSocket::bind(local))?;
            let answer = ask_udp_unconnected(&udp, vip).with_context(|| format!("{local} to {vip}, UDP"))?;
            assert_eq!(
                (answer.peer_seen, answer.client_seen.ip()),
                (vip, mapped((own, 0).into()).ip())
            );
            udp.connect(vip)?;
            assert_eq!(ask_udp_connected(&udp)?.peer_seen, vip);
        }
    }
    Ok(())
}

/// One TCP socket connects again and again, disconnected by `connect(AF_UNSPEC)` between.
#[test]
fn a_tcp_socket_used_again_shows_its_new_peer() -> Result<()> {
    require_root!();
    let shop = web("again", &["web-1", "cart-1"])?;
    shop.sell("web", 10, &both(80), &["web-1"])?;
    shop.sell("cart", 20, &both(80), &["cart-1"])?;
    let _agent = shop.start()?;
    for (web, cart) in all_vips(10, 80).into_iter().zip(all_vips(20, 80)) {
        let pod = direct(shop.backend("web-1"), web);
        let steps = [
            (web, "web-1"),
            (pod, "web-1"),
            (cart, "cart-1"),
            (web, "web-1"),
            (pod, "web-1"),
        ];
        shop.client.run(|| -> Result<()> {
            let socket = tcp(web)?;
            for (step, (addr, name)) in steps.into_iter().enumerate() {
                let what = format!("step {step}, to {addr}");
                let mut conversation = Conversation::open_over(&socket, addr).context(what.clone())?;
                assert_eq!(conversation.answer().name, name, "{what}");
                assert_eq!(conversation.answer().peer_seen, addr, "{what}");
                conversation.echo(b"again").context(what)?;
                connect_unspec(&socket)?;
                let error = socket.peer_addr().expect_err("not connected");
                assert_eq!(error.kind(), ErrorKind::NotConnected);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// One UDP socket connects again and again, with and without `connect(AF_UNSPEC)` between.
#[test]
fn a_udp_socket_used_again_shows_its_new_peer() -> Result<()> {
    require_root!();
    let shop = web("udp-again", &["web-1", "cart-1"])?;
    shop.sell("web", 10, &both(80), &["web-1"])?;
    shop.sell("cart", 20, &both(80), &["cart-1"])?;
    let _agent = shop.start()?;
    for (web, cart) in all_vips(10, 80).into_iter().zip(all_vips(20, 80)) {
        let pod = direct(shop.backend("web-1"), web);
        let steps = [
            (web, "web-1"),
            (cart, "cart-1"),
            (web, "web-1"),
            (pod, "web-1"),
            (cart, "cart-1"),
        ];
        for disconnect in [false, true] {
            let socket = shop.client.run(|| udp(web))?;
            for (step, (addr, name)) in steps.into_iter().enumerate() {
                let what = format!("step {step}, to {addr}, disconnecting: {disconnect}");
                socket.connect(&addr.into()).context(what.clone())?;
                assert_eq!(peer(&socket)?, Some(addr), "{what}");
                assert_eq!(ask_connected(&socket).context(what.clone())?, name, "{what}");
                if disconnect {
                    connect_unspec(&socket)?;
                    assert!(socket.peer_addr().is_err(), "{what}");
                }
            }
        }
    }
    Ok(())
}

/// The pod is dialled directly after its service: an answer is the pod's own then, not the service's.
#[test]
fn a_udp_socket_connected_to_the_pod_itself_hears_the_pod() -> Result<()> {
    require_root!();
    let shop = web("udp-direct", &["web-1"])?;
    let _agent = shop.start()?;
    for vip in all_vips(10, 80) {
        let pod = direct(shop.backend("web-1"), vip);
        for disconnect in [true, false] {
            let socket = shop.client.run(|| udp(vip))?;
            socket.connect(&vip.into())?;
            ask_connected(&socket)?;
            if disconnect {
                connect_unspec(&socket)?;
            }
            socket.connect(&pod.into())?;
            assert_eq!(peer(&socket)?, Some(pod));
            let socket: UdpSocket = socket.into();
            socket.send(b"direct")?;
            let (_, from) = socket.recv_from(&mut [0; 512])?;
            assert_eq!(from, pod, "recvfrom() after {vip}, disconnecting: {disconnect}");
        }
    }
    Ok(())
}

#[test]
fn a_refused_connect_leaves_the_socket_as_it_was() -> Result<()> {
    require_root!();
    let shop = web("left", &["web-1"])?;
    shop.sell("none", 30, &both(80), &[])?;
    let _agent = shop.start()?;
    for (web, none) in all_vips(10, 80).into_iter().zip(all_vips(30, 80)) {
        let socket = shop.client.run(|| udp(web))?;
        socket.connect(&web.into())?;
        let error = socket.connect(&none.into()).expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(
            (ask_connected(&socket)?.as_str(), peer(&socket)?),
            ("web-1", Some(web))
        );

        shop.client.run(|| -> Result<()> {
            let socket = tcp(web)?;
            let error = socket.connect(&none.into()).expect_err("nobody is there");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            assert_eq!(Conversation::open_over(&socket, web)?.answer().peer_seen, web);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn connecting_without_waiting() -> Result<()> {
    require_root!();
    let shop = web("non-blocking", &["web-1", "web-2"])?;
    shop.sell("none", 30, &both(80), &[])?;
    let _agent = shop.start()?;
    for (vip, none) in all_vips(10, 80).into_iter().zip(all_vips(30, 80)) {
        shop.client.run(|| -> Result<()> {
            let socket = tcp(vip)?;
            socket.set_nonblocking(true)?;
            let begun = socket.connect(&vip.into());
            let going_on = |error: &io::Error| error.raw_os_error() == Some(libc::EINPROGRESS);
            assert!(begun.as_ref().err().is_none_or(going_on), "{begun:?}");
            assert!(until(SOON, || socket.peer_addr().is_ok()), "never connected");
            assert!(socket.take_error()?.is_none());
            assert_eq!(peer(&socket)?, Some(vip));
            // Programs call again to learn how it ended.
            match socket.connect(&vip.into()) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EISCONN)),
            }
            assert_eq!(peer(&socket)?, Some(vip));
            socket.set_nonblocking(false)?;
            let mut conversation = Conversation::over(&socket)?;
            assert!(conversation.answer().name.starts_with("web-"));
            conversation.echo(b"at last")?;

            let socket = tcp(none)?;
            socket.set_nonblocking(true)?;
            let error = socket.connect(&none.into()).expect_err("nobody is there");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            Ok(())
        })?;
    }
    Ok(())
}

/// Counter of `TcpExt` in the network namespace of the calling thread.
fn tcp_ext(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let found = names
        .split(' ')
        .zip(values.split(' '))
        .find(|(it, _)| *it == name);
    Ok(found.with_context(|| format!("no counter {name}"))?.1.parse()?)
}

#[test]
fn tcp_fast_open() -> Result<()> {
    require_root!();
    let shop = Shop::open("fast-open", &["web-1"])?;
    shop.sell("web", 10, &[Port::tcp(80).to(9000)], &["web-1"])?;
    let sysctl = |value: &'static str| move || fs::write("/proc/sys/net/ipv4/tcp_fastopen", value);
    // The client sends data without a cookie; the server takes it, on every listener.
    shop.client.run(sysctl("5"))?;
    shop.backend("web-1").run(sysctl("1538"))?;
    let _server = shop.backend("web-1").serve_tcp("[::]:9000".parse()?, "fast")?;
    let _agent = shop.start()?;
    for (number, vip) in (1..).zip(all_vips(10, 80)) {
        shop.client.run(|| -> Result<()> {
            let socket = tcp(vip)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            let sent = socket.send_to_with_flags(b"early", &vip.into(), libc::MSG_FASTOPEN);
            assert_eq!(sent.with_context(|| format!("fast open to {vip}"))?, 5);
            assert!(until(SOON, || socket.peer_addr().is_ok()), "never connected");
            assert_eq!(peer(&socket)?, Some(vip));
            let conversation = Conversation::over(&socket)?;
            assert_eq!(conversation.answer().name, "fast");
            assert_eq!(
                conversation.answer().client_seen,
                mapped(conversation.answer().local)
            );
            assert_eq!(tcp_ext("TCPFastOpenActive")?, number, "the data was in the SYN");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_pod_that_is_its_own_backend() -> Result<()> {
    require_root!();
    let shop = web("own", &["web-1"])?;
    let _agent = shop.start()?;
    let pod = shop.backend("web-1");
    for vip in all_vips(10, 80) {
        let own = own(pod, vip);
        for local in [None, Some(SocketAddr::new(own, 0))] {
            let answer = pod.run(|| match local {
                None => ask_tcp(vip),
                Some(local) => Conversation::open_from(local, vip).map(|it| it.answer().clone()),
            });
            let answer = answer.with_context(|| format!("from {local:?} to {vip}"))?;
            assert_eq!((answer.name.as_str(), answer.peer_seen), ("web-1", vip));
            assert_eq!(answer.client_seen, mapped(answer.local));
        }
        let socket: UdpSocket = pod.run(|| udp(vip))?.into();
        let answer = ask_udp_unconnected(&socket, vip)?;
        assert_eq!((answer.name.as_str(), answer.peer_seen), ("web-1", vip));
        socket.connect(vip)?;
        assert_eq!(ask_udp_connected(&socket)?.peer_seen, vip);
    }
    Ok(())
}

#[test]
fn services_that_share_a_backend() -> Result<()> {
    require_root!();
    let shop = Shop::open("share", &["web-1"])?;
    for number in 1..=3 {
        shop.sell(&format!("web-{number}"), number, &both(80), &["web-1"])?;
    }
    let _agent = shop.start()?;
    shop.client.run(|| -> Result<()> {
        let mut open = Vec::new();
        for vip in (1..=3).flat_map(|number| all_vips(number, 80)) {
            let conversation = Conversation::open(vip).with_context(|| vip.to_string())?;
            assert_eq!(conversation.answer().name, "web-1");
            let datagrams: UdpSocket = udp(vip)?.into();
            datagrams.connect(vip)?;
            open.push((vip, conversation, datagrams));
        }
        // All at the same time.
        for (vip, conversation, datagrams) in &mut open {
            assert_eq!(conversation.stream().peer_addr()?, *vip);
            conversation.echo(b"mine")?;
            assert_eq!(ask_udp_connected(datagrams)?.peer_seen, *vip);
        }
        Ok(())
    })
}

#[test]
fn two_ports_of_a_service() -> Result<()> {
    require_root!();
    let shop = Shop::open("ports", &["web-1", "web-2"])?;
    let ports = [
        Port::tcp(80).to(PORT).named("http"),
        Port::tcp(9100).to(9000).named("metrics"),
    ];
    shop.sell("web", 10, &ports, &["web-1", "web-2"])?;
    let serve = |name: &str, as_: &str| shop.backend(name).serve_tcp(([0_u16; 8], 9000).into(), as_);
    let _metrics = [serve("web-1", "metrics-1")?, serve("web-2", "metrics-2")?];
    let _agent = shop.start()?;
    for (http, metrics) in all_vips(10, 80).into_iter().zip(all_vips(10, 9100)) {
        let ask = |addr| move || ask_tcp(addr).map(|answer| answer.name);
        let spread = |addr| shop.client.run(|| Spread::ask(80, ask(addr)));
        spread(http)?.assert_even(&["web-1", "web-2"]);
        spread(metrics)?.assert_even(&["metrics-1", "metrics-2"]);
        assert_eq!(shop.client.run(|| ask_tcp(metrics))?.peer_seen, metrics);
    }
    Ok(())
}

#[test]
fn pods_and_headless_services_are_dialled_as_they_are() -> Result<()> {
    require_root!();
    let shop = web("direct", &["web-1"])?;
    let headless = manifest::service(NAMESPACE, "headless", &[], &both(PORT), &[]);
    shop.sell_as(&headless, "headless", &both(PORT), &["web-1"])?;
    let _agent = shop.start()?;
    for vip in all_vips(10, 80) {
        let pod = direct(shop.backend("web-1"), vip);
        let answer = shop.client.run(|| ask_tcp(pod))?;
        assert_eq!((answer.name.as_str(), answer.peer_seen), ("web-1", pod));
        let socket: UdpSocket = shop.client.run(|| udp(pod))?.into();
        assert_eq!(ask_udp_unconnected(&socket, pod)?.peer_seen, pod);
        socket.connect(pod)?;
        assert_eq!(socket.peer_addr()?, pod);
        assert_eq!(ask_udp_connected(&socket)?.name, "web-1");
    }
    Ok(())
}

/// Who answers for a service: over TCP, connected UDP and unconnected UDP; all three agree.
fn who(place: &Place, addr: SocketAddr) -> Result<String> {
    let names = place.run(|| -> Result<[String; 3]> {
        let socket: UdpSocket = udp(addr)?.into();
        let unconnected = ask_udp_unconnected(&socket, addr).context("unconnected UDP")?;
        assert_eq!(unconnected.peer_seen, addr);
        socket.connect(addr)?;
        let connected = ask_udp_connected(&socket).context("connected UDP")?;
        Ok([
            ask_tcp(addr).context("TCP")?.name,
            connected.name,
            unconnected.name,
        ])
    });
    let names = names.with_context(|| format!("{addr} from {}", place.name()))?;
    assert!(
        names.iter().all(|name| *name == names[0]),
        "TCP, connected, unconnected: {names:?}"
    );
    let [name, ..] = names;
    Ok(name)
}

#[test]
fn other_ports_and_addresses_are_left_alone() -> Result<()> {
    require_root!();
    let shop = Shop::open("other-ports", &["web-1"])?;
    // TCP only on 80, UDP only on 53.
    let ports = [
        Port::tcp(80).to(PORT).named("tcp"),
        Port::udp(53).to(PORT).named("udp"),
    ];
    shop.sell("web", 10, &ports, &["web-1"])?;
    let [there, dns, nowhere] = [vips(10, 80), vips(10, 53), vips(10, 81)];
    let stranger = vips(11, 80);
    let _underlay = shop.underlay(&[there, dns, nowhere, stranger].concat())?;
    let _agent = shop.start()?;
    for family in 0..2 {
        for addr in [nowhere[family], stranger[family]] {
            assert_eq!(who(shop.client.place(), addr)?, UNTOUCHED, "{addr}");
        }
        let (there, dns) = (there[family], dns[family]);
        assert_eq!(shop.client.run(|| ask_tcp(there))?.name, "web-1");
        assert_eq!(
            shop.client.run(|| ask_tcp(dns))?.name,
            UNTOUCHED,
            "TCP to a port of UDP"
        );
        let socket: UdpSocket = shop.client.run(|| udp(there))?.into();
        assert_eq!(ask_udp_unconnected(&socket, dns)?.name, "web-1");
        assert_eq!(
            ask_udp_unconnected(&socket, there)?.name,
            UNTOUCHED,
            "UDP to a port of TCP"
        );
    }
    Ok(())
}

#[test]
fn who_is_not_in_the_mesh_is_left_alone() -> Result<()> {
    require_root!();
    let shop = web("strangers", &["web-1"])?;
    let services = vips(10, 80);
    let _underlay = shop.underlay(&services)?;
    let manifests = shop.sandbox.manifests();
    let pod = |name: &str, number: u8| {
        let ips = [format!("10.0.3.{number}"), format!("fd00::3:{number}")];
        shop.sandbox.pod(name, &ips.each_ref().map(String::as_str))
    };
    manifests.apply(&manifest::namespace("plain", false))?;
    let plain = pod("plain", 1)?;
    manifests.apply(&manifest::pod_of("plain", &plain, &[]))?;
    let label = |object: manifest::Manifest, value| object.label("mesh-agent.io/dataplane", value);
    let disabled = pod("disabled", 2)?;
    manifests.apply(&label(manifest::pod_of(NAMESPACE, &disabled, &[]), "disabled"))?;
    let volunteer = pod("volunteer", 3)?;
    manifests.apply(&label(manifest::pod_of("plain", &volunteer, &[]), "enabled"))?;
    let unknown = pod("unknown", 4)?;
    let _agent = shop.start()?;
    for vip in services {
        assert_eq!(who(shop.client.place(), vip)?, "web-1");
        assert_eq!(
            who(volunteer.place(), vip)?,
            "web-1",
            "in the mesh by its own label"
        );
        let left_alone = [
            (shop.client.unenrolled(), "out of the cgroup"),
            (plain.place().clone(), "in a namespace without the label"),
            (disabled.place().clone(), "disabled"),
            (unknown.place().clone(), "of no manifest"),
            (shop.sandbox.outside_pod().clone(), "on the host"),
            (shop.sandbox.node(), "on the host, out of the cgroup"),
        ];
        for (place, what) in left_alone {
            assert_eq!(who(&place, vip)?, UNTOUCHED, "{what}");
        }
    }
    Ok(())
}

/// The shortest of some attempts, none of which may succeed: how long the call itself takes.
fn refused(what: &str, mut attempt: impl FnMut() -> io::Result<()>) {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let error = attempt().expect_err(what);
        best = best.min(start.elapsed());
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{what}");
    }
    assert!(best < patient(AT_ONCE), "{what} took {best:?}");
}

#[test]
fn no_endpoint_is_a_refusal_at_once() -> Result<()> {
    require_root!();
    let shop = Shop::open("none", &[])?;
    shop.sell("none", 30, &both(80), &[])?;
    let selected = scene::service("nobody", 31, &both(80)).set("spec.selector.app", "nobody");
    shop.sandbox.manifests().apply(&selected)?;
    let _agent = shop.start()?;
    shop.client.run(|| -> Result<()> {
        for vip in [all_vips(30, 80), all_vips(31, 80)].concat() {
            refused(&format!("TCP to {vip}"), || tcp(vip)?.connect(&vip.into()));
            refused(&format!("connected UDP to {vip}"), || {
                udp(vip)?.connect(&vip.into())
            });
            let socket = udp(vip)?;
            let send = || socket.send_to(b"hello?", &vip.into()).map(drop);
            refused(&format!("unconnected UDP to {vip}"), send);
        }
        Ok(())
    })
}

/// The backend says itself that nobody listens.
#[test]
fn a_backend_that_does_not_listen_refuses() -> Result<()> {
    require_root!();
    let shop = Shop::open("deaf", &["web-1"])?;
    let ports = [Port::tcp(80).to(1).named("tcp"), Port::udp(80).to(1).named("udp")];
    shop.sell("deaf", 10, &ports, &["web-1"])?;
    let _agent = shop.start()?;
    for vip in all_vips(10, 80) {
        let error = shop.client.run(|| ask_tcp(vip)).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let socket = shop.client.run(|| udp(vip))?;
        socket.connect(&vip.into())?;
        let error = ask_connected(&socket).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    Ok(())
}

/// A request of ICMP, or of its sibling for IPv6, with the checksum of the former.
fn echo_request(v6: bool) -> [u8; 8] {
    if v6 {
        [128, 0, 0, 0, 0, 0, 0, 1]
    } else {
        [8, 0, 0xf7, 0xfe, 0, 0, 0, 1]
    }
}

#[test]
fn ping_sockets_are_left_alone() -> Result<()> {
    require_root!();
    let shop = web("ping", &["web-1"])?;
    // Were this one balanced, it would be refused.
    shop.sell("none", 30, &both(80), &[])?;
    let services = [vips(10, 80), vips(30, 80)].concat();
    let _underlay = shop.underlay(&services)?;
    let _agent = shop.start()?;
    shop.client
        .run(|| fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"))?;
    for vip in services {
        let protocol = if vip.is_ipv4() {
            Protocol::ICMPV4
        } else {
            Protocol::ICMPV6
        };
        let ping = || Socket::new(Domain::for_address(vip), Type::DGRAM, Some(protocol));
        // The port means nothing to it, least of all the service's.
        for connected in [false, true] {
            let socket = shop.client.run(ping)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let request = echo_request(vip.is_ipv6());
            if connected {
                socket.connect(&vip.into())?;
                socket.send(&request)?;
                assert_eq!(peer(&socket)?.map(|peer| peer.ip()), Some(vip.ip()));
            } else {
                socket.send_to(&request, &vip.into())?;
            }
            let socket: UdpSocket = socket.into();
            let mut reply = [0; 64];
            let heard = socket.recv_from(&mut reply);
            let (length, from) = heard.with_context(|| format!("ping {vip}, connected: {connected}"))?;
            assert_eq!((length, from.ip()), (8, vip.ip()));
            assert_eq!(reply[0], if vip.is_ipv4() { 0 } else { 129 }, "{reply:?}");
        }
    }
    Ok(())
}

#[test]
fn raw_sockets_are_left_alone() -> Result<()> {
    require_root!();
    let shop = web("raw", &["web-1"])?;
    let underlay = shop.underlay(&vips(10, 80))?;
    let _agent = shop.start()?;
    for vip in vips(10, 80) {
        // One that pings, and two that look like what is balanced.
        let icmp = if vip.is_ipv4() {
            Protocol::ICMPV4
        } else {
            Protocol::ICMPV6
        };
        for protocol in [icmp, Protocol::UDP, Protocol::TCP] {
            let raw = || Socket::new(Domain::for_address(vip), Type::RAW, Some(protocol));
            let (socket, listener) = (shop.client.run(raw)?, underlay.pod.run(raw)?);
            listener.set_read_timeout(Some(PATIENCE))?;
            let target = SocketAddr::new(vip.ip(), 0);
            // A datagram of length 8 from port 4660 to port 80, or what looks so.
            let mut text = [0x12, 0x34, 0, 80, 0, 8, 0, 0];
            if protocol == icmp {
                text = echo_request(vip.is_ipv6());
            }
            socket.send_to(&text, &target.into())?;
            let listener: UdpSocket = listener.into();
            // It also hears neighbours look for each other.
            let client = own(&shop.client, vip);
            loop {
                let heard = listener.recv_from(&mut [0; 128]);
                let (_, from) = heard.with_context(|| format!("raw {protocol:?} to {vip}"))?;
                if from.ip() == client {
                    break;
                }
            }
            socket.connect(&vip.into())?;
            assert_eq!(peer(&socket)?, Some(vip));
        }
    }
    Ok(())
}

#[test]
fn udp_lite_is_left_alone() -> Result<()> {
    require_root!();
    let shop = web("udp-lite", &["web-1"])?;
    let lite = |addr: SocketAddr| {
        let protocol = Protocol::from(libc::IPPROTO_UDPLITE);
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(protocol))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        io::Result::Ok(socket)
    };
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let known = lite(any).map(drop).map_err(|error| format!("UDP-Lite: {error}"));
    harness::require!(known);
    let underlay = shop.underlay(&vips(10, 80))?;
    let _agent = shop.start()?;
    for vip in vips(10, 80) {
        let server = underlay.pod.run(|| lite(vip))?;
        server.bind(&vip.into())?;
        let server: UdpSocket = server.into();
        let client: UdpSocket = shop.client.run(|| lite(vip))?.into();
        let round_trip = |what: &str| -> Result<()> {
            let mut buffer = [0; 64];
            let (_, from) = server.recv_from(&mut buffer).context(what.to_owned())?;
            server.send_to(b"back", from)?;
            assert_eq!(client.recv_from(&mut buffer)?.1, vip, "{what}");
            Ok(())
        };
        client.send_to(b"there", vip)?;
        round_trip("unconnected")?;
        client.connect(vip)?;
        assert_eq!(client.peer_addr()?, vip);
        client.send(b"there")?;
        round_trip("connected")?;
    }
    Ok(())
}

#[test]
fn a_pod_joins_and_leaves_while_it_runs() -> Result<()> {
    require_root!();
    let shop = web("joins", &["web-1"])?;
    let vip = vips(10, 80)[0];
    let _underlay = shop.underlay(&[vip])?;
    let _agent = shop.start()?;
    let manifests = shop.sandbox.manifests();
    let becomes = |name: &str| {
        let right = || {
            shop.client
                .run(|| ask_tcp(vip))
                .is_ok_and(|answer| answer.name == name)
        };
        assert!(until(SOON, right), "{name} never answered");
        who(shop.client.place(), vip)
    };
    assert_eq!(becomes("web-1")?, "web-1");
    let socket: UdpSocket = shop.client.run(|| udp(vip))?.into();
    socket.connect(vip)?;
    let mut conversation = shop.client.run(|| Conversation::open(vip))?;
    manifests.apply(&manifest::namespace(NAMESPACE, false))?;
    assert_eq!(becomes(UNTOUCHED)?, UNTOUCHED);
    // What was connected stays so, under the name it was dialled by.
    conversation.echo(b"still here")?;
    assert_eq!(conversation.stream().peer_addr()?, vip);
    assert_eq!(ask_udp_connected(&socket)?.name, "web-1");
    manifests.apply(&manifest::namespace(NAMESPACE, true))?;
    assert_eq!(becomes("web-1")?, "web-1");
    Ok(())
}

/// A pod that is created while the agent runs is balanced as soon as its manifest is there.
#[test]
fn a_new_pod_is_a_client_and_a_backend() -> Result<()> {
    require_root!();
    let shop = web("new-pod", &["web-1"])?;
    let vip = vips(10, 80)[0];
    // Whoever asks too early is answered, too.
    let _underlay = shop.underlay(&[vip])?;
    let _agent = shop.start()?;
    let client = shop.another_client(1)?;
    let balanced = || {
        client
            .run(|| ask_tcp(vip))
            .is_ok_and(|answer| answer.name == "web-1")
    };
    assert!(until(SOON, balanced), "its own connections are left alone");
    let _server = client.serve_tcp((client.v4(), PORT).into(), "new")?;
    let endpoints = [Endpoint::ready(client.v4())];
    let slice = manifest::endpoint_slice(NAMESPACE, "web", "web-ipv4", &both(80), &endpoints);
    shop.sandbox.manifests().apply(&slice)?;
    let answered = || {
        shop.client
            .run(|| ask_tcp(vip))
            .is_ok_and(|answer| answer.name == "new")
    };
    assert!(until(SOON, answered));
    Ok(())
}
