//! The life of the agent: killed, ended, restarted, replaced and removed, while traffic goes on.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result, ensure};
use harness::background::under_traffic;
use harness::manifest::Manifest;
use harness::market::{self, address};
use harness::traffic::{Conversation, ask_tcp, ask_udp_connected, ask_udp_unconnected};
use harness::{Agent, Market, Sandbox, eventually, kernel, require_root, until};

const SOON: Duration = Duration::from_secs(3);
/// How long a program that is to fail may take.
const FAILURE: Duration = Duration::from_secs(10);

#[test]
fn a_crash_and_a_restart_go_unnoticed() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("crash")?;
    let mut agent = market.sandbox.agent().start()?;
    let before = market.installed()?;
    let (spread, traffic) = under_traffic(&market, |traffic| {
        traffic.wait(1_500)?;
        agent.kill9()?;
        // Nobody is there but the kernel.
        traffic.wait(1_500)?;
        agent.restart()?;
        traffic.wait(2_000)
    })?;
    assert!(spread.total() >= 5_000, "{spread}");
    spread.assert_even(&["web-1", "web-2"]);
    let counts = traffic.counts();
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    assert_eq!(market.installed()?, before, "all was adopted, nothing added");
    assert_eq!(drift(&market.sandbox)?, "[]");
    Ok(())
}

#[test]
fn sigterm_ends_the_agent_and_nothing_else() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("sigterm")?;
    let agent = market.sandbox.agent().start()?;
    let before = market.installed()?;
    under_traffic(&market, |traffic| {
        traffic.wait(200)?;
        let status = agent.terminate()?;
        ensure!(status.code() == Some(0), "{status}\n{}", agent.log());
        traffic.wait(500)
    })?;
    assert_eq!(market.installed()?, before);
    Ok(())
}

/// What the agent says is wrong in the tables, as JSON.
fn drift(sandbox: &Sandbox) -> Result<String> {
    let answer = sandbox.admin("/v1/diff")?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.body)
}

/// How many services the tests have that kill the agent at any point.
const MANY: u8 = 200;

/// Two backends and [`MANY`] services that they serve; `app` is told by whether the number is even.
fn many(test_name: &str) -> Result<(Market, [market::Backend; 2])> {
    let market = Market::open(test_name, true)?;
    let backends = [
        market.backend("even", "even", 11)?,
        market.backend("odd", "odd", 12)?,
    ];
    (1..=MANY).try_for_each(|number| market.apply(&numbered(number, false)))?;
    Ok((market, backends))
}

/// A service with a number, served by `even` or `odd`, or the other way round.
fn numbered(number: u8, swapped: bool) -> Manifest {
    let app = server(number, swapped);
    market::service_of(app, &format!("s-{number}"), number)
}

fn server(number: u8, swapped: bool) -> &'static str {
    if number.is_multiple_of(2) == swapped {
        "odd"
    } else {
        "even"
    }
}

/// Every service is answered by whom it should be, the tables hold nothing else, and nothing is there twice.
fn assert_right(market: &Market, swapped: bool) -> Result<()> {
    market.client.run(|| {
        (1..=MANY).try_for_each(|number| {
            let name = ask_tcp(address(number, 80))
                .with_context(|| format!("service {number}"))?
                .name;
            let expected = server(number, swapped);
            let status = || market.sandbox.admin("/v1/status").map(|answer| answer.body);
            ensure!(
                name == expected,
                "service {number}: {name} answers instead of {expected}; {:?}",
                status()
            );
            Ok(())
        })
    })?;
    let drift = drift(&market.sandbox)?;
    ensure!(drift == "[]", "{drift}");
    let frontends = kernel::entries(&market.sandbox.bpffs().join("mesh/v1/maps/SERVICES"))?;
    ensure!(frontends == usize::from(MANY), "{frontends} frontends");
    market.installed().map(drop)
}

