//! The scene: a cluster, a service whose pods stay, and two whose pods come and go.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use harness::Pod;
use harness::cluster::Cluster;
use harness::manifest::{self, Endpoint, Port};
use harness::market::{address, vip};
use harness::tables::Tables;
use harness::traffic::{TcpServer, UdpServer};
use harness::twins::Path;
use mesh_common::addr::Protocol;
use mesh_common::names::acceleration;

use crate::book::{Book, Colour};

/// Pods of the service that the traffic throughout is with, number 10.
pub const STAYING: [&str; 2] = ["rock-1", "rock-2"];
const ROCK: u8 = 10;
/// The services whose pods come and go, and their numbers.
pub const COLOURS: [(&str, u8); 2] = [("red", 20), ("blue", 21)];
/// What their pods have to share.
const ADDRESSES: u8 = 8;
/// Of each service at the beginning.
const FIRST: usize = 3;

/// A pod that serves.
pub struct Serving {
    pub pod: Pod,
    pub colour: Colour,
    _tcp: TcpServer,
    _udp: UdpServer,
}

/// The scene.
pub struct Town {
    pub book: Book,
    /// Pods of the services whose pods come and go; one thread changes them.
    living: Mutex<Vec<Serving>>,
    /// How many there ever were.
    made: AtomicUsize,
    /// Two that ask services whose pods come and go.
    pub visitors: [Pod; 2],
    /// Where agents are.
    pub offices: Vec<Pod>,
    rocks: Vec<Serving>,
    /// Last: all others live in it.
    pub cluster: Cluster,
}

impl Town {
    /// With pods that ask for this path between them.
    pub fn open(test_name: &str, path: Path) -> Result<Self> {
        let cluster = Cluster::open(test_name)?;
        let namespace = manifest::namespace("shop", true);
        cluster.put(&namespace.annotation(acceleration::ANNOTATION, path.annotation()))?;
        let client = |number: u8| {
            let (name, ip) = (format!("visitor-{number}"), format!("10.0.3.{number}"));
            let pod = cluster.sandbox.pod(&name, &[&ip])?;
            cluster.put(&manifest::pod("shop", &name, &[], pod.ips()))?;
            anyhow::Ok(pod)
        };
        let visitors = [client(1)?, client(2)?];
        let office = |number| {
            let (name, ip) = (format!("agent-{number}"), format!("10.0.4.{number}"));
            cluster.sandbox.pod(&name, &[&ip])
        };
        let offices = (1..=2).map(office).collect::<Result<_>>()?;
        let mut town = Self {
            book: Book::default(),
            living: Mutex::default(),
            made: AtomicUsize::default(),
            visitors,
            offices,
            rocks: Vec::new(),
            cluster,
        };
        for (host, name) in (11..).zip(STAYING) {
            let rock = town.serving(name, [10, 0, 1, host].into(), usize::MAX, "rock")?;
            town.rocks.push(rock);
        }
        let rocks: Vec<_> = town.rocks.iter().map(|rock| rock.pod.clone()).collect();
        town.staff("rock", &rocks)?;
        town.sell("rock", ROCK)?;
        for (colour, (name, number)) in COLOURS.into_iter().enumerate() {
            for _ in 0..FIRST {
                let ip = *town.free().first().context("no address")?;
                town.settle(colour, ip)?;
            }
            town.sell(name, number)?;
        }
        Ok(town)
    }

    /// Pods of the services whose pods come and go.
    pub fn living(&self) -> MutexGuard<'_, Vec<Serving>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Addresses that none of them has.
    pub fn free(&self) -> Vec<IpAddr> {
        let living = self.living();
        let all = (0..ADDRESSES).map(|host| IpAddr::from([10, 0, 2, 10 + host]));
        all.filter(|ip| living.iter().all(|it| it.pod.v4() != *ip))
            .collect()
    }

    /// A new pod of a service at this address, which nobody has.
    pub fn settle(&self, colour: Colour, ip: IpAddr) -> Result<()> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (app, _) = COLOURS[colour];
        let name = format!("{app}-{number}");
        self.book.born(&name, colour);
        let serving = self.serving(&name, ip, colour, app)?;
        self.living().push(serving);
        self.restaff(colour)
    }

    /// Writes the endpoints of a service.
    pub fn restaff(&self, colour: Colour) -> Result<()> {
        let pods: Vec<_> = self.of(colour, |it| it.pod.clone());
        self.staff(COLOURS[colour].0, &pods)
    }

    fn of<T, C: FromIterator<T>>(&self, colour: Colour, what: impl FnMut(&Serving) -> T) -> C {
        let living = self.living();
        let pods = living.iter().filter(|it| it.colour == colour);
        pods.map(what).collect()
    }

    fn serving(&self, name: &str, ip: IpAddr, colour: Colour, app: &str) -> Result<Serving> {
        let pod = self.cluster.sandbox.pod(name, &[&ip.to_string()])?;
        let tcp = pod.serve_tcp("[::]:8080".parse()?, name)?;
        let udp = pod.serve_udp("[::]:5353".parse()?, name)?;
        self.cluster
            .put(&manifest::pod("shop", name, &[("app", app)], pod.ips()))?;
        Ok(Serving {
            pod,
            colour,
            _tcp: tcp,
            _udp: udp,
        })
    }

    fn sell(&self, name: &str, number: u8) -> Result<()> {
        let service = manifest::service("shop", name, &[vip(number)], &ports(), &[("app", name)]);
        self.cluster.put(&service).map(drop)
    }

    fn staff(&self, service: &str, pods: &[Pod]) -> Result<()> {
        let of = |pod: &Pod| Endpoint::ready(pod.v4()).of("shop", pod.name());
        let endpoints: Vec<_> = pods.iter().map(of).collect();
        let name = format!("{service}-abcde");
        let slice = manifest::endpoint_slice("shop", service, &name, &ports(), &endpoints);
        self.cluster.put(&slice).map(drop)
    }

    /// Where a connect or a datagram to a service may go now, as the kernel has it.
    pub fn endpoints(&self, colour: Colour) -> Result<BTreeSet<IpAddr>> {
        let tables = Tables::open(&self.cluster.sandbox)?;
        let mut all = BTreeSet::new();
        for (port, protocol) in [(80, Protocol::Tcp), (53, Protocol::Udp)] {
            let found = tables.endpoints(address(COLOURS[colour].1, port), protocol)?;
            let found = found.context("the kernel does not have the service")?;
            all.extend(found.iter().map(SocketAddr::ip));
        }
        Ok(all)
    }

    /// Nothing is wrong with the server any more.
    pub fn well(&self) -> Result<()> {
        self.cluster.server.well();
        self.cluster.server.up()
    }

    /// Whether the kernel has the endpoints that it should.
    pub fn known(&self) -> Result<()> {
        for colour in 0..COLOURS.len() {
            let expected: BTreeSet<_> = self.of(colour, |it| it.pod.v4());
            let found = self.endpoints(colour)?;
            ensure!(found == expected, "{found:?}, not {expected:?}");
        }
        Ok(())
    }
}

fn ports() -> [Port; 2] {
    [
        Port::tcp(80).to(8080).named("tcp"),
        Port::udp(53).to(5353).named("udp"),
    ]
}
