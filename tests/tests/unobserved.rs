//! Sockets that were there before their pod was in the mesh: counted, and never accelerated.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::manifest;
use harness::scene::{NAMESPACE, PORT, Shop};
use harness::twins::{Path, wait_probed};
use harness::{Agent, Pod, Sandbox, kernel, metrics, require_root, until};
use mesh_agent::datapath::{listing, pins::Pins};
use mesh_agent::sys::sock_diag::{self, Family, Protocol, States};
use mesh_common::abi::map;
use mesh_common::accel::Enrolment;
use mesh_common::names::acceleration;
use rustix::net::sockopt::socket_cookie;
use socket2::{Domain, Socket, Type};

const SOON: Duration = Duration::from_secs(5);
/// The agent looks every ten seconds.
const LATER: Duration = Duration::from_secs(15);

fn json(sandbox: &Sandbox, args: &[&str]) -> Result<serde_json::Value> {
    let output = sandbox.meshctl([args, &["-o", "json"]].concat())?;
    // The status of a node that is not ready is a failure, too.
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

/// How many sockets of each pod nobody observes, as `meshctl` has it.
fn unobserved(sandbox: &Sandbox) -> Result<BTreeMap<String, u64>> {
    let list = json(sandbox, &["pod", "list"])?;
    let items = list["items"].as_array().context("items")?;
    let count = |item: &serde_json::Value| {
        Some((
            item["name"].as_str()?.to_owned(),
            item["unobservedSockets"].as_u64()?,
        ))
    };
    Ok(items.iter().filter_map(count).collect())
}

fn counts(sandbox: &Sandbox, agent: &Agent, expected: &[(&str, u64)]) -> Result<()> {
    let expected: BTreeMap<String, u64> = expected
        .iter()
        .map(|&(name, count)| (name.into(), count))
        .collect();
    let counted = until(LATER, || unobserved(sandbox).is_ok_and(|found| found == expected));
    ensure!(counted, "{:?} instead of {expected:?}", unobserved(sandbox));
    let total: u64 = expected.values().sum();
    assert_eq!(json(sandbox, &["status"])?["unobservedSockets"], total);
    let told = || {
        agent
            .metrics()
            .is_ok_and(|text| metrics::sum(&text, "mesh_unobserved_sockets", &[]) == total)
    };
    ensure!(until(SOON, told), "{}", agent.metrics()?);
    Ok(())
}

/// Takes up to half a minute.
#[test]
fn slow_what_was_there_before_is_counted_until_it_goes() -> Result<()> {
    require_root!();
    let shop = Shop::open("before", &["web-1", "web-2"])?;
    let (client, server, sandbox) = (&shop.client, shop.backend("web-1"), &shop.sandbox);
    sandbox
        .manifests()
        .apply(&manifest::namespace(NAMESPACE, false))?;
    let mut agent = shop.start()?;
    let listener = server.run(|| TcpListener::bind((server.v4(), 0)))?;
    let to = listener.local_addr()?;
    let near = client.run(|| TcpStream::connect(to))?;
    let (far, _) = listener.accept()?;
    let datagrams = connected(client, to)?;
    let dialling = dial_in_vain(client)?;
    // Those talk to nobody.
    let _listener = client.run(|| TcpListener::bind("0.0.0.0:0"))?;
    let _unconnected = client.run(|| UdpSocket::bind("0.0.0.0:0"))?;
    sandbox.manifests().apply(&manifest::namespace(NAMESPACE, true))?;
    let all = [("client", 3), ("web-1", 1), ("web-2", 0)];
    counts(sandbox, &agent, &all)?;
    // What comes now is on record, or at least not from before.
    let _near = client.run(|| TcpStream::connect(to))?;
    let _far = listener.accept()?;
    let _datagrams = connected(client, to)?;
    agent.kill9()?;
    assert_eq!(unobserved(sandbox)?["client"], 3, "also without an agent");
    agent.restart()?;
    counts(sandbox, &agent, &all)?;
    drop((near, far, datagrams));
    counts(sandbox, &agent, &[("client", 1), ("web-1", 0), ("web-2", 0)])?;
    drop(dialling);
    counts(sandbox, &agent, &[("client", 0), ("web-1", 0), ("web-2", 0)])
}

fn connected(pod: &Pod, to: SocketAddr) -> Result<UdpSocket> {
    let socket = pod.run(|| UdpSocket::bind("0.0.0.0:0"))?;
    socket.connect(to)?;
    Ok(socket)
}

/// A socket that has sent a SYN, which nobody got.
fn dial_in_vain(pod: &Pod) -> Result<Socket> {
    let nobody = "10.0.1.99";
    neighbour(pod, nobody, "02:00:00:00:00:99")?;
    let socket = pod.run(|| Socket::new(Domain::IPV4, Type::STREAM, None))?;
    socket.set_nonblocking(true)?;
    let to: SocketAddr = (nobody.parse::<IpAddr>()?, PORT).into();
    let dialled = socket.connect(&to.into());
    ensure!(dialled.is_err_and(|error| error.raw_os_error() == Some(libc::EINPROGRESS)));
    Ok(socket)
}

/// Tells a pod where an address is.
fn neighbour(pod: &Pod, ip: &str, mac: &str) -> Result<()> {
    let args = [
        "neigh",
        "replace",
        ip,
        "lladdr",
        mac,
        "nud",
        "permanent",
        "dev",
        "eth0",
    ];
    let done = pod.command("ip").args(args).output()?;
    ensure!(done.status.success(), "{done:?}");
    Ok(())
}

/// A client's pod and a server's, of which one is in the mesh later than the other; both ask for acceleration.
struct Late {
    client: Pod,
    server: Pod,
    agent: Agent,
    sandbox: Sandbox,
}

/// The namespaces of the two.
const SPACES: [&str; 2] = ["clients", "servers"];

impl Late {
    fn new(test_name: &str, early: &str) -> Result<Self> {
        let sandbox = Sandbox::new(test_name)?;
        let client = sandbox.pod("client", &["10.0.1.1"])?;
        let server = sandbox.pod("server", &["10.0.1.2"])?;
        for (space, pod) in SPACES.into_iter().zip([&client, &server]) {
            sandbox.manifests().apply(&namespace(space, space == early))?;
            sandbox.manifests().apply(&manifest::pod_of(space, pod, &[]))?;
        }
        let agent = sandbox.agent().start()?;
        wait_probed(&sandbox)?;
        Ok(Self {
            client,
            server,
            agent,
            sandbox,
        })
    }

    fn pods(&self) -> usize {
        let pins = Pins::new(&self.sandbox.bpffs());
        kernel::entries(&pins.map(map::PODS)).unwrap_or_default()
    }

    fn listen(&self) -> Result<TcpListener> {
        Ok(self.server.run(|| TcpListener::bind((self.server.v4(), 0)))?)
    }

    /// A connection that the server's SYN-ACK reaches only after the other pod is in the mesh, too.
    fn held_back(&self, late: &str) -> Result<(TcpStream, TcpStream)> {
        // The server asks in vain where the client is; the client need not ask.
        let nobody = "/proc/sys/net/ipv4/conf/all/arp_ignore";
        self.client.run(|| fs::write(nobody, "8"))?;
        introduce(&self.client, &self.server)?;
        let listener = self.listen()?;
        let to = listener.local_addr()?;
        let near = thread::scope(|scope| {
            let dialling = scope.spawn(|| self.client.run(|| TcpStream::connect(to)));
            let half = || {
                self.server
                    .run(|| sock_diag::list(Family::V4, Protocol::Tcp, States::SYN_RECV))
            };
            ensure!(until(SOON, || half().is_ok_and(|list| list.len() == 1)), "no SYN");
            self.sandbox.manifests().apply(&namespace(late, true))?;
            ensure!(until(SOON, || self.pods() == 2), "not in the mesh");
            ensure!(!dialling.is_finished());
            introduce(&self.server, &self.client)?;
            Ok(dialling.join().expect("no panic")?)
        })?;
        let (far, _) = listener.accept()?;
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(SOON))?;
            stream.set_nodelay(true)?;
        }
        Ok((near, far))
    }

    /// Whether a socket is enrolled; nothing where it is not on record.
    fn enrolment(&self, socket: &TcpStream) -> Result<Option<Enrolment>> {
        let cookie = socket_cookie(socket)?;
        let flows = listing::read(&Pins::new(&self.sandbox.bpffs()))?;
        let found = flows.iter().find(|flow| flow.sock.cookie == cookie);
        Ok(found.and_then(|flow| Enrolment::from_number(flow.sock.accel.enrolment)))
    }

    fn sockets(&self) -> Result<usize> {
        let pins = Pins::new(&self.sandbox.bpffs());
        Ok(kernel::entries(&pins.map(map::SOCKETS))?)
    }
}

