//! What the mesh says it carried to a service.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::scene::Shop;
use harness::twins::Path;
use harness::{Agent, metrics, until};
use serde_json::Value;

/// The last connections may still be closing when a program has ended.
const SOON: Duration = Duration::from_secs(3);

/// Figures of connections, as their clients' sockets know them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Carried {
    /// Connections established.
    pub connections: u64,
    /// Bytes the clients sent.
    pub up: u64,
    /// Bytes the clients received.
    pub down: u64,
}

impl Carried {
    /// What clients had with one backend of a service.
    pub fn by(agent: &Agent, service: &str, backend: &str) -> Result<Self> {
        let text = agent.metrics()?;
        let labels = [
            ("reporter", "source"),
            ("destination_service_name", service),
            ("destination_workload", backend),
        ];
        let sum = |name| metrics::sum(&text, name, &labels);
        Ok(Self {
            connections: sum("istio_tcp_connections_opened_total"),
            // Istio counts from the destination's point of view.
            up: sum("istio_tcp_received_bytes_total"),
            down: sum("istio_tcp_sent_bytes_total"),
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            up: self.up + other.up,
            down: self.down + other.down,
        }
    }

    fn is_at_least(self, least: Self) -> bool {
        self.connections >= least.connections && self.up >= least.up && self.down >= least.down
    }
}

/// Waits until the mesh says that at least this was carried to a service, with a part of it to each of these
/// backends; gives what each had.
pub fn at_least(agent: &Agent, service: &str, backends: &[&str], least: Carried) -> Result<Vec<Carried>> {
    let mut seen = Vec::new();
    let all = until(SOON, || {
        let look = |backend: &&str| Carried::by(agent, service, backend).unwrap_or_default();
        seen = backends.iter().map(look).collect();
        let sum = seen.iter().copied().fold(Carried::default(), Carried::plus);
        sum.is_at_least(least) && seen.iter().all(|one| one.connections > 0)
    });
    ensure!(all, "{service}: {least:?} expected, {backends:?} had {seen:?}");
    let labels = [("destination_service_name", service)];
    let text = agent.metrics()?;
    let names = ["received", "sent"].map(|way| format!("mesh_redirected_{way}_messages_total"));
    let redirected: u64 = names.iter().map(|name| metrics::sum(&text, name, &labels)).sum();
    let accelerated = crate::PATH == Path::Redirect;
    ensure!(
        (redirected > 0) == accelerated,
        "{redirected} messages went past TCP"
    );
    Ok(seen)
}

/// Waits until no TCP connection of the client lives; those of servers may wait for a time-out of their own, and
/// a UDP flow lives until it was silent for long.
pub fn none_lives(shop: &Shop) -> Result<()> {
    let mut list = Value::Null;
    let none = until(SOON, || {
        list = shown(shop, &["connection", "list", "--pod", "shop/client"]).unwrap_or_default();
        let rows = list["items"].as_array();
        rows.is_some_and(|rows| rows.iter().all(|row| row["protocol"] == "UDP"))
    });
    ensure!(none, "connections of the client live on: {list}");
    Ok(())
}

/// What `meshctl` shows.
pub fn shown(shop: &Shop, question: &[&str]) -> Result<Value> {
    let output = shop.sandbox.meshctl([question, &["-o", "json"]].concat())?;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}