/// Kills agents that find nothing, after each of the delays; the next one has to find its way.
fn killed_while_it_loads(test_name: &str, delays: [u64; 3]) -> Result<()> {
    let (market, _backends) = many(test_name)?;
    let mut expected = None;
    for delay in delays {
        let agent = market.sandbox.agent().launch()?;
        thread::sleep(Duration::from_millis(delay));
        agent.kill9()?;
        let agent = market
            .sandbox
            .agent()
            .start()
            .with_context(|| format!("after {delay} ms"))?;
        assert_right(&market, false).with_context(|| format!("killed after {delay} ms"))?;
        let pins: BTreeSet<_> = market.sandbox.census()?.pins.into_iter().collect();
        let expected = expected.get_or_insert_with(|| pins.clone());
        ensure!(
            *expected == pins,
            "killed after {delay} ms: {:?} differ\n{}",
            expected.symmetric_difference(&pins).collect::<Vec<_>>(),
            agent.log()
        );
        agent.kill9()?;
        let cleanup = market.sandbox.cleanup()?;
        ensure!(cleanup.status.success(), "{cleanup:?}");
    }
    // Nobody disturbed this one.
    let _agent = market.sandbox.agent().start()?;
    let pins = market.sandbox.census()?.pins.into_iter().collect();
    assert_eq!(Some(pins), expected);
    Ok(())
}

#[test]
fn killed_while_it_starts() -> Result<()> {
    require_root!();
    killed_while_it_loads("kill-start", [0, 10, 20])
}

#[test]
fn killed_while_it_makes_its_maps() -> Result<()> {
    require_root!();
    killed_while_it_loads("kill-maps", [30, 40, 50])
}

#[test]
fn killed_while_it_loads_its_programs() -> Result<()> {
    require_root!();
    killed_while_it_loads("kill-programs", [60, 70, 80])
}

#[test]
fn killed_while_it_reads_the_manifests() -> Result<()> {
    require_root!();
    killed_while_it_loads("kill-manifests", [90, 105, 120])
}

#[test]
fn killed_while_it_fills_the_tables() -> Result<()> {
    require_root!();
    killed_while_it_loads("kill-tables", [130, 145, 160])
}

#[test]
fn killed_while_it_attaches() -> Result<()> {
    require_root!();
    killed_while_it_loads("kill-attach", [175, 200, 225])
}

#[test]
fn what_a_killed_first_agent_wrote_is_known_to_the_next() -> Result<()> {
    const COUNT: usize = 2_000;
    require_root!();
    let (market, _web) = Market::with_web("first")?;
    let service = |number: usize| {
        let (high, low) = (number / 250, number % 250 + 1);
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s-{number}, namespace: shop, uid: u-{number}}}\n\
             spec: {{clusterIP: 10.97.{high}.{low}, ports: [{{port: 80}}], selector: {{app: web}}}}\n"
        )
    };
    let manifests = market.sandbox.manifests();
    manifests.write("many.yaml", &(0..COUNT).map(service).collect::<String>())?;
    let agent = market.sandbox.agent().launch()?;
    let table = market.sandbox.bpffs().join("mesh/v1/maps/SERVICES");
    let frontends = || kernel::entries(&table);
    assert!(
        until(FAILURE, || frontends().is_ok_and(|count| count > 0)),
        "{}",
        agent.log()
    );
    agent.kill9()?;
    let written = frontends()?;
    assert!(written < COUNT, "killed too late: {written} frontends");
    // Nobody wants these any more.
    manifests.remove("many.yaml")?;
    let _agent = market.sandbox.agent().start()?;
    market.ask(10)?;
    assert_eq!(frontends()?, 2, "there were {written}");
    assert_eq!(drift(&market.sandbox)?, "[]");
    Ok(())
}

