//! Probers: each stands in a place, serves there, and tries to reach others when told, many at once.
//!
//! What a prober serves, over TCP, UDP and SCTP, gives back what came. Each attempt carries a number of its own, so
//! that a datagram that arrived counts as [`Outcome::Heard`] even where its answer was lost.

mod attempts;
mod ears;
mod sctp;
mod servers;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::place::Place;

pub use ears::{Number, heard};
pub use sctp::available as sctp_available;

/// What an attempt goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// A connection, over which a number goes there and comes back.
    Tcp,
    /// A datagram with a number, and the answer.
    Udp,
    /// A crafted INIT, and the crafted answer: no kernel with SCTP is needed.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As in Kubernetes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// Something to try.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// By what.
    pub protocol: Protocol,
    /// Whom to reach.
    pub to: SocketAddr,
    /// Whether an answer is expected: then it may take seconds, else the silence is believed sooner.
    pub hopeful: bool,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The number came back.
    Answered,
    /// The kernel said so at once, or the peer reset the connection.
    Refused,
    /// The datagram arrived; no answer came back.
    Heard,
    /// Nothing came back.
    Silent,
    /// Another error.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::Refused => f.write_str("refused"),
            Self::Heard => f.write_str("heard, but no answer came back"),
            Self::Silent => f.write_str("nothing came back"),
            Self::Failed(error) => f.write_str(error),
        }
    }
}

/// An attempt that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// What became of it.
    pub outcome: Outcome,
    /// How long that took.
    pub took: Duration,
    number: Number,
}

impl Made {
    /// The outcome, once everybody has had the time to hear: a late datagram counts, too.
    #[must_use]
    pub fn settled(&self) -> Outcome {
        match &self.outcome {
            Outcome::Silent if heard(self.number) => Outcome::Heard,
            outcome => outcome.clone(),
        }
    }
}

type Order = (Vec<Attempt>, Sender<Vec<Made>>);

/// Two threads in a place: one serves, one tries.
#[derive(Debug)]
pub struct Prober {
    orders: Option<Sender<Order>>,
    /// Its end ends the server.
    line: Option<UnixStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Prober {
    /// Serves these ports of these addresses of the place, and SCTP where raw sockets can be had.
    pub fn start(place: &Place, ips: &[IpAddr], ports: &[u16]) -> Result<Self> {
        let sockets = place.run(|| servers::Servers::open(ips, ports));
        let servers = sockets.with_context(|| format!("serving in {}", place.name()))?;
        let (line, end) = UnixStream::pair().context("a pair of sockets")?;
        let (orders, inbox) = channel();
        let threads = vec![
            place.spawn("echo", move || servers.serve(&end))?,
            place.spawn("prober", move || obey(&inbox))?,
        ];
        Ok(Self {
            orders: Some(orders),
            line: Some(line),
            threads,
        })
    }

    /// Begins to make these attempts, all at once.
    pub fn begin(&self, attempts: Vec<Attempt>) -> Result<Round> {
        let (reply, answer) = channel();
        let orders = self.orders.as_ref().context("the prober has ended")?;
        orders
            .send((attempts, reply))
            .map_err(|_| anyhow!("the prober has ended"))?;
        Ok(Round(answer))
    }

    /// Makes one attempt.
    pub fn make(&self, attempt: Attempt) -> Result<Outcome> {
        let made = self.begin(vec![attempt])?.end()?;
        Ok(made.first().context("no outcome")?.settled())
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        (self.orders, self.line) = (None, None);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Attempts under way.
#[derive(Debug)]
pub struct Round(Receiver<Vec<Made>>);

impl Round {
    /// Waits for all of them, and gives what became of them in their order.
    pub fn end(self) -> Result<Vec<Made>> {
        self.0.recv().map_err(|_| anyhow!("the prober panicked"))
    }
}

/// Makes one attempt from where the calling thread stands.
#[must_use]
pub fn once(attempt: Attempt) -> Outcome {
    let made = attempts::make(&[attempt]);
    made.first().map_or(Outcome::Silent, Made::settled)
}

fn obey(inbox: &Receiver<Order>) {
    for (attempts, reply) in inbox {
        // Whoever asked may be gone.
        let _ = reply.send(attempts::make(&attempts));
    }
}
