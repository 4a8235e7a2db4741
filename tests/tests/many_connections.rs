//! A process that opens very many connections: every one is recorded or counted as lost, the totals are exact
//! whatever is lost, and nothing grows with their number.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::manifest::{self, Endpoint, Port};
use harness::scene::{NAMESPACE, service, vips};
use harness::{Agent, Pod, Sandbox, kernel, metrics, require_root, until};
use mesh_agent::datapath::{listing, pins::Pins, readings::Readings};
use mesh_common::abi::{MAPS, MapKind, map, size};
use mesh_common::flow::{FlowEvent, Traffic};
use rustix::process::Signal;
use socket2::SockRef;

/// One service with these ports; each leads to the same port of two servers.
const PORTS: [u16; 5] = [9001, 9002, 9003, 9004, 9005];
/// Threads of the client.
const THREADS: usize = 2;
/// Connections that a thread has open at once, to each port equally many.
const TOGETHER: usize = 50;
/// Connections that all threads open while each connection of one thread ends in one of the ways.
const ROUND: usize = THREADS * TOGETHER * ENDS.len();
/// What the client says; the first byte tells whether the server closes.
const QUESTION: usize = 5;
/// What the server says.
const ANSWER: &[u8] = b"bye";
const PATIENCE: Duration = Duration::from_secs(10);

/// Who ends a connection, and how.
#[derive(Clone, Copy)]
enum End {
    Server,
    Client,
    HalfByHalf,
    Reset,
}

const ENDS: [End; 4] = [End::Server, End::Client, End::HalfByHalf, End::Reset];

/// A client in the mesh, and servers out of it, so that all records are the client's.
struct Scene {
    client: Pod,
    servers: Vec<Server>,
    agent: Agent,
    readings: Readings,
    pins: Pins,
    /// Last: all others live in it.
    sandbox: Sandbox,
}

impl Scene {
    fn open(test_name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(test_name)?;
        let client = sandbox.pod("client", &["10.0.1.1", "fd00::1:1"])?;
        client.run(|| fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535"))?;
        let manifests = sandbox.manifests();
        manifests.apply(&manifest::namespace(NAMESPACE, true))?;
        manifests.apply(&manifest::namespace("plain", false))?;
        manifests.apply(&manifest::pod_of(NAMESPACE, &client, &[]))?;
        let (mut servers, mut endpoints) = (Vec::new(), Vec::new());
        for (name, ip) in [("server-1", "10.0.3.1"), ("server-2", "10.0.3.2")] {
            let pod = sandbox.pod(name, &[ip])?;
            manifests.apply(&manifest::pod_of("plain", &pod, &[]))?;
            endpoints.push(Endpoint::ready(pod.v4()).of("plain", name));
            for port in PORTS {
                servers.push(Server::start(&pod, port)?);
            }
        }
        let ports = PORTS.map(|port| Port::tcp(port).named(&format!("p{port}")));
        let slice = manifest::endpoint_slice(NAMESPACE, "many", "many-ipv4", &ports, &endpoints);
        manifests.apply_all(&[slice, service("many", 10, &ports)])?;
        let agent = sandbox.agent().start()?;
        let pins = Pins::new(&sandbox.bpffs());
        Ok(Self {
            client,
            servers,
            agent,
            readings: Readings::open(&pins)?,
            pins,
            sandbox,
        })
    }

    /// Opens and closes that many connections, a multiple of [`ROUND`].
    fn connect(&self, count: usize) -> Result<()> {
        assert!(count.is_multiple_of(ROUND), "{count} connections");
        let work = || (0..count / ROUND).try_for_each(|_| round());
        let threads: Vec<io::Result<()>> = self.client.run(|| {
            thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
                let done = threads.into_iter().map(thread::ScopedJoinHandle::join);
                done.map(|done| done.expect("no panic")).collect()
            })
        });
        Ok(threads.into_iter().collect::<io::Result<()>>()?)
    }

    /// Connections whose last words the agent had, and those whose last words were lost.
    fn told(&self) -> Result<(u64, u64)> {
        let text = self.agent.metrics()?;
        let source = [("reporter", "source"), ("destination_service_name", "many")];
        let closed = metrics::sum(&text, "istio_tcp_connections_closed_total", &source);
        let all = metrics::sum(&text, "istio_tcp_connections_closed_total", &[]);
        let failed = metrics::sum(&text, "mesh_tcp_connections_failed_total", &[]);
        ensure!(closed == all && failed == 0, "{closed} of {all}, {failed} failed");
        Ok((closed, metrics::sum(&text, "mesh_events_lost_total", &[])))
    }

    /// Waits until all connections were told of or counted as lost; says how many were lost.
    fn account_for(&self, connections: u64) -> Result<u64> {
        let mut told = (0, 0);
        let all = until(PATIENCE, || {
            told = self.told().unwrap_or_default();
            told.0 + told.1 >= connections
        });
        ensure!(
            all && told.0 + told.1 == connections,
            "{connections} connections, told of and lost: {told:?}"
        );
        Ok(told.1)
    }

    /// The kernel's totals are those of that many connections, at each port alike.
    fn check_totals(&self, connections: u64) -> Result<()> {
        let traffic = self.readings.traffic()?;
        ensure!(traffic.len() == PORTS.len(), "{traffic:?}");
        let each = connections / PORTS.len() as u64;
        let expected = Traffic {
            opened: each,
            closed: each,
            failed: 0,
            bytes_sent: each * QUESTION as u64,
            bytes_received: each * ANSWER.len() as u64,
            ..Traffic::default()
        };
        for (key, total) in traffic {
            ensure!(total == expected, "{key:?}: {total:?}, not {expected:?}");
        }
        Ok(())
    }

    /// How many entries each hash map has.
    fn entries(&self) -> Result<BTreeMap<&'static str, usize>> {
        let hashes = [MapKind::Hash, MapKind::LruHash, MapKind::PerCpuHash];
        let maps = MAPS.iter().filter(|map| hashes.contains(&map.kind));
        maps.map(|map| Ok((map.name, kernel::entries(&self.pins.map(map.name))?)))
            .collect()
    }

    /// No connection lives, as the kernel and `meshctl` say.
    fn check_none_lives(&self) -> Result<()> {
        let none = until(PATIENCE, || {
            listing::read(&self.pins).is_ok_and(|list| list.is_empty())
        });
        ensure!(none, "{:?}", listing::read(&self.pins)?);
        let output = self.sandbox.meshctl(["connection", "list", "-o", "json"])?;
        let list: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list}");
        Ok(())
    }

    /// What the agent holds of its own memory, in KiB.
    fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.program().pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        number.context("RssAnon")
    }

    /// Ends the servers; an error where one had trouble.
    fn close(self) -> Result<()> {
        self.servers.into_iter().try_for_each(Server::stop)
    }
}