#[test]
fn a_link_that_is_missing_is_made_by_the_next() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("missing")?;
    let mut agent = market.sandbox.agent().start()?;
    let before = market.sandbox.census()?.pins;
    let dir = market.sandbox.bpffs().join("mesh/v1/links");
    // One at a time, as if the agent had been killed before it got there.
    for kind in [
        "mesh_connect4",
        "mesh_tcp",
        "mesh_list",
        "mesh_from_pod",
        "mesh_to_pod",
        "mesh_inbound",
    ] {
        let prefix = dir.join(kind).display().to_string();
        let link = before
            .iter()
            .find(|pin| pin.display().to_string().starts_with(&prefix));
        let link = link.with_context(|| format!("no link of {kind}"))?;
        agent.kill9()?;
        fs::remove_file(link)?;
        agent.restart()?;
        let complete = until(SOON, || {
            market.sandbox.census().is_ok_and(|census| census.pins == before)
        });
        assert!(
            complete,
            "{} is missing; {:?}",
            link.display(),
            market.sandbox.census()?.pins
        );
    }
    market.installed()?;
    market.ask(10)?;
    Ok(())
}

#[test]
fn killed_again_and_again_while_services_change() -> Result<()> {
    require_root!();
    let (market, _backends) = many("kill-change")?;
    let agent = market.sandbox.agent().start()?;
    let before = market.installed()?;
    agent.kill9()?;
    let mut swapped = false;
    for delay in (0..13).map(|step| step * 33) {
        swapped = !swapped;
        // Half of it is found at the start, half of it comes meanwhile.
        (1..=MANY / 2).try_for_each(|number| market.apply(&numbered(number, swapped)))?;
        let agent = market.sandbox.agent().launch()?;
        let started = Instant::now();
        (MANY / 2 + 1..=MANY).try_for_each(|number| market.apply(&numbered(number, swapped)))?;
        thread::sleep(Duration::from_millis(delay).saturating_sub(started.elapsed()));
        agent.kill9()?;
    }
    let _agent = market.sandbox.agent().start()?;
    assert_right(&market, swapped)?;
    assert_eq!(market.installed()?, before);
    Ok(())
}

#[test]
fn changes_made_while_it_was_away_are_there_when_it_is_ready() -> Result<()> {
    require_root!();
    let market = Market::open("away", true)?;
    let apps = [
        ("kept", 11),
        ("gone", 12),
        ("moved", 13),
        ("left", 14),
        ("right", 15),
    ];
    let mut backends = Vec::new();
    for (number, (app, host)) in (10..).step_by(10).zip(apps) {
        backends.push(market.backend(app, app, host)?);
        market.apply(&market::service(app, number))?;
    }
    let without_mesh = market.ask(20).expect_err("nobody translates yet").kind();
    let mut agent = market.sandbox.agent().start()?;
    for (number, (app, _)) in (10..).step_by(10).zip(apps) {
        assert_eq!(market.ask(number)?, app);
    }
    agent.kill9()?;

    market.delete(&market::service("gone", 20))?;
    backends[2].pod.delete()?;
    let _moved = market.backend("moved", "moved", 23)?;
    market.apply(&market::pod(&backends[3].pod, "right"))?;
    market.apply(&market::pod(&backends[4].pod, "left"))?;
    agent.restart()?;
    assert_eq!(market.ask(10)?, "kept");
    assert_eq!(
        market.ask(20).expect_err("its service is gone").kind(),
        without_mesh
    );
    assert_eq!(market.ask(30)?, "moved");
    assert_eq!([market.ask(40)?, market.ask(50)?], ["right", "left"]);
    assert_eq!(drift(&market.sandbox)?, "[]");
    Ok(())
}

#[test]
fn a_service_created_right_after_a_restart_works_at_once() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("fresh")?;
    let mut agent = market.sandbox.agent().start()?;
    agent.kill9()?;
    agent.restart()?;
    // One with backends that are known, one with a new one.
    market.apply(&market::service_of("web", "known", 20))?;
    let _fresh = market.backend("fresh", "fresh", 30)?;
    market.apply(&market::service_of("fresh", "fresh", 30))?;
    let answers = eventually(SOON, || Ok([market.ask(20)?, market.ask(30)?]));
    let answers: io::Result<[String; 2]> = answers;
    assert_eq!(answers.with_context(|| agent.log())?[1], "fresh");
    Ok(())
}

