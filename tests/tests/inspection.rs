//! What `meshctl` and the metrics say of a node: by labels, over UDP, in the names of workloads, and after the
//! agent is gone.

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::manifest::Manifest;
use harness::traffic::ask_udp_unconnected;
use harness::{Market, Sandbox, eventually, market, require_root};
use mesh_common::abi::{MAPS, MapKind, map};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(5);

/// What a command prints; an error where it fails.
fn shown(sandbox: &Sandbox, line: &str) -> Result<String> {
    let output = sandbox.meshctl(line.split(' '))?;
    ensure!(output.status.success(), "{line}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// What it complains about, and its exit code.
fn refused(sandbox: &Sandbox, line: &str) -> Result<(Option<i32>, String)> {
    let output = sandbox.meshctl(line.split(' '))?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

/// The pod `web` as a Deployment of that name would have made it.
fn of_deployment(pod: Manifest) -> Manifest {
    let owner = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "front-5d9c7b8f6", "uid": "rs", "controller": true,
    }]);
    pod.label("pod-template-hash", "5d9c7b8f6")
        .label("track", "canary")
        .set("metadata.ownerReferences", owner)
}

/// The market of service 10, `web`, whose one pod belongs to the Deployment `front`.
fn front(test_name: &str) -> Result<(Market, market::Backend)> {
    let market = Market::open(test_name, true)?;
    let web = market.backend("web", "web", 11)?;
    market.apply(&of_deployment(market::pod(&web.pod, "web")))?;
    market.apply(&market::service("web", 10).label("team", "shop"))?;
    Ok((market, web))
}

#[test]
fn lists_are_selected_by_labels_with_and_without_an_agent() -> Result<()> {
    require_root!();
    let (market, _web) = front("selector")?;
    let agent = market.sandbox.agent().start()?;
    let sandbox = &market.sandbox;
    let check = || -> Result<()> {
        for (line, expected) in [
            ("pod list -o name -l app=web", "pod/shop/web\n"),
            ("pod list -o name -l !app", "pod/shop/client\n"),
            ("pod list -o name -l app,track!=canary", ""),
            ("service list -o name -l team=shop", "service/shop/web\n"),
            ("service list -o name -l app=web", ""),
            (
                "workload list -o name -l track",
                "workload/10.0.1.11\nworkload/fd00::1:11\n",
            ),
        ] {
            assert_eq!(shown(sandbox, line)?, expected, "{line}");
        }
        assert!(!shown(sandbox, "backend list -o name -l app=web")?.is_empty());
        assert_eq!(shown(sandbox, "backend list -o name -l app=db")?, "");
        Ok(())
    };
    eventually(SOON, || {
        ensure!(shown(sandbox, "pod list -o name")?.lines().count() == 2);
        ensure!(!shown(sandbox, "backend list -o name -l app=web")?.is_empty());
        Ok(())
    })?;
    check()?;
    let (exit, said) = refused(sandbox, "pod list -l app=")?;
    assert_eq!((exit, said.as_str()), (Some(0), ""), "an empty value");
    let (exit, said) = refused(sandbox, "pod list -l app=we$b")?;
    assert!(
        exit == Some(2) && said.contains("can't be the value of a label"),
        "{said}"
    );
    agent.kill9()?;
    check()?;
    fs::remove_file(sandbox.run_dir().join("names.json"))?;
    let (exit, said) = refused(sandbox, "pod list -l app=web")?;
    assert!(exit == Some(1) && said.contains("no labels are noted"), "{said}");
    Ok(())
}

#[test]
fn a_change_of_labels_is_seen() -> Result<()> {
    require_root!();
    let (market, web) = front("relabel")?;
    let _agent = market.sandbox.agent().start()?;
    let selected = |count: usize| {
        eventually(SOON, || {
            let names = shown(&market.sandbox, "pod list -o name -l colour=red")?;
            ensure!(names.lines().count() == count, "{names}");
            Ok(())
        })
    };
    selected(0)?;
    market.apply(&of_deployment(market::pod(&web.pod, "web")).label("colour", "red"))?;
    selected(1)
}

