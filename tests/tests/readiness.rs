//! What the agent says of itself over HTTP: whether it is ready, what keeps it, and its metrics.

use std::fs;
use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::traffic::ask_tcp;
use harness::{Agent, Market, Response, eventually, market, require_root, until};

const READINESS: u16 = 15_021;
const METRICS: u16 = 15_020;
const SOON: Duration = Duration::from_secs(2);

#[test]
fn says_what_is_pending_until_it_is_ready() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("pending")?;
    // Enough to read that nobody can miss it.
    let service = |number: usize| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s-{number}, namespace: shop, uid: u-{number}}}\n\
             spec: {{clusterIP: 10.97.{}.{}, ports: [{{port: 80}}], selector: {{app: web}}}}\n",
            number / 250,
            number % 250 + 1
        )
    };
    let many: Vec<_> = (0..2_000).map(service).collect();
    market.sandbox.manifests().write("many.yaml", &many.concat())?;
    let agent = market.sandbox.agent().launch()?;
    let (mut pending, mut alive) = (Vec::new(), None);
    let ready = until(Duration::from_secs(20), || {
        let Ok(answer) = agent.ready() else { return false };
        if answer.status == 200 {
            return true;
        }
        pending.push((answer.status, answer.body));
        alive = alive.take().or_else(|| agent.get(READINESS, "/healthz").ok());
        false
    });
    assert!(ready, "{pending:?}\n{}", agent.log());
    let (status, first) = pending.first().context("it was never pending")?;
    assert_eq!(*status, 503);
    assert!(
        first.contains("programs") && first.contains("manifests"),
        "{first}"
    );
    assert!(
        pending.iter().all(|(_, body)| body.contains("programs")),
        "{pending:?}"
    );
    assert_eq!(
        alive.context("it was never asked")?.status,
        200,
        "alive before it is ready"
    );
    // Ready means that all of it is in the kernel: the last of many, whose port nobody serves, refuses.
    let last = "10.97.7.250:80".parse()?;
    let error = market.client.run(|| ask_tcp(last)).expect_err("nobody serves it");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(market.ask(10)?, "web");
    Ok(())
}

#[test]
fn answers_probes() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("probes")?;
    let agent = market.sandbox.agent().start()?;
    for (path, status) in [("/readyz", 200), ("/healthz", 200), ("/", 404), ("/metrics", 404)] {
        assert_eq!(agent.get(READINESS, path)?.status, status, "{path}");
    }
    // The kubelet asks at the node's addresses, in both families.
    for node in ["10.0.0.1", "fd00::1"] {
        let addr = (node.parse::<std::net::IpAddr>()?, READINESS).into();
        let open = market
            .client
            .run(|| std::net::TcpStream::connect_timeout(&addr, SOON).map(drop));
        open.with_context(|| addr.to_string())?;
    }
    let pid = agent.program().pid();
    let status: serde_json::Value = serde_json::from_str(&market.sandbox.admin("/v1/status")?.body)?;
    assert_eq!(status["pid"], pid);
    assert_eq!(status["pending"], serde_json::json!([]));
    Ok(())
}

/// Takes up to 13 seconds: the agent asks the kernel every ten what is attached.
#[test]
fn slow_a_program_that_was_detached_is_reported() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("detached")?;
    let mut agent = market.sandbox.agent().start()?;
    assert_eq!(market.ask(10)?, "web");
    // After the first look, which comes at once.
    sleep(Duration::from_millis(200));
    fs::remove_file(market.sandbox.bpffs().join("mesh/v1/links/mesh_connect4"))?;
    assert!(
        until(SOON, || market.ask(10).is_err()),
        "somebody still translates"
    );
    let started = Instant::now();
    let reported = |agent: &Agent| -> Result<Response> {
        let answer = agent.ready()?;
        ensure!(
            answer.status == 503 || agent.log().contains("links/mesh_connect4"),
            "{answer:?}"
        );
        Ok(answer)
    };
    let answer = eventually(Duration::from_secs(13), || reported(&agent))?;
    println!("reported after {:?}: {answer:?}", started.elapsed());
    if answer.status == 503 {
        assert!(
            answer.body.contains("programs") && answer.body.contains("mesh_connect4"),
            "{answer:?}"
        );
        assert!(
            !answer.body.contains("mesh_connect6"),
            "the others are well: {answer:?}"
        );
    }
    agent.restart()?;
    assert_eq!(market.ask(10)?, "web");
    market.installed().map(drop)
}

