//! Connections to endpoints that are gone end at once, and no others.
//!
//! Pods are deleted as objects only: their processes go on, so that nobody but the mesh can end a connection.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::manifest::{self, Endpoint, Manifest, Port};
use harness::scene::{NAMESPACE, PORT, Shop, all_vips, mapped};
use harness::traffic::{Conversation, ask_udp_connected};
use harness::{Agent, Pod, metrics, patient, require_root, until};
use mesh_agent::datapath::{listing, pins::Pins};
use socket2::{Domain, Socket, Type};

/// An agent that has just started waits for ten seconds.
const SOON: Duration = Duration::from_secs(15);
/// Longer than the mesh takes to end what it ends.
const A_WHILE: Duration = Duration::from_millis(500);
const BACKENDS: [&str; 2] = ["web-1", "web-2"];

fn ports() -> [Port; 2] {
    [
        Port::tcp(80).to(PORT).named("tcp"),
        Port::udp(80).to(PORT).named("udp"),
    ]
}

/// The services `web`, number 10, and `other`, number 20, of the same backends.
fn shop(test_name: &str) -> Result<Shop> {
    let shop = Shop::open(test_name, &BACKENDS)?;
    shop.sell("web", 10, &ports(), &BACKENDS)?;
    shop.sell("other", 20, &ports(), &BACKENDS)?;
    Ok(shop)
}

/// The endpoints of `web`, `web-1` with these conditions: ready, serving, terminating.
fn staff(shop: &Shop, [ready, serving, terminating]: [bool; 3]) -> Result<()> {
    let slices = [("IPv4", Pod::v4 as fn(&Pod) -> _), ("IPv6", Pod::v6)].map(|(family, ip)| {
        let endpoints = BACKENDS.map(|name| Endpoint::ready(ip(shop.backend(name))).of(NAMESPACE, name));
        let [first, second] = endpoints;
        let endpoints = [first.conditions(ready, serving, terminating), second];
        let name = format!("web-{}", family.to_lowercase());
        manifest::endpoint_slice(NAMESPACE, "web", &name, &ports(), &endpoints).set("addressType", family)
    });
    shop.sandbox.manifests().apply_all(&slices)
}

/// The object of a pod.
fn object(pod: &Pod) -> Manifest {
    manifest::pod_of(NAMESPACE, pod, &[("app", pod.name())])
}

/// Something that is connected to a backend.
enum Connection {
    Udp(UdpSocket),
    Tcp(Conversation),
}

impl Connection {
    fn udp(to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
        socket.connect(&to.into())?;
        Ok(Self::Udp(socket.into()))
    }

    fn tcp(to: SocketAddr) -> io::Result<Self> {
        Conversation::open(to).map(Self::Tcp)
    }

    /// Who answers.
    fn backend(&self) -> Result<String> {
        Ok(match self {
            Self::Udp(socket) => ask_udp_connected(socket)?.name,
            Self::Tcp(stream) => stream.answer().name.clone(),
        })
    }

    /// What the socket has to tell, once.
    fn error(&self) -> Option<ErrorKind> {
        let error = match self {
            Self::Udp(socket) => socket.take_error(),
            Self::Tcp(stream) => stream.stream().take_error(),
        };
        error.ok().flatten().map(|error| error.kind())
    }

    /// Whether it still carries bytes to that backend.
    fn lives(&mut self) -> Result<()> {
        match self {
            Self::Udp(socket) => drop(ask_udp_connected(socket)?),
            Self::Tcp(stream) => stream.echo(b"still there")?,
        }
        Ok(())
    }
}

type Dial = fn(SocketAddr) -> io::Result<Connection>;

/// Connections of the client to an address until there is one to that backend.
fn reach(client: &Pod, dial: Dial, to: SocketAddr, backend: &str) -> Result<Connection> {
    for _ in 0..100 {
        let connection = client.run(|| dial(to)).with_context(|| to.to_string())?;
        if connection.backend()? == backend {
            return Ok(connection);
        }
    }
    anyhow::bail!("{backend} never answers at {to}")
}

