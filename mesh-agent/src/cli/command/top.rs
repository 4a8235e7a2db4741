//! `top`: rates of connections and bytes.

mod sample;

use std::{
    io::{self, Write},
    thread::sleep,
};

use sample::Sample;
use serde::Serialize;

use crate::{
    cli::{
        answer::Answer,
        args::{
            Format,
            verb::{By, TopArgs},
        },
        failure::Failure,
        held::{Held, Named},
        node::Node,
        output::{self, Item, number, or_dash, style::Style, table, text, unit},
        scope::Scope,
    },
    datapath::readings::Readings,
    sys::clock,
};

/// Rates of one pod or service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopRow {
    /// `None` for connections that no service was dialled for.
    object: Option<Named>,
    /// Connections that live now.
    connections: u64,
    opened_per_second: f64,
    bytes_sent_per_second: u64,
    bytes_received_per_second: u64,
}

impl Item for TopRow {
    const KIND: &'static str = "Rate";
    const NOUN: &'static str = "rate";
    const COLUMNS: &'static [table::Column] = &[
        text("NAME"),
        number("CONNECTIONS"),
        number("OPENED/S"),
        number("SENT/S"),
        number("RECEIVED/S"),
    ];

    fn name(&self) -> String {
        or_dash(self.object.as_ref())
    }

    fn cells(&self) -> Vec<String> {
        vec![
            or_dash(self.object.as_ref()),
            self.connections.to_string(),
            format!("{:.1}", self.opened_per_second),
            unit::bytes(self.bytes_sent_per_second),
            unit::bytes(self.bytes_received_per_second),
        ]
    }
}

/// `top`: goes on until it is interrupted, or its reader has gone.
pub fn run(
    node: &Node,
    scope: &Scope,
    args: &TopArgs,
    format: Format,
    style: Style,
) -> Result<Answer, Failure> {
    let readings = node.readings()?;
    let mut before = take(node, &readings)?;
    loop {
        sleep(args.interval);
        let after = take(node, &readings)?;
        let held = Held::named(node.names());
        let rows = rows(&held, &before, &after, args.by, scope);
        let text = output::list(&rows, format)?;
        if args.once {
            return Ok(Answer::good(text));
        }
        if !show(&text, style)? {
            return Ok(Answer::good(String::new()));
        }
        before = after;
    }
}

/// Connections first: one that ends in between is then counted twice in a sample, and never missed.
fn take(node: &Node, readings: &Readings) -> Result<Sample, Failure> {
    let flows = node.flows()?;
    let traffic = readings.traffic().map_err(|error| node.unreadable(&error))?;
    Ok(Sample::new(clock::monotonic(), &flows, traffic))
}

/// On a terminal the new sample takes the place of the old one. Returns whether somebody still reads.
fn show(text: &str, style: Style) -> Result<bool, Failure> {
    const HOME_AND_CLEAR: &str = "\x1b[H\x1b[2J";
    let start = if style.terminal { HOME_AND_CLEAR } else { "" };
    let mut out = io::stdout().lock();
    match write!(out, "{start}{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("standard output: {error}"))),
        Ok(()) => Ok(true),
    }
}

/// The busiest first.
fn rows(held: &Held, before: &Sample, after: &Sample, by: By, scope: &Scope) -> Vec<TopRow> {
    let object = |id| match by {
        By::Pod => held.pod(id),
        By::Service => held.service(id),
    };
    let rates = after.rates_since(before, by);
    let mut rows: Vec<TopRow> = rates
        .into_iter()
        .map(|(id, rate)| TopRow {
            object: object(id),
            connections: rate.open,
            opened_per_second: f64::from(rate.opened_tenths) / 10.0,
            bytes_sent_per_second: rate.sent,
            bytes_received_per_second: rate.received,
        })
        .filter(|row| scope.has_known(row.object.as_ref()))
        .collect();
    rows.sort_by(|a, b| {
        let busy = |row: &TopRow| {
            (
                row.bytes_sent_per_second
                    .saturating_add(row.bytes_received_per_second),
                row.connections,
            )
        };
        busy(b).cmp(&busy(a)).then_with(|| a.object.cmp(&b.object))
    });
    rows
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_common::{
        flow::{LiveFlow, TcpFigures, Traffic, TrafficKey},
        sock::SockState,
    };

    use super::*;
    use crate::cli::held::sample::held;

    fn live(pod: u32, service: u32, sent: u64) -> LiveFlow {
        let sock = SockState {
            pod,
            service,
            ..SockState::default()
        };
        LiveFlow {
            sock,
            tcp: TcpFigures {
                bytes_acked: sent,
                ..TcpFigures::default()
            },
            ..LiveFlow::default()
        }
    }

    fn ended(pod: u32, service: u32, opened: u64, bytes_sent: u64) -> (TrafficKey, Traffic) {
        (
            TrafficKey { pod, service },
            Traffic {
                opened,
                bytes_sent,
                ..Traffic::default()
            },
        )
    }

    fn shown(by: By, namespace: Option<&str>) -> String {
        let flows = [live(1, 1, 1_000), live(4, 0, 0)];
        let before = Sample::new(Duration::from_secs(1), &flows, vec![ended(1, 1, 10, 500)]);
        // The connection of shop/client ended; its bytes moved from the list to the totals.
        let flows = [live(4, 0, 0), live(4, 9, 4_096)];
        let totals = vec![ended(1, 1, 13, 3_500), ended(1, 2, 1, 0)];
        let after = Sample::new(Duration::from_secs(3), &flows, totals);
        let scope = Scope::new(namespace.map(Into::into));
        output::list(&rows(&held(), &before, &after, by, &scope), Format::Table).unwrap()
    }

    #[test]
    fn rates_of_pods() {
        assert_eq!(
            shown(By::Pod, None),
            "\
NAME          CONNECTIONS   OPENED/S   SENT/S   RECEIVED/S
id:4                    2        0.0   2.0KiB           0B
shop/client             0        2.0    1000B           0B
"
        );
    }

    #[test]
    fn rates_of_services() {
        assert_eq!(
            shown(By::Service, None),
            "\
NAME       CONNECTIONS   OPENED/S   SENT/S   RECEIVED/S
id:9                 1        0.0   2.0KiB           0B
shop/web             0        1.5    1000B           0B
-                    1        0.0       0B           0B
shop/db              0        0.5       0B           0B
"
        );
        assert_eq!(shown(By::Service, Some("shop")).lines().count(), 3);
    }
}