#[test]
fn an_address_passed_on_while_it_was_away_has_its_new_owner() -> Result<()> {
    require_root!();
    let market = Market::open("heir", true)?;
    let _backends = [
        market.backend("first", "first", 11)?,
        market.backend("second", "second", 12)?,
    ];
    market.apply(&market::service_of("first", "owner", 10))?;
    let mut agent = market.sandbox.agent().start()?;
    assert_eq!(market.ask(10)?, "first");
    agent.kill9()?;
    market.delete(&market::service_of("first", "owner", 10))?;
    market.apply(&market::service_of("second", "heir", 10))?;
    agent.restart()?;
    assert_eq!(market.ask(10)?, "second");
    Ok(())
}

#[test]
fn cleanup_removes_all_and_leaves_connections_alone() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("cleanup")?;
    let without_mesh = market.ask(10).expect_err("nobody translates yet").kind();
    let agent = market.sandbox.agent().start()?;
    let mut conversation = market.client.run(|| Conversation::open(address(10, 80)))?;
    agent.terminate()?;
    let before = market.sandbox.census()?;
    assert!(!before.pins.is_empty() && !before.files.is_empty());

    let cleanup = market.sandbox.cleanup()?;
    let said = String::from_utf8_lossy(&cleanup.stdout).into_owned();
    assert_eq!(cleanup.status.code(), Some(0), "{cleanup:?}");
    for path in before.pins.iter().chain(&before.files) {
        assert!(
            said.contains(&path.display().to_string()),
            "{path:?} is missing in {said}"
        );
    }
    let after = market.sandbox.census()?;
    assert!(after.pins.is_empty() && after.files.is_empty(), "{after:?}");
    assert!(
        !market.sandbox.bpffs().join("mesh").exists(),
        "the directory stays"
    );
    market::attached(market.sandbox.cgroup(), 0)?;
    conversation.echo(b"we are not done")?;
    assert_eq!(
        market.ask(10).expect_err("nobody translates any more").kind(),
        without_mesh
    );

    let again = market.sandbox.cleanup()?;
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(said.contains("nothing to remove"), "{again:?}");
    let _agent = market.sandbox.agent().start()?;
    market.ask(10)?;
    conversation.echo(b"and again")?;
    Ok(())
}

#[test]
fn cleanup_is_refused_while_an_agent_runs() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("refused")?;
    let agent = market.sandbox.agent().start()?;
    let before = market.installed()?;
    let cleanup = market.sandbox.cleanup()?;
    assert_eq!(cleanup.status.code(), Some(1), "{cleanup:?}");
    let said = String::from_utf8_lossy(&cleanup.stderr).into_owned();
    assert!(said.contains(&agent.program().pid().to_string()), "{said}");
    assert_eq!(market.installed()?, before);
    market.ask(10)?;
    Ok(())
}

/// Waits for an agent that cannot run; what it said.
fn failure(agent: &Agent) -> Result<String> {
    let status = agent.program().wait(FAILURE)?;
    ensure!(status.code() == Some(1), "{status}\n{}", agent.log());
    Ok(agent.log())
}

#[test]
fn a_second_agent_is_refused() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("second")?;
    let agent = market.sandbox.agent().start()?;
    let before = market.installed()?;
    under_traffic(&market, |traffic| {
        traffic.wait(100)?;
        let said = failure(&market.sandbox.agent().launch()?)?;
        ensure!(said.contains(&agent.program().pid().to_string()), "{said}");
        traffic.wait(100)
    })?;
    assert!(agent.program().alive());
    assert_eq!(agent.ready()?.status, 200);
    assert_eq!(market.installed()?, before);
    // It still listens to its own admin socket, and to changes.
    assert_eq!(drift(&market.sandbox)?, "[]");
    market.apply(&market::service_of("web", "fresh", 60))?;
    eventually(SOON, || market.ask(60))?;
    Ok(())
}

