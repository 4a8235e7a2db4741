//! Traffic to the service `web`, number 10 of a market, over TCP and UDP: connects, a conversation, datagrams.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::market::{Market, address};
use crate::pod::Pod;
use crate::spread::Spread;
use crate::traffic::{Conversation, ask_tcp, ask_udp_unconnected};
use crate::until;

/// Traffic that must not notice anything; counts what went well.
#[derive(Debug, Default)]
pub struct Traffic {
    over: AtomicBool,
    /// Between two connects.
    pause: Duration,
    connects: AtomicU32,
    echoes: AtomicU32,
    datagrams: AtomicU32,
}

impl Traffic {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Connects, over and over; who answered.
    fn connect(&self, client: &Pod) -> Result<Spread> {
        client.run(|| {
            let mut spread = Spread::default();
            while self.goes_on() {
                let answer = ask_tcp(address(10, 80));
                spread.add(
                    answer
                        .with_context(|| format!("connect {} failed", spread.total()))?
                        .name,
                );
                self.connects.fetch_add(1, Ordering::Relaxed);
                thread::sleep(self.pause);
            }
            Ok(spread)
        })
    }

    /// Talks over one connection.
    fn converse(&self, client: &Pod) -> Result<()> {
        client.run(|| {
            let mut conversation = Conversation::open(address(10, 80))?;
            while self.goes_on() {
                let echo = conversation.echo(b"still there?");
                let count = self.echoes.fetch_add(1, Ordering::Relaxed);
                echo.with_context(|| format!("echo {count} failed"))?;
                thread::sleep(Duration::from_millis(1));
            }
            ensure!(
                conversation.stream().peer_addr()? == address(10, 80),
                "the peer has another name"
            );
            Ok(())
        })
    }

    /// Asks from one socket; all answers must come from one backend and from the address that was asked.
    fn ask(&self, client: &Pod) -> Result<()> {
        client.run(|| {
            let socket = UdpSocket::bind("10.0.1.1:0")?;
            let first = ask_udp_unconnected(&socket, address(10, 53))?;
            while self.goes_on() {
                let answer = ask_udp_unconnected(&socket, address(10, 53));
                let count = self.datagrams.fetch_add(1, Ordering::Relaxed);
                let answer = answer.with_context(|| format!("datagram {count} failed"))?;
                ensure!(
                    answer == first,
                    "datagram {count}: {answer:?} instead of {first:?}"
                );
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
    }

    /// Echoes and datagrams that went well.
    #[must_use]
    pub fn counts(&self) -> [u32; 2] {
        [&self.echoes, &self.datagrams].map(|count| count.load(Ordering::Relaxed))
    }

    /// Waits until this many more connects went well.
    pub fn wait(&self, more: u32) -> Result<()> {
        let goal = self.connects.load(Ordering::Relaxed) + more;
        let enough = || self.connects.load(Ordering::Relaxed) >= goal;
        ensure!(
            until(Duration::from_secs(10), enough),
            "the connects stopped short of {goal}"
        );
        Ok(())
    }
}

/// Runs all traffic while `during` goes on, and asks that none of it failed; who answered the connects, and how many
/// of everything went well.
///
/// # Panics
///
/// Where the traffic itself does.
pub fn under_traffic(
    market: &Market,
    during: impl FnOnce(&Traffic) -> Result<()>,
) -> Result<(Spread, Traffic)> {
    under_traffic_of(&market.client, Duration::ZERO, during)
}

/// As [`under_traffic`], of a client of any scene, with a pause between two connects.
///
/// # Panics
///
/// Where the traffic itself does.
pub fn under_traffic_of(
    client: &Pod,
    pause: Duration,
    during: impl FnOnce(&Traffic) -> Result<()>,
) -> Result<(Spread, Traffic)> {
    let traffic = Traffic {
        pause,
        ..Traffic::default()
    };
    let results = thread::scope(|scope| {
        let connects = scope.spawn(|| traffic.connect(client));
        let others = [
            scope.spawn(|| traffic.converse(client)),
            scope.spawn(|| traffic.ask(client)),
        ];
        let done = during(&traffic);
        traffic.over.store(true, Ordering::Relaxed);
        let spread = connects.join().expect("no panic");
        let others = others.map(|other| other.join().expect("no panic"));
        // The traffic's errors tell more than that something waited for it in vain.
        others
            .into_iter()
            .collect::<Result<()>>()
            .and(spread)
            .and_then(|spread| done.map(|()| spread))
    });
    Ok((results?, traffic))
}