#[test]
fn every_map_with_entries_is_counted_and_dumped() -> Result<()> {
    require_root!();
    let (market, _web) = front("maps")?;
    let sandbox = &market.sandbox;
    let _agent = sandbox.agent().start()?;
    assert_eq!(market.ask(10)?, "web");
    let list = shown(sandbox, "map list")?;
    let other = [MapKind::SkStorage, MapKind::SockHash, MapKind::RingBuf];
    for spec in MAPS.iter().filter(|spec| !other.contains(&spec.kind)) {
        let line = format!("map dump {} -o json", spec.name);
        let dump: Value = serde_json::from_str(&shown(sandbox, &line)?)?;
        ensure!(dump["items"].is_array(), "{line}: {dump}");
        let mut row = list.lines().filter_map(|row| {
            let mut cells = row.split_whitespace();
            (cells.next() == Some(spec.name)).then(|| cells.nth(1))
        });
        let entries = row.next().flatten();
        let counted = entries.is_some_and(|cell| cell.parse::<usize>().is_ok());
        // Of these there is nothing to count: one is one entry, the other has all it can have.
        let fixed = [map::CONFIG, map::COUNTERS].contains(&spec.name);
        ensure!(counted != fixed, "{}: {entries:?} in {list}", spec.name);
    }
    Ok(())
}

#[test]
fn metrics_name_the_workload() -> Result<()> {
    require_root!();
    let (market, _web) = front("workload")?;
    let agent = market.sandbox.agent().start()?;
    assert_eq!(market.ask(10)?, "web");
    let labels = [
        "source_workload=\"client\"",
        "destination_workload=\"front\"",
        "destination_app=\"web\"",
        "destination_canonical_service=\"web\"",
        "destination_canonical_revision=\"latest\"",
    ];
    eventually(SOON, || {
        let text = agent.metrics()?;
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("istio_tcp_connections_closed_total{"));
        ensure!(
            lines.any(|line| labels.iter().all(|label| line.contains(label))),
            "{text}"
        );
        Ok(())
    })
}

/// The records of `meshctl flows`.
fn flows(sandbox: &Sandbox) -> Result<Vec<Value>> {
    let lines = shown(sandbox, "flows -o json --last 100")?;
    lines
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

#[test]
fn udp_flows_are_told_by_their_packets() -> Result<()> {
    require_root!();
    let (market, _web) = front("udp-flows")?;
    let agent = market.sandbox.agent().start()?;
    let socket = market.client.run(|| UdpSocket::bind("0.0.0.0:0"))?;
    socket.set_read_timeout(Some(SOON))?;
    let answer = ask_udp_unconnected(&socket, market::address(10, 53))?;
    assert_eq!(answer.name, "web");
    let port = socket.local_addr()?.port();
    let find = |reporter: &str| -> Result<Value> {
        let flows = flows(&market.sandbox)?;
        let ours = |flow: &&Value| flow["protocol"] == "UDP" && flow["reporter"] == reporter;
        let found = flows.iter().find(ours).cloned();
        found.with_context(|| format!("no UDP flow of a {reporter} in {flows:?}"))
    };
    let flow = eventually(SOON, || find("source"))?;
    assert_eq!(
        (&flow["event"], &flow["observedBy"]),
        (&json!("opened"), &json!("packets")),
        "{flow}"
    );
    assert_eq!(flow["source"]["pod"], "client", "{flow}");
    assert_eq!(flow["source"]["attestedBy"], "interface", "{flow}");
    assert_eq!(flow["source"]["address"], format!("10.0.1.1:{port}"), "{flow}");
    assert_eq!(flow["destination"]["pod"], "web", "{flow}");
    assert_eq!(flow["service"]["name"], "web", "{flow}");
    let accepted = find("destination")?;
    assert_eq!(accepted["destination"]["pod"], "web", "{accepted}");

    let list = |line: &str| -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&shown(&market.sandbox, line)?)?;
        let items = list["items"].as_array().context("items")?;
        Ok(items
            .iter()
            .filter(|item| item["protocol"] == "UDP")
            .cloned()
            .collect())
    };
    let check = || -> Result<()> {
        let both = list("connection list -o json")?;
        ensure!(both.len() == 2, "{both:?}");
        let of_client = list("connection list -o json -l !app")?;
        let [row] = &of_client[..] else {
            anyhow::bail!("{of_client:?}");
        };
        assert_eq!(
            (&row["direction"], &row["observedBy"]),
            (&json!("out"), &json!("packets")),
            "{row}"
        );
        assert_eq!(
            (&row["datagramsSent"], &row["datagramsReceived"]),
            (&json!(1), &json!(1)),
            "{row}"
        );
        assert_eq!(
            (&row["service"]["name"], &row["peer"]["name"]),
            (&json!("web"), &json!("web")),
            "{row}"
        );
        let table = shown(&market.sandbox, "connection list")?;
        assert!(table.contains("UDP (packets)"), "{table}");
        Ok(())
    };
    check()?;
    agent.kill9()?;
    check()
}