#[test]
fn agents_side_by_side_do_not_meet() -> Result<()> {
    require_root!();
    // The same addresses and numbers everywhere.
    let names = ["red", "green", "blue"];
    let mut markets = Vec::new();
    for name in names {
        let market = Market::open(name, true)?;
        let backend = market.backend(name, "web", 11)?;
        market.apply(&market::service("web", 10))?;
        markets.push((market, backend));
    }
    let agents: Vec<Agent> = markets
        .iter()
        .map(|(market, _)| market.sandbox.agent().start())
        .collect::<Result<_>>()?;
    let asked = || -> io::Result<Vec<String>> { markets.iter().map(|(market, _)| market.ask(10)).collect() };
    assert_eq!(asked()?, names);
    let ids = markets
        .iter()
        .map(|(market, _)| market.installed())
        .collect::<Result<Vec<_>>>()?;
    for (name, id) in ids[0].iter().filter(|(_, id)| **id != 0) {
        assert!(ids[1][name] != *id && ids[2][name] != *id, "{}", name.display());
    }
    agents[0].kill9()?;
    agents[1].terminate()?;
    let cleanup = markets[1].0.sandbox.cleanup()?;
    assert!(cleanup.status.success(), "{cleanup:?}");
    market::attached(markets[1].0.sandbox.cgroup(), 0)?;
    assert_eq!(markets[0].0.ask(10)?, "red");
    markets[1].0.ask(10).expect_err("nobody translates any more");
    assert_eq!(markets[2].0.ask(10)?, "blue");
    assert_eq!(agents[2].ready()?.status, 200);
    assert_eq!(markets[2].0.installed()?, ids[2]);
    Ok(())
}

#[test]
fn a_map_of_another_size_is_refused_and_left_alone() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("layout")?;
    let sized = || market.sandbox.agent().arg("--map-size").arg("LB_TABLE=65536");
    let agent = sized().start()?;
    let before = market.installed()?;
    agent.kill9()?;
    under_traffic(&market, |traffic| {
        traffic.wait(100)?;
        let said = failure(&market.sandbox.agent().launch()?)?;
        let pin = market
            .sandbox
            .bpffs()
            .join("mesh/v1/maps/LB_TABLE")
            .display()
            .to_string();
        for word in [&pin, "65536", "1048576"] {
            ensure!(said.contains(word), "{word} is missing in {said}");
        }
        traffic.wait(100)
    })?;
    assert_eq!(market.installed()?, before);
    let _agent = sized().start()?;
    assert_eq!(market.installed()?, before);
    Ok(())
}

#[test]
fn the_tables_of_an_older_version_are_not_touched() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_web("older")?;
    let sized = market.sandbox.agent().arg("--map-size").arg("LB_TABLE=65536");
    sized.start()?.terminate()?;
    let mesh = market.sandbox.bpffs().join("mesh");
    // Its programs run on: the upgrade is not to leave a gap.
    fs::rename(mesh.join("v1"), mesh.join("v0"))?;
    let old = market::pins(&market.sandbox)?;
    let agent = market.sandbox.agent().start()?;
    market.ask(10)?;
    assert_eq!(drift(&market.sandbox)?, "[]");
    let pins = market::pins(&market.sandbox)?;
    assert_eq!(pins.len(), 2 * old.len());
    for (name, id) in &old {
        assert_eq!(pins.get(name), Some(id), "{}", name.display());
    }
    let size = |version| kernel::map(&mesh.join(version).join("maps/LB_TABLE")).map(|map| map.max_entries);
    assert_eq!((size("v0")?, size("v1")?), (65_536, 1_048_576));
    agent.terminate()?;
    let cleanup = market.sandbox.cleanup()?;
    assert!(cleanup.status.success(), "{cleanup:?}");
    assert!(market.sandbox.census()?.pins.is_empty());
    Ok(())
}