/// Connections to `web-1`: those through `web` in all families, and those that are nothing to do with it.
struct Scene {
    through: Vec<Connection>,
    beside: Vec<Connection>,
}

impl Scene {
    fn new(shop: &Shop, dial: Dial) -> Result<Self> {
        let client = &shop.client;
        let first = shop.backend("web-1");
        let direct = [first.v4(), first.v6()].map(|ip| SocketAddr::from((ip, PORT)));
        let direct = [direct[0], direct[1], mapped(direct[0])];
        let mut through = Vec::new();
        let mut beside = Vec::new();
        for (to, direct) in all_vips(10, 80).into_iter().zip(direct) {
            through.push(reach(client, dial, to, "web-1")?);
            beside.push(reach(client, dial, to, "web-2")?);
            beside.push(client.run(|| dial(direct))?);
            // A process of the same pod that the mesh does not see.
            beside.push(client.unenrolled().run(|| dial(direct))?);
        }
        Ok(Self { through, beside })
    }

    /// Adds connections to the same backend through `other`.
    fn with_other(mut self, shop: &Shop, dial: Dial) -> Result<Self> {
        for to in all_vips(20, 80) {
            self.beside.push(reach(&shop.client, dial, to, "web-1")?);
        }
        Ok(self)
    }

    /// Nothing ends.
    fn goes_on(&mut self) -> Result<()> {
        thread::sleep(patient(A_WHILE));
        let all = self.through.iter_mut().chain(&mut self.beside);
        all.into_iter().try_for_each(Connection::lives)
    }

    /// What went through the service ends, and nothing else.
    fn ends(&mut self) -> Result<()> {
        for (number, connection) in self.through.drain(..).enumerate() {
            let mut error = None;
            let told = until(SOON, || {
                error = connection.error();
                error.is_some()
            });
            ensure!(told, "connection {number} goes on");
            ensure!(error == Some(ErrorKind::ConnectionAborted), "{number}: {error:?}");
        }
        self.goes_on()
    }
}

fn destroyed(agent: &Agent, protocol: &str, reason: &str) -> Result<u64> {
    let labels = [("protocol", protocol), ("reason", reason)];
    Ok(metrics::sum(
        &agent.metrics()?,
        "mesh_sockets_destroyed_total",
        &labels,
    ))
}

#[test]
fn datagrams_end_as_soon_as_nobody_serves_them() -> Result<()> {
    require_root!();
    let shop = shop("end-udp")?;
    let agent = shop.start()?;
    let mut scene = Scene::new(&shop, Connection::udp)?.with_other(&shop, Connection::udp)?;
    let mut streams = Scene::new(&shop, Connection::tcp)?;
    // Nobody new comes, but it still serves.
    staff(&shop, [false, true, true])?;
    scene.goes_on()?;
    staff(&shop, [false, false, true])?;
    scene.ends()?;
    assert_eq!(destroyed(&agent, "UDP", "not_serving")?, 3);
    // The second one leaves the Service altogether.
    let mut scene = Scene {
        through: vec![reach(
            &shop.client,
            Connection::udp,
            all_vips(10, 80)[0],
            "web-2",
        )?],
        beside: scene.beside.split_off(9),
    };
    staff(&shop, [true; 3])?;
    shop.staff("web", &ports(), &["web-1"])?;
    scene.ends()?;
    assert!(destroyed(&agent, "UDP", "removed")? > 0);
    streams.goes_on()?;
    assert_eq!(destroyed(&agent, "TCP", "pod_gone")?, 0);
    Ok(())
}

#[test]
fn streams_outlive_their_service_and_end_with_the_pod() -> Result<()> {
    require_root!();
    let shop = shop("end-tcp")?;
    let agent = shop.start()?;
    let mut scene = Scene::new(&shop, Connection::tcp)?;
    staff(&shop, [false; 3])?;
    scene.goes_on()?;
    shop.staff("web", &ports(), &["web-2"])?;
    scene.goes_on()?;
    shop.sandbox.manifests().delete(&object(shop.backend("web-1")))?;
    scene.ends()?;
    assert_eq!(destroyed(&agent, "TCP", "pod_gone")?, 3);
    Ok(())
}

