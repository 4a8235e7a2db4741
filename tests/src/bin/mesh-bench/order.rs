//! What a client is told to do, and what it answers: one line each.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, ensure};

use crate::workload::Workload;

/// A slice of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub workload: Workload,
    /// The first address to dial.
    pub first: Ipv4Addr,
    /// How many addresses to dial in turns, counted from the first.
    pub addresses: u32,
    /// How long.
    pub slice: Duration,
}

impl Order {
    /// Whom the connection of this number is for.
    pub fn target(&self, number: u64) -> SocketAddr {
        let turn = u32::try_from(number % u64::from(self.addresses)).unwrap_or_default();
        let address = Ipv4Addr::from_bits(self.first.to_bits().wrapping_add(turn));
        SocketAddr::new(IpAddr::V4(address), self.workload.port())
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workload,
            first,
            addresses,
            slice,
        } = self;
        write!(f, "{workload} {first} {addresses} {}", slice.as_micros())
    }
}

impl FromStr for Order {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let [workload, first, addresses, micros] = words(line)?;
        let addresses = addresses.parse().context("number of addresses")?;
        ensure!(addresses > 0, "no address to dial");
        Ok(Self {
            workload: workload.parse()?,
            first: first.parse().context("address")?,
            addresses,
            slice: Duration::from_micros(micros.parse().context("slice")?),
        })
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How many operations were done.
    pub operations: u64,
    /// In what time.
    pub elapsed: Duration,
    /// With how much time of a processor, the client's own.
    pub cpu: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operations,
            elapsed,
            cpu,
        } = self;
        write!(f, "done {operations} {} {}", elapsed.as_nanos(), cpu.as_nanos())
    }
}

impl FromStr for Tally {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let [done, operations, elapsed, cpu] = words(line)?;
        ensure!(done == "done", "{line}");
        Ok(Self {
            operations: operations.parse().context("operations")?,
            elapsed: Duration::from_nanos(elapsed.parse().context("time")?),
            cpu: Duration::from_nanos(cpu.parse().context("time of a processor")?),
        })
    }
}

fn words<const N: usize>(line: &str) -> Result<[&str; N]> {
    let words: Vec<_> = line.split(' ').collect();
    words
        .try_into()
        .ok()
        .with_context(|| format!("not {N} words: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_tallies_are_read_as_they_are_written() {
        let order = Order {
            workload: Workload::Connects,
            first: Ipv4Addr::new(10, 96, 0, 255),
            addresses: 2,
            slice: Duration::from_millis(100),
        };
        assert_eq!(order.to_string().parse::<Order>().unwrap(), order);
        let tally = Tally {
            operations: 7,
            elapsed: Duration::from_nanos(8),
            cpu: Duration::from_nanos(9),
        };
        assert_eq!(tally.to_string().parse::<Tally>().unwrap(), tally);
        assert!("error it broke".parse::<Tally>().is_err());
        assert!("connects 10.96.0.1 0 100".parse::<Order>().is_err());
    }

    #[test]
    fn addresses_are_dialled_in_turns() {
        let order: Order = "connects 10.96.0.255 2 100".parse().unwrap();
        let dialled = [0, 1, 2].map(|number| order.target(number).to_string());
        assert_eq!(
            dialled,
            ["10.96.0.255:8081", "10.96.1.0:8081", "10.96.0.255:8081"]
        );
    }
}
