//! Every byte is counted: live and at the end, in both directions, however the connection closes.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use harness::{Agent, Pod, Sandbox, manifest, require_root, until};
use mesh_agent::datapath::{listing, pins::Pins};
use mesh_common::{
    decide::tcp::{self, state},
    flow::LiveFlow,
    sock::flag,
};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn wait(limit: Duration, condition: impl Fn() -> bool) {
    assert!(until(limit, condition), "not within {limit:?}");
}

struct Shop {
    client: Pod,
    server: Pod,
    agent: Agent,
}

fn shop(sandbox: &Sandbox) -> anyhow::Result<Shop> {
    let client = sandbox.pod("client", &["10.0.1.1", "fd00::1:1"])?;
    let server = sandbox.pod("server", &["10.0.1.2", "fd00::1:2"])?;
    let manifests = sandbox.manifests();
    manifests.apply(&manifest::namespace("shop", true))?;
    manifests.apply(&manifest::pod_of("shop", &client, &[]))?;
    manifests.apply(&manifest::pod_of("shop", &server, &[("app", "server")]))?;
    let port = manifest::Port::tcp(80).to(8080);
    let vips = ["10.96.0.10".parse()?, "fd00:96::10".parse()?];
    manifests.apply(&manifest::service(
        "shop",
        "server",
        &vips,
        &[port],
        &[("app", "server")],
    ))?;
    let dns = manifest::Port::udp(53).to(5353);
    let vip = ["10.96.0.53".parse()?];
    manifests.apply(&manifest::service(
        "shop",
        "dns",
        &vip,
        &[dns],
        &[("app", "server")],
    ))?;
    let agent = sandbox.agent().start()?;
    Ok(Shop {
        client,
        server,
        agent,
    })
}

/// A metric's value, summed over all label sets that contain every given text.
fn metric(text: &str, name: &str, labels: &[&str]) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let ours = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn live(sandbox: &Sandbox, side: u32) -> Vec<LiveFlow> {
    let flows = listing::read(&Pins::new(&sandbox.bpffs())).expect("the list of connections");
    let ours = |flow: &LiveFlow| flow.sock.flags & side != 0 && flow.tcp.state == state::ESTABLISHED;
    flows.into_iter().filter(ours).collect()
}

#[test]
fn live_connections_show_what_the_applications_sent() -> anyhow::Result<()> {
    require_root!();
    let sandbox = Sandbox::new("live")?;
    let shop = shop(&sandbox)?;
    // Once for both: a program that another test starts may hold it open for a moment after it was closed here.
    let listener = shop.server.run(|| TcpListener::bind("[::]:8080"))?;
    for vip in ["10.96.0.10:80", "[fd00:96::10]:80"] {
        let mut client = shop.client.run(|| TcpStream::connect(address(vip)))?;
        let (mut server, _) = listener.accept()?;
        client.write_all(&[1; 12_345])?;
        server.read_exact(&mut [0; 12_345])?;
        server.write_all(&[2; 777])?;
        client.read_exact(&mut [0; 777])?;
        let counted = |side| {
            let flows = live(&sandbox, side);
            let [flow] = &flows[..] else {
                panic!("{} live connections", flows.len())
            };
            (
                tcp::bytes_sent(&flow.sock, &flow.tcp),
                tcp::bytes_received(&flow.sock, &flow.tcp, flow.received),
                flow.sock,
            )
        };
        wait(Duration::from_secs(2), || counted(flag::ACTIVE).0 == 12_345);
        wait(Duration::from_secs(2), || counted(flag::PASSIVE).0 == 777);
        let (_, received, sock) = counted(flag::ACTIVE);
        assert_eq!(received, 777);
        assert_eq!(
            mesh_common::addr::socket_addr(sock.asked_addr, sock.asked_port),
            address(vip)
        );
        assert_eq!(counted(flag::PASSIVE).1, 12_345);
        drop((client, server));
        wait(Duration::from_secs(2), || live(&sandbox, flag::ACTIVE).is_empty());
    }
    Ok(())
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug)]
enum Close {
    Client,
    Server,
    HalfClosedByClient,
    HalfClosedByServer,
    Both,
}