/// Connects to every port in turn; all end in one of the ways, then in the next.
fn round() -> io::Result<()> {
    for end in ENDS {
        let letter = if matches!(end, End::Server) { b's' } else { b'c' };
        let mut open = Vec::with_capacity(TOGETHER);
        for port in PORTS.iter().cycle().take(TOGETHER) {
            let mut stream = TcpStream::connect(vips(10, *port)[0])?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&[letter; QUESTION])?;
            open.push(stream);
        }
        for mut stream in open {
            stream.read_exact(&mut [0; ANSWER.len()])?;
            match end {
                End::Server => assert_eq!(stream.read(&mut [0])?, 0),
                End::Client => {}
                End::HalfByHalf => {
                    stream.shutdown(Shutdown::Write)?;
                    assert_eq!(stream.read(&mut [0])?, 0);
                }
                End::Reset => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
            }
        }
    }
    Ok(())
}

/// Answers one connection after the other.
struct Server {
    listener: TcpListener,
    thread: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(pod: &Pod, port: u16) -> Result<Self> {
        let listener = pod.run(|| TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))?;
        let accepting = listener.try_clone()?;
        let thread = thread::spawn(move || serve(&accepting));
        Ok(Self { listener, thread })
    }

    fn stop(self) -> Result<()> {
        SockRef::from(&self.listener).shutdown(Shutdown::Both)?;
        let done = self.thread.join().expect("no panic");
        done.context("a server")
    }
}

/// Until the listener is shut down.
fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut question = [0; QUESTION];
        stream.read_exact(&mut question)?;
        stream.write_all(ANSWER)?;
        if question[0] != b's' {
            // The client's end, one way or the other.
            match stream.read(&mut [0]) {
                Ok(0) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                other => return Err(io::Error::other(format!("{other:?} at the end"))),
            }
        }
    }
}

#[test]
fn nothing_grows_and_nothing_is_lost_silently() -> Result<()> {
    const FIRST: usize = 20_000;
    const ALL: usize = 100_000;
    /// In KiB: what an allocator may keep for itself.
    const GROWTH: u64 = 2048;
    require_root!();
    let scene = Scene::open("many")?;
    let mut entries = scene.entries()?;
    let start = Instant::now();
    scene.connect(FIRST)?;
    scene.account_for(FIRST as u64)?;
    let memory = scene.memory()?;
    scene.connect(ALL - FIRST)?;
    let lost = scene.account_for(ALL as u64)?;
    let later = scene.memory()?;
    println!(
        "{ALL} connections in {:?}, {lost} records lost; the agent's memory: {memory} KiB after {FIRST}, then {later}",
        start.elapsed()
    );
    scene.check_totals(ALL as u64)?;
    scene.check_none_lives()?;
    // One for each port that was asked.
    entries.insert(map::TRAFFIC, PORTS.len());
    assert_eq!(scene.entries()?, entries);
    assert!(later <= memory + GROWTH, "from {memory} to {later} KiB");
    scene.close()
}

#[test]
fn what_is_lost_while_the_agent_stands_still_is_counted() -> Result<()> {
    const BEFORE: usize = 1_200;
    /// More than the ring buffer has room for.
    const MEANWHILE: usize = size::EVENTS / size_of::<FlowEvent>() / ROUND * ROUND + ROUND;
    const AFTER: usize = 1_200;
    require_root!();
    let scene = Scene::open("lost")?;
    scene.connect(BEFORE)?;
    assert_eq!(
        scene.account_for(BEFORE as u64)?,
        0,
        "a reader in time loses nothing"
    );
    let agent = scene.agent.program();
    agent.signal(Signal::STOP)?;
    let stopped = scene.connect(MEANWHILE);
    agent.signal(Signal::CONT)?;
    stopped?;
    scene.connect(AFTER)?;
    let all = (BEFORE + MEANWHILE + AFTER) as u64;
    let lost = scene.account_for(all)?;
    println!("{all} connections, {lost} records lost");
    assert!(lost > 0, "the ring buffer holds more than the test thinks");
    scene.check_totals(all)?;
    scene.check_none_lives()?;
    scene.close()
}
