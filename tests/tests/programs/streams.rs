//! iperf3: streams of TCP in both directions, and of UDP.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::manifest::Port;
use harness::scene::{Shop, service, vips};
use harness::{Launch, Pod, Program, metrics, require, require_root, server, until};
use serde_json::Value;

use crate::carried::{self, Carried};
use crate::output;

const IPERF: u16 = 5201;
const PATIENCE: Duration = Duration::from_secs(10);

fn start_iperf(pod: &Pod) -> Result<Program> {
    server::start(pod, pod.command("iperf3").arg("-s"), IPERF)
}

fn client(shop: &Shop, args: &[&str]) -> Launch {
    let iperf = shop.client.command("iperf3").args(["-J", "-t", "1", "-c"]);
    iperf.args(args)
}

/// What iperf3 measured, unless it says an error.
fn report(text: &str) -> Result<Value> {
    let report: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
    ensure!(report.get("error").is_none(), "{text}");
    Ok(report)
}

fn measure(shop: &Shop, args: &[&str]) -> Result<Value> {
    report(&output::of(client(shop, args))?)
}

/// The bytes that arrived, of at least a megabyte each second.
fn arrived(report: &Value) -> Result<u64> {
    let sum = &report["end"]["sum_received"];
    let rate = sum["bits_per_second"].as_f64().context("a rate")?;
    assert!(rate > 8e6, "{rate} bits per second");
    sum["bytes"].as_u64().context("a number of bytes")
}

/// A measurement is several connections that have to meet at one server.
#[test]
fn iperf3_in_both_directions() -> Result<()> {
    require_root!();
    require!(harness::require::program("iperf3"));
    let names = ["iperf-1", "iperf-2"];
    let shop = crate::open("iperf", &names)?;
    let ports = [Port::tcp(IPERF)];
    let sticky = service("iperf", 40, &ports).set("spec.sessionAffinity", "ClientIP");
    shop.sell_as(&sticky, "iperf", &ports, &names)?;
    let _servers = [
        start_iperf(shop.backend(names[0]))?,
        start_iperf(shop.backend(names[1]))?,
    ];
    let agent = shop.start()?;
    let [v4, v6] = vips(40, 0).map(|vip| vip.ip().to_string());
    let measurement = client(&shop, &[&v4, "-P", "2"]).start()?;
    // While it runs the kernel lists what it has open: one connection to talk, and one for each stream.
    let asked = format!("{v4}:{IPERF}");
    let listed = || {
        let question = [
            "connection",
            "list",
            "--pod",
            "shop/client",
            "--service",
            "shop/iperf",
        ];
        let list = carried::shown(&shop, &question).unwrap_or_default();
        let rows = list["items"].as_array().cloned().unwrap_or_default();
        rows.iter().filter(|row| row["asked"] == asked.as_str()).count()
    };
    assert!(until(PATIENCE, || listed() == 3), "{} connections", listed());
    assert!(measurement.wait(PATIENCE)?.success(), "{}", measurement.tail());
    let up = arrived(&report(&measurement.log())?)?;
    let down = arrived(&measure(&shop, &[&v6, "-R"])?)?;
    let least = Carried {
        connections: 3 + 2,
        up,
        down,
    };
    // Each address has a memory of its own for clients: they may be at different servers.
    let mut servers = names.to_vec();
    servers.retain(|name| Carried::by(&agent, "iperf", name).is_ok_and(|had| had.connections > 0));
    carried::at_least(&agent, "iperf", &servers, least)?;
    carried::none_lives(&shop)
}

#[test]
fn iperf3_over_udp() -> Result<()> {
    require_root!();
    require!(harness::require::program("iperf3"));
    let shop = crate::open("iperf-udp", &["iperf-1"])?;
    let ports = [Port::tcp(IPERF).named("control"), Port::udp(IPERF).named("data")];
    shop.sell("iperf", 40, &ports, &["iperf-1"])?;
    let _server = start_iperf(shop.backend("iperf-1"))?;
    let agent = shop.start()?;
    let mut bytes = 0;
    for vip in vips(40, 0) {
        for direction in [&[][..], &["-R"]] {
            let rate = ["-u", "-b", "20M", "-l", "1200"];
            let address = vip.ip().to_string();
            let report = measure(&shop, &[&[address.as_str()][..], &rate, direction].concat())?;
            let sum = &report["end"]["sum"];
            let of = |field: &str| {
                sum[field]
                    .as_f64()
                    .with_context(|| format!("{field} in {report}"))
            };
            assert!(of("bytes")? > 1e6, "{sum}");
            assert!(of("lost_percent")? < 5.0, "{sum}");
            bytes += sum["bytes"].as_u64().context("bytes")?;
        }
    }
    carried::at_least(
        &agent,
        "iperf",
        &["iperf-1"],
        Carried {
            connections: 4,
            ..Carried::default()
        },
    )?;
    let text = agent.metrics()?;
    let labels = [("pod", "client"), ("peer_pod", "iperf-1"), ("service", "iperf")];
    let counted = metrics::sum(&text, "mesh_udp_bytes_total", &labels);
    assert!(
        counted >= bytes * 95 / 100,
        "{counted} of {bytes} bytes were counted"
    );
    carried::none_lives(&shop)
}