#[test]
fn a_pod_that_has_ended_is_gone_and_one_that_ends_is_not() -> Result<()> {
    require_root!();
    let shop = shop("end-phase")?;
    let _agent = shop.start()?;
    let mut scene = Scene::new(&shop, Connection::tcp)?;
    let pod = object(shop.backend("web-1"));
    let told = "2026-01-01T00:00:00Z";
    let ending = pod.clone().set("metadata.deletionTimestamp", told);
    shop.sandbox.manifests().apply(&ending)?;
    scene.goes_on()?;
    shop.sandbox
        .manifests()
        .apply(&pod.set("status.phase", "Failed"))?;
    scene.ends()
}

/// A client that still dials a pod which is gone need not wait until it gives up.
#[test]
fn a_handshake_ends_too() -> Result<()> {
    require_root!();
    let shop = shop("end-syn")?;
    shop.staff("web", &ports(), &["web-1"])?;
    let _agent = shop.start()?;
    let web = shop.backend("web-1");
    let done = web.command("ip").args(["link", "set", "eth0", "down"]).output()?;
    ensure!(done.status.success(), "{done:?}");
    let client = &shop.client;
    let to = all_vips(10, 80)[0];
    let socket = client.run(|| Socket::new(Domain::IPV4, Type::STREAM, None))?;
    thread::scope(|scope| {
        let dialling = scope.spawn(|| client.run(|| socket.connect(&to.into())));
        let pins = Pins::new(&shop.sandbox.bpffs());
        let sent = until(SOON, || listing::read(&pins).is_ok_and(|flows| !flows.is_empty()));
        ensure!(sent && !dialling.is_finished());
        shop.sandbox.manifests().delete(&object(web))?;
        ensure!(until(SOON, || dialling.is_finished()), "it still dials");
        let error = dialling.join().expect("no panic").map_err(|error| error.kind());
        assert_eq!(error, Err(ErrorKind::ConnectionAborted));
        Ok(())
    })
}

/// What happened while no agent was there is seen by the next, and an agent that starts ends nothing else.
#[test]
fn what_a_crashed_agent_missed_the_next_one_does() -> Result<()> {
    require_root!();
    let shop = shop("end-crash")?;
    let mut agent = shop.start()?;
    let mut datagrams = Scene::new(&shop, Connection::udp)?.with_other(&shop, Connection::udp)?;
    let mut streams = Scene::new(&shop, Connection::tcp)?;
    agent.kill9()?;
    agent.restart()?;
    datagrams.goes_on()?;
    streams.goes_on()?;
    agent.kill9()?;
    shop.staff("web", &ports(), &["web-2"])?;
    datagrams.goes_on()?;
    agent.restart()?;
    datagrams.ends()?;
    streams.goes_on()?;
    agent.kill9()?;
    shop.sandbox.manifests().delete(&object(shop.backend("web-1")))?;
    // Nobody knows any more which pod was meant: it is gone when no slice names one there.
    shop.staff("other", &ports(), &["web-2"])?;
    agent.restart()?;
    streams.ends()
}

#[test]
fn without_the_list_nothing_ends_and_status_says_so() -> Result<()> {
    require_root!();
    let shop = shop("end-list")?;
    let agent = shop.start()?;
    let mut scene = Scene::new(&shop, Connection::udp)?;
    fs::remove_file(Pins::new(&shop.sandbox.bpffs()).link(listing::PROGRAM))?;
    shop.staff("web", &ports(), &["web-2"])?;
    let said = "connections to removed endpoints are not ended: the list of connections";
    let status = || Ok::<_, anyhow::Error>(shop.sandbox.meshctl(["status"])?.stdout);
    let shown = |text: Vec<u8>| String::from_utf8_lossy(&text).contains(said);
    ensure!(until(SOON, || status().is_ok_and(shown)), "{:?}", status());
    scene.goes_on()?;
    assert_eq!(agent.log().matches("are not ended").count(), 1, "{}", agent.log());
    Ok(())
}