#[test]
fn two_agents_do_not_share_a_bpf_filesystem() -> Result<()> {
    require_root!();
    let (market, _web) = front("two-agents")?;
    let first = market.sandbox.agent().start()?;
    let other = market.sandbox.run_dir().join("other");
    let second = market.sandbox.agent().arg("--run-dir").arg(&other).launch()?;
    let status = second.program().wait(SOON)?;
    let said = second.log();
    let pins = market.sandbox.bpffs().join("mesh");
    assert_eq!(status.code(), Some(1), "{said}");
    for word in [
        format!("another mesh-agent (pid {})", first.program().pid()),
        format!("keeps its tables under {}", pins.display()),
        "--bpffs".to_owned(),
    ] {
        assert!(said.contains(&word), "{word:?} is missing in {said}");
    }
    let cleanup = market.sandbox.cleanup()?;
    assert_eq!(cleanup.status.code(), Some(1), "{cleanup:?}");
    assert_eq!(market.ask(10)?, "web", "the first was not disturbed");
    first.kill9()?;
    let _third = market.sandbox.agent().arg("--run-dir").arg(&other).start()?;
    assert_eq!(market.ask(10)?, "web");
    Ok(())
}

#[test]
fn without_a_note_the_links_tell_the_cgroup() -> Result<()> {
    require_root!();
    let (market, _web) = front("unnoted")?;
    let _agent = market.sandbox.agent().start()?;
    let cgroup = market.sandbox.cgroup().display().to_string();
    let noted = eventually(SOON, || shown(&market.sandbox, "status"))?;
    assert!(noted.contains(&format!(" {cgroup}\n")), "{noted}");
    fs::remove_file(market.sandbox.run_dir().join("names.json"))?;
    let status = shown(&market.sandbox, "status")?;
    let line = format!(" {cgroup} (the agent left no note: told by its links)\n");
    assert!(
        status.contains(&line) && status.contains("9 of 9 attached"),
        "{status}"
    );
    let check = shown(&market.sandbox, "check")?;
    assert!(check.contains("told by its links"), "{check}");
    Ok(())
}

#[test]
fn links_of_interfaces_have_names() -> Result<()> {
    require_root!();
    let (market, _web) = front("links")?;
    let _agent = market.sandbox.agent().start()?;
    eventually(SOON, || {
        let links = shown(&market.sandbox, "link list")?;
        ensure!(
            links.contains(" tcx_ingress ") && links.contains(" tcx_egress "),
            "{links}"
        );
        ensure!(!links.contains("(ingress)"), "{links}");
        Ok(())
    })
}

/// Takes a little more than a minute: so long a flow may be silent before it is over.
#[test]
fn slow_a_silent_udp_flow_is_over() -> Result<()> {
    require_root!();
    let (market, _web) = front("udp-idle")?;
    let _agent = market.sandbox.agent().start()?;
    let socket = market.client.run(|| UdpSocket::bind("0.0.0.0:0"))?;
    socket.set_read_timeout(Some(SOON))?;
    ask_udp_unconnected(&socket, market::address(10, 53))?;
    let source = format!("10.0.1.1:{}", socket.local_addr()?.port());
    let over = eventually(Duration::from_secs(70), || {
        let flows = flows(&market.sandbox)?;
        let ours = |flow: &&Value| flow["source"]["address"] == source && flow["event"] == "closed";
        let found = flows
            .iter()
            .find(|flow| ours(flow) && flow["reporter"] == "source")
            .cloned();
        found.with_context(|| format!("{flows:?}"))
    })?;
    assert_eq!(over["reason"], "idle", "{over}");
    assert_eq!(
        (&over["datagramsSent"], &over["datagramsReceived"]),
        (&json!(1), &json!(1)),
        "{over}"
    );
    assert!(over["bytesReceived"].as_u64() > Some(0), "{over}");
    let rows = shown(&market.sandbox, "connection list")?;
    assert!(!rows.contains("UDP"), "{rows}");
    Ok(())
}