fn namespace(name: &str, in_mesh: bool) -> manifest::Manifest {
    manifest::namespace(name, in_mesh).annotation(acceleration::ANNOTATION, Path::Redirect.annotation())
}

/// Tells one pod where the other is.
fn introduce(pod: &Pod, other: &Pod) -> Result<()> {
    let shown = other
        .command("ip")
        .args(["-o", "link", "show", "eth0"])
        .output()?;
    let shown = String::from_utf8(shown.stdout)?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
    let mac = words.nth(1).with_context(|| shown.clone())?;
    neighbour(pod, &other.v4().to_string(), mac)
}

fn echo(mut near: &TcpStream, mut far: &TcpStream) -> Result<()> {
    let mut bytes = [0; 5];
    for _ in 0..20 {
        near.write_all(b"hello")?;
        far.read_exact(&mut bytes)?;
        far.write_all(&bytes)?;
        near.read_exact(&mut bytes)?;
        ensure!(&bytes == b"hello");
    }
    Ok(())
}

/// The ends of a connection that begins when both pods are in the mesh.
fn later(late: &Late) -> Result<[Option<Enrolment>; 2]> {
    let listener = late.listen()?;
    let to = listener.local_addr()?;
    let near = late.client.run(|| TcpStream::connect(to))?;
    let (far, _) = listener.accept()?;
    echo(&near, &far)?;
    Ok([late.enrolment(&near)?, late.enrolment(&far)?])
}

#[test]
fn a_server_that_comes_during_the_handshake() -> Result<()> {
    require_root!();
    let late = Late::new("lateserver", "clients")?;
    let (near, far) = late.held_back("servers")?;
    assert_eq!(late.enrolment(&far)?, Some(Enrolment::EarlierHandshake));
    assert_eq!(late.enrolment(&near)?, Some(Enrolment::Enrolled));
    assert_eq!(late.sockets()?, 1);
    echo(&near, &far)?;
    counts(&late.sandbox, &late.agent, &[("client", 0), ("server", 1)])?;
    assert_eq!(later(&late)?, [Some(Enrolment::Enrolled); 2]);
    Ok(())
}

#[test]
fn a_client_that_comes_during_the_handshake() -> Result<()> {
    require_root!();
    let late = Late::new("lateclient", "servers")?;
    let (near, far) = late.held_back("clients")?;
    assert_eq!(late.enrolment(&near)?, None);
    assert_eq!(late.sockets()?, 1);
    echo(&near, &far)?;
    counts(&late.sandbox, &late.agent, &[("client", 1), ("server", 0)])?;
    assert_eq!(later(&late)?, [Some(Enrolment::Enrolled); 2]);
    Ok(())
}