#[test]
fn the_end_of_a_connection_tells_every_byte() -> anyhow::Result<()> {
    require_root!();
    let sandbox = Sandbox::new("ends")?;
    let shop = shop(&sandbox)?;
    let listener = shop.server.run(|| TcpListener::bind("[::]:8080"))?;
    let (mut to_server, mut to_client) = (0, 0);
    let mut connections = 0;
    for (round, close) in [
        Close::Client,
        Close::Server,
        Close::HalfClosedByClient,
        Close::HalfClosedByServer,
        Close::Both,
    ]
    .into_iter()
    .cycle()
    .take(50)
    .enumerate()
    {
        let (up, down) = (round * 1_009 % 70_000, round * 7_919 % 90_000);
        let mut client = shop.client.run(|| TcpStream::connect("10.96.0.10:80"))?;
        let (mut server, _) = listener.accept()?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        }
        let peer = std::thread::spawn(move || -> std::io::Result<()> {
            server.read_exact(&mut vec![0; up])?;
            server.write_all(&vec![0; down])?;
            match close {
                Close::Server | Close::Both => {}
                Close::HalfClosedByServer => {
                    server.shutdown(Shutdown::Write)?;
                    assert_eq!(server.read(&mut [0])?, 0);
                }
                Close::Client | Close::HalfClosedByClient => assert_eq!(server.read(&mut [0])?, 0),
            }
            Ok(())
        });
        client.write_all(&vec![0; up])?;
        client.read_exact(&mut vec![0; down])?;
        match close {
            Close::Client | Close::Both => drop(client),
            Close::HalfClosedByClient => {
                client.shutdown(Shutdown::Write)?;
                peer.join().expect("the server")?;
                assert_eq!(client.read(&mut [0])?, 0);
                (to_server, to_client, connections) = (to_server + up, to_client + down, connections + 1);
                continue;
            }
            Close::Server | Close::HalfClosedByServer => {
                assert_eq!(client.read(&mut [0])?, 0);
                drop(client);
            }
        }
        peer.join().expect("the server")?;
        (to_server, to_client, connections) = (to_server + up, to_client + down, connections + 1);
    }
    for reporter in [r#"reporter="source""#, r#"reporter="destination""#] {
        let read = |name| {
            let text = shop.agent.metrics().expect("metrics");
            metric(
                &text,
                name,
                &[
                    reporter,
                    r#"source_workload="client""#,
                    r#"destination_workload="server""#,
                ],
            )
        };
        wait(Duration::from_secs(3), || {
            read("istio_tcp_connections_closed_total") == connections
        });
        assert_eq!(
            read("istio_tcp_connections_opened_total"),
            connections,
            "{reporter}"
        );
        assert_eq!(
            read("istio_tcp_received_bytes_total"),
            to_server as u64,
            "{reporter}: to the server"
        );
        assert_eq!(
            read("istio_tcp_sent_bytes_total"),
            to_client as u64,
            "{reporter}: to the client"
        );
    }
    let text = shop.agent.metrics()?;
    let service = metric(
        &text,
        "istio_tcp_connections_opened_total",
        &[r#"destination_service_name="server""#],
    );
    assert_eq!(service, connections, "the source knows the service it dialled");
    Ok(())
}

#[test]
fn a_failed_connect_is_a_failure_and_no_connection() -> anyhow::Result<()> {
    require_root!();
    let sandbox = Sandbox::new("failed")?;
    let shop = shop(&sandbox)?;
    let refused = shop.client.run(|| TcpStream::connect("10.0.1.2:9"));
    assert!(refused.is_err());
    let read = |name| metric(&shop.agent.metrics().expect("metrics"), name, &[]);
    wait(Duration::from_secs(3), || {
        read("mesh_tcp_connections_failed_total") == 1
    });
    assert_eq!(read("istio_tcp_connections_opened_total"), 0);
    Ok(())
}

#[test]
fn packets_and_udp_payload_are_counted_at_the_interface() -> anyhow::Result<()> {
    require_root!();
    let sandbox = Sandbox::new("udp-bytes")?;
    let shop = shop(&sandbox)?;
    let socket = shop.server.run(|| std::net::UdpSocket::bind("0.0.0.0:5353"))?;
    let client = shop.client.run(|| std::net::UdpSocket::bind("0.0.0.0:0"))?;
    for socket in [&socket, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    }
    let asked = address("10.96.0.53:53");
    let (mut sent, mut received) = (0, 0);
    // The last one is larger than a packet: it travels as fragments, of which only the first has a header.
    for size in [1, 500, 1_400, 9_000] {
        client.send_to(&vec![0; size], asked)?;
        let (len, from) = socket.recv_from(&mut [0; 10_000])?;
        assert_eq!(len, size);
        socket.send_to(&vec![0; size / 2], from)?;
        let (_, from) = client.recv_from(&mut [0; 10_000])?;
        assert_eq!(from, asked);
        (sent, received) = (sent + size as u64, received + size as u64 / 2);
    }
    let text = shop.agent.metrics()?;
    let ours = [r#"pod="client""#, r#"peer_pod="server""#, r#"service="dns""#];
    let bytes = |direction| metric(&text, "mesh_udp_bytes_total", &[&ours[..], &[direction]].concat());
    assert_eq!(bytes(r#"direction="sent""#), sent);
    assert_eq!(bytes(r#"direction="received""#), received);
    let packets = metric(
        &text,
        "mesh_packets_total",
        &[r#"pod="client""#, r#"protocol="udp""#, r#"direction="sent""#],
    );
    assert!(packets >= 4, "{packets} packets");
    Ok(())
}