#[test]
fn another_cgroup_is_attached_anew() -> Result<()> {
    require_root!();
    let (market, web) = Market::with_web("cgroup")?;
    let other = market.pod("other", &["10.0.1.2"])?;
    market.apply(&market::pod(&other, "other"))?;
    let small = market.client.place().cgroup().context("a cgroup")?;
    let agent = market.sandbox.agent().arg("--cgroup").arg(small).start()?;
    market.ask(10)?;
    market::ask(&other, 10).expect_err("out of the cgroup");
    let before = market::pins(&market.sandbox)?;
    agent.terminate()?;

    let agent = market.sandbox.agent().start()?;
    market.ask(10)?;
    market::ask(&other, 10)?;
    let after = market.installed()?;
    assert!(after.keys().eq(before.keys()));
    let cgroup = std::os::unix::fs::MetadataExt::ino(&fs::metadata(market.sandbox.cgroup())?);
    for (name, id) in &after {
        let pin = market.sandbox.bpffs().join(name);
        let is_map = market::is_map(name);
        assert_eq!(before[name] == *id, is_map || *id == 0, "{}", name.display());
        if !is_map && *id != 0 {
            assert_eq!(kernel::link(&pin)?.cgroup, Some(cgroup), "{}", name.display());
        }
    }
    market::attached(small, 0).context("the old links are there")?;
    drop((agent, web));
    Ok(())
}

/// What a process sees of the network: what it dials, who answers, and how what nobody answers fails.
fn seen(market: &Market) -> Result<Vec<String>> {
    let kind = |result: io::Result<harness::traffic::Answer>| match result {
        Ok(answer) => format!(
            "{} as {}, {}",
            answer.name,
            answer.peer_seen,
            answer.client_seen.ip().to_canonical()
        ),
        Err(error) => format!("{:?}", error.kind()),
    };
    let udp = |addr: &str| -> Result<[String; 2]> {
        let socket = UdpSocket::bind("10.0.1.1:0")?;
        let unconnected = ask_udp_unconnected(&socket, addr.parse()?);
        let socket = UdpSocket::bind("10.0.1.1:0")?;
        socket.connect(addr)?;
        Ok([kind(unconnected), kind(ask_udp_connected(&socket))])
    };
    let look = || -> Result<Vec<String>> {
        let mut seen = Vec::new();
        for addr in [
            "10.96.0.10:80",
            "10.96.0.20:80",
            "10.0.1.11:8080",
            "10.0.1.11:9",
            "[fd00::1:11]:8080",
        ] {
            seen.push(format!("{addr}: {}", kind(ask_tcp(addr.parse()?))));
        }
        let [unconnected, connected] = udp("10.0.1.11:5353")?;
        seen.extend([unconnected, connected]);
        let socket = UdpSocket::bind("10.0.1.1:0")?;
        let connected = socket.connect(address(10, 53)).and_then(|()| socket.peer_addr());
        seen.push(format!("{:?}", connected.map_err(|error| error.kind())));
        Ok(seen)
    };
    let mut all = market.client.run(look)?;
    // On the node's own network, in the mesh's cgroup.
    for addr in ["10.96.0.10:80", "10.0.1.11:8080"] {
        let addr = addr.parse()?;
        all.push(kind(market.sandbox.outside_pod().run(|| ask_tcp(addr))));
    }
    Ok(all)
}

#[test]
fn with_nothing_enrolled_nothing_changes() -> Result<()> {
    require_root!();
    let market = Market::open("nobody", false)?;
    let _backend = market.backend("web", "web", 11)?;
    market
        .sandbox
        .manifests()
        .apply_all([&market::service("web", 10), &market::service("nobody", 20)])?;
    let before = seen(&market)?;
    assert!(
        before[0].ends_with(&format!("{:?}", ErrorKind::HostUnreachable)),
        "{before:?}"
    );
    assert!(
        before[2].contains("web as 10.0.1.11:8080, 10.0.1.1"),
        "{before:?}"
    );
    let agent = market.sandbox.agent().start()?;
    assert_eq!(seen(&market)?, before);
    assert_eq!(
        kernel::entries(&market.sandbox.bpffs().join("mesh/v1/maps/PODS"))?,
        0
    );
    agent.terminate()?;
    assert_eq!(seen(&market)?, before);
    Ok(())
}