/// The value of the first sample with that name and all of these labels.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let fits = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
    };
    text.lines().find(fits)?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn metrics_tell_of_the_traffic() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("metrics")?;
    let agent = market.sandbox.agent().start()?;
    for _ in 0..7 {
        market.ask(10)?;
    }
    market.client.run(|| -> Result<()> {
        let mut open = harness::traffic::Conversation::open(market::address(10, 80))?;
        open.echo(&[b'x'; 1_000])?;
        let labels = [
            "reporter=\"source\"",
            "source_workload_namespace=\"shop\"",
            "destination_service_name=\"web\"",
            "destination_service=\"web.shop.svc.cluster.local\"",
        ];
        let counted = || -> Result<()> {
            let text = agent.metrics()?;
            let value = |name| sample(&text, name, &labels).unwrap_or_default();
            let (opened, closed) = (
                value("istio_tcp_connections_opened_total"),
                value("istio_tcp_connections_closed_total"),
            );
            ensure!(
                (opened, closed) == (8.0, 7.0),
                "opened {opened}, closed {closed}\n{text}"
            );
            let (sent, received) = (
                value("istio_tcp_sent_bytes_total"),
                value("istio_tcp_received_bytes_total"),
            );
            // The client sends 1,000 bytes in all; it gets these back, and eight greetings.
            ensure!(
                received.to_bits() == 1_000.0_f64.to_bits(),
                "received {received}\n{text}"
            );
            ensure!(sent > 1_000.0, "sent {sent}\n{text}");
            Ok(())
        };
        eventually(SOON, counted)
    })?;
    Ok(())
}

#[test]
fn metrics_are_open_metrics() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("openmetrics")?;
    let agent = market.sandbox.agent().start()?;
    market.ask(10)?;
    let answer = agent.get(METRICS, "/metrics")?;
    assert_eq!(answer.status, 200);
    let head = answer.head.to_lowercase();
    assert!(
        head.lines()
            .any(|line| line.starts_with("content-type: application/openmetrics-text")),
        "{head}"
    );
    assert!(answer.body.ends_with("\n# EOF\n"), "{}", answer.body);
    let text = eventually(SOON, || {
        let text = agent.metrics()?;
        ensure!(text.contains("istio_tcp_connections_closed_total{"), "{text}");
        Ok(text)
    })?;
    let verdicts = sample(
        &text,
        "mesh_verdicts_total",
        &["verdict=\"translated\"", "reason=\"connect\""],
    );
    assert_eq!(verdicts, Some(1.0), "{text}");
    for name in [
        "istio_tcp_connections_opened",
        "istio_tcp_connections_closed",
        "istio_tcp_sent_bytes",
        "istio_tcp_received_bytes",
    ] {
        assert!(
            text.contains(&format!("# TYPE {name} counter")),
            "{name} in {text}"
        );
    }
    // No series is there twice.
    let mut series: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series)
        .collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count, "{text}");
    Ok(())
}

#[test]
fn tables_tell_how_full_they_are() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("entries")?;
    let agent = market.sandbox.agent().start()?;
    let text = agent.metrics()?;
    let entries = |map: &str| sample(&text, "mesh_map_entries", &[&format!("map=\"{map}\"")]);
    // Two enrolled pods with two addresses each; one service with two frontends.
    assert_eq!(
        (entries("PODS"), entries("WORKLOADS"), entries("SERVICES")),
        (Some(2.0), Some(4.0), Some(2.0)),
        "{text}"
    );
    Ok(())
}
