//! The agent follows an API server: what is there, what changes, and everything that may go wrong on the way.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::apiserver::{Denial, Gone};
use harness::cluster::{Backend, Cluster, RESOURCES, metric};
use harness::crowd::Crowd;
use harness::manifest::{self, Manifest};
use harness::{Agent, eventually, market, require_root, until};
use mesh_common::names::{NETNS_ANNOTATION, dataplane, fail_mode};
use serde_json::json;

/// A change, from the server to the kernel.
const SOON: Duration = Duration::from_secs(5);
/// A request that has to be repeated a few times, with longer and longer pauses.
const LATER: Duration = Duration::from_secs(45);

/// A cluster with the service `web`, number 10, that one pod serves.
fn web(test_name: &str) -> Result<(Cluster, Backend)> {
    let cluster = Cluster::open(test_name)?;
    let web = cluster.backend("web", 11)?;
    cluster.sell("web", 10, &[&web])?;
    Ok((cluster, web))
}

/// Waits until somebody answers for a service.
fn answered_by(cluster: &Cluster, service: u8, name: &str, within: Duration) -> Result<()> {
    let mut answer = None;
    let done = until(within, || {
        let now = cluster.ask(service);
        let right = now.as_ref().is_ok_and(|it| it == name);
        answer = Some(now);
        right
    });
    ensure!(done, "service {service}: {answer:?}, not {name}");
    Ok(())
}

fn refused(cluster: &Cluster, service: u8) -> bool {
    until(SOON, || {
        cluster
            .ask(service)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    })
}

/// Waits until the metric of a resource has that value.
fn becomes(agent: &Agent, series: &str, value: f64) -> Result<()> {
    eventually(LATER, || {
        let now = metric(agent, series)?;
        ensure!((now - value).abs() < 0.5, "{series} is {now}");
        Ok(())
    })
}

/// Waits until the agent says this of its source.
fn trouble(cluster: &Cluster, word: &str) -> Result<String> {
    eventually(LATER, || {
        let status = cluster.status()?;
        let trouble = status["sourceTrouble"].as_str().context("no trouble")?;
        ensure!(trouble.contains(word), "{trouble}");
        Ok(trouble.to_owned())
    })
}

fn no_trouble(cluster: &Cluster) -> Result<()> {
    eventually(LATER, || {
        let status = cluster.status()?;
        ensure!(status["sourceTrouble"].is_null(), "{status}");
        Ok(())
    })
}

#[test]
fn services_follow_the_cluster() -> Result<()> {
    require_root!();
    let (cluster, web) = web("follow")?;
    let agent = cluster.agent().start()?;
    assert_eq!(cluster.ask(10)?, "web");
    cluster.agrees()?;
    let status = cluster.meshctl("status")?;
    assert!(
        status.contains(&format!("Source:        {}\n", cluster.server.url())),
        "{status}"
    );

    // Another endpoint, and no other.
    let other = cluster.backend("other", 12)?;
    cluster.staff("web", &[&other])?;
    answered_by(&cluster, 10, "other", SOON)?;
    // Nobody.
    cluster.staff("web", &[])?;
    assert!(refused(&cluster, 10));
    // Somebody again; then the Service goes, and comes as another one.
    cluster.staff("web", &[&web])?;
    answered_by(&cluster, 10, "web", SOON)?;
    cluster.server.remove("services", "shop", "web")?;
    assert!(until(SOON, || cluster
        .ask(10)
        .is_err_and(|error| error.kind() != ErrorKind::ConnectionRefused)));
    cluster.sell("web", 20, &[&web])?;
    answered_by(&cluster, 20, "web", SOON)?;
    // A pod goes, with its namespace.
    cluster.server.remove("pods", "shop", "other")?;
    other.pod.delete()?;
    eventually(SOON, || {
        let pods = cluster.meshctl("pod list -o name")?;
        ensure!(pods == "pod/shop/client\npod/shop/web\n", "{pods}");
        Ok(())
    })?;
    // The namespace leaves the mesh, and its pods are left alone.
    cluster.put(&manifest::namespace("shop", false))?;
    assert!(until(SOON, || cluster.ask(20).is_err()));
    cluster.put(&manifest::namespace("shop", true))?;
    answered_by(&cluster, 20, "web", SOON)?;
    cluster.agrees()?;

    assert_eq!(cluster.lists(), [1; RESOURCES.len()]);
    for request in cluster.server.requests() {
        assert!(["list", "watch"].contains(&request.verb.as_str()), "{request:?}");
        assert!(request.user_agent.starts_with("mesh-agent/"), "{request:?}");
        assert_eq!(
            request.verb == "list",
            request.resource_version == "0",
            "{request:?}"
        );
        let fields = if request.resource == "nodes" {
            "metadata.name=node-1"
        } else {
            ""
        };
        assert_eq!(request.field_selector, fields, "{request:?}");
    }
    assert!((metric(&agent, "mesh_source_connected{resource=\"pods\"}")? - 1.0).abs() < 0.1);
    assert!(
        metric(
            &agent,
            "mesh_source_last_sync_timestamp_seconds{resource=\"pods\"}"
        )? > 1e9
    );
    Ok(())
}

#[test]
fn until_everything_is_known_the_kernel_goes_on_with_what_an_earlier_agent_left() -> Result<()> {
    require_root!();
    let (cluster, web) = web("before")?;
    let agent = cluster.agent().start()?;
    assert_eq!(cluster.ask(10)?, "web");
    agent.kill9()?;
    drop(agent);
    // What changes now, no agent has seen.
    let other = cluster.backend("other", 12)?;
    cluster.sell("other", 11, &[&other])?;
    cluster.server.remove("services", "shop", "web")?;
    cluster.server.down()?;

    let agent = cluster.agent().launch()?;
    let why = trouble(&cluster, "has not answered yet")?;
    assert!(
        why.contains("Connection refused") && why.contains("(since 20"),
        "{why}"
    );
    assert!(why.contains("an earlier agent left"), "{why}");
    let ready = agent.ready()?;
    assert_eq!(ready.status, 503);
    assert!(
        ready.body.contains("programs: an earlier agent's programs run"),
        "{ready:?}"
    );
    assert!(
        ready
            .body
            .contains("kubernetes: the API server has not answered yet: "),
        "{ready:?}"
    );
    assert_eq!(cluster.ask(10)?, "web", "nothing is taken away");
    assert!(
        cluster
            .meshctl("service list -o name")?
            .contains("service/shop/web"),
        "names stay"
    );
    let diff = cluster.sandbox.meshctl(["diff"])?;
    let said = String::from_utf8_lossy(&diff.stderr).into_owned();
    assert!(!diff.status.success() && said.contains("not known yet"), "{said}");
    assert!((metric(&agent, "mesh_source_connected{resource=\"pods\"}")?).abs() < 0.1);
    // It ends when it is told to, although it knows nothing.
    let started = Instant::now();
    assert!(agent.terminate()?.success());
    assert!(started.elapsed() < SOON);
    drop(agent);
    assert_eq!(cluster.ask(10)?, "web");

    // Not all of it is nothing.
    cluster.server.deny(Denial {
        verb: Some("list".into()),
        resource: Some("endpointslices".into()),
        namespace: None,
    });
    cluster.server.up()?;
    let agent = cluster.agent().launch()?;
    let why = trouble(
        &cluster,
        "403 Forbidden: may not list endpointslices.discovery.k8s.io",
    )?;
    assert!(why.contains("ClusterRole mesh-agent"), "{why}");
    assert_eq!(agent.ready()?.status, 503);
    assert_eq!(cluster.ask(10)?, "web", "nothing is taken away");
    assert!(cluster.ask(11).is_err(), "nothing is added");

    cluster.server.allow_all();
    agent.wait_ready()?;
    answered_by(&cluster, 11, "other", SOON)?;
    assert!(cluster.ask(10).is_err(), "what is gone is gone");
    no_trouble(&cluster)?;
    cluster.agrees()?;
    drop(web);
    Ok(())
}

#[test]
fn a_server_that_is_away_is_told_of_and_nothing_else_happens() -> Result<()> {
    require_root!();
    let (cluster, web) = web("away")?;
    let agent = cluster.agent().start()?;
    cluster.server.down()?;
    let why = trouble(&cluster, "does not answer since 20")?;
    assert!(why.ends_with("the kernel goes on with what it has"), "{why}");
    becomes(&agent, "mesh_source_connected{resource=\"pods\"}", 0.0)?;
    let ready = agent.ready()?;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.body.contains("does not answer since"), "{ready:?}");
    assert_eq!(cluster.ask(10)?, "web");
    let check = cluster.sandbox.meshctl(["check"])?;
    let said = String::from_utf8(check.stdout)?;
    assert!(
        said.contains("objects come in: the API server does not answer since"),
        "{said}"
    );

    let other = cluster.backend("other", 12)?;
    cluster.sell("other", 11, &[&other])?;
    cluster.staff("web", &[&other])?;
    cluster.server.up()?;
    answered_by(&cluster, 11, "other", LATER)?;
    answered_by(&cluster, 10, "other", LATER)?;
    no_trouble(&cluster)?;
    becomes(&agent, "mesh_source_connected{resource=\"pods\"}", 1.0)?;
    assert_eq!(cluster.lists(), [1; RESOURCES.len()], "it went on where it was");
    let log = agent.log();
    let times = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(times("the kernel goes on with what it has"), 1, "{log}");
    assert_eq!(times("the API server answers again"), 1, "{log}");
    cluster.agrees()?;
    drop(web);
    Ok(())
}

#[test]
fn connections_that_break_lose_nothing_and_cost_no_list() -> Result<()> {
    require_root!();
    let (cluster, web) = web("torn")?;
    let _agent = cluster.agent().start()?;
    let other = cluster.backend("other", 12)?;
    // In the middle of the event.
    cluster.server.tear_watches();
    cluster.staff("web", &[&other])?;
    answered_by(&cluster, 10, "other", SOON)?;
    // Between events.
    cluster.server.cut();
    cluster.staff("web", &[&web])?;
    answered_by(&cluster, 10, "web", SOON)?;
    // Each one twice, and one resource late: slices before their service, a service before its pods.
    cluster.server.duplicate_events();
    cluster.server.hold_events("services");
    cluster.server.hold_events("pods");
    let third = cluster.backend("third", 13)?;
    cluster.sell("third", 11, &[&third])?;
    cluster.server.release_events("services");
    answered_by(&cluster, 11, "third", SOON)?;
    cluster.server.release_events("pods");
    cluster.server.remove("pods", "shop", "web")?;
    cluster.staff("web", &[])?;
    assert!(refused(&cluster, 10));
    eventually(SOON, || cluster.agrees())?;
    eventually(SOON, || {
        let pods = cluster.meshctl("pod list -o name")?;
        ensure!(
            pods == "pod/shop/client\npod/shop/other\npod/shop/third\n",
            "{pods}"
        );
        Ok(())
    })?;
    assert_eq!(cluster.lists(), [1; RESOURCES.len()]);
    Ok(())
}

#[test]
fn what_the_server_no_longer_has_is_listed_once() -> Result<()> {
    require_root!();
    let (cluster, _web) = web("gone")?;
    let agent = cluster.agent().start()?;
    let one = cluster.backend("one", 21)?;
    cluster.sell("one", 21, &[&one])?;
    answered_by(&cluster, 21, "one", SOON)?;

    // An event of each watch says so; before it asks again, a quarter of a second later at least, all is well.
    cluster.server.expire_watches(Gone::Event);
    std::thread::sleep(Duration::from_millis(100));
    cluster.server.remove("services", "shop", "one")?;
    let two = cluster.backend("two", 22)?;
    cluster.sell("two", 22, &[&two])?;
    cluster.server.well();
    answered_by(&cluster, 22, "two", LATER)?;
    assert!(
        until(SOON, || cluster.ask(21).is_err()),
        "what went meanwhile is gone"
    );
    assert!(
        until(LATER, || cluster.lists() == [2; RESOURCES.len()]),
        "{:?}",
        cluster.lists()
    );
    for resource in RESOURCES {
        becomes(
            &agent,
            &format!("mesh_source_relists_total{{resource=\"{resource}\"}}"),
            1.0,
        )?;
    }

    assert!(
        !agent.log().contains("the kernel goes on with what it has"),
        "nothing is wrong: {}",
        agent.log()
    );

    // The answer to the next watch of each says so: what happened while the server was down is forgotten.
    cluster.server.down()?;
    cluster.server.remove("pods", "shop", "one")?;
    cluster.server.compact();
    cluster.server.up()?;
    eventually(LATER, || {
        let pods = cluster.meshctl("pod list -o name")?;
        ensure!(pods == "pod/shop/client\npod/shop/two\npod/shop/web\n", "{pods}");
        Ok(())
    })?;
    assert!(
        until(LATER, || cluster.lists() == [3; RESOURCES.len()]),
        "{:?}",
        cluster.lists()
    );
    for resource in RESOURCES {
        let errors =
            format!("mesh_source_errors_total{{resource=\"{resource}\",verb=\"watch\",reason=\"410\"}}");
        becomes(&agent, &errors, 2.0)?;
    }
    no_trouble(&cluster)?;
    cluster.agrees()
}

#[test]
fn a_token_that_is_replaced_is_taken_up() -> Result<()> {
    require_root!();
    let (cluster, web) = web("token")?;
    let agent = cluster.agent().start()?;
    cluster.server.set_token("another.token.of-the-same-agent")?;
    // What is open stays open; the next requests have the new token, if not at once.
    cluster.server.cut();
    let other = cluster.backend("other", 12)?;
    cluster.staff("web", &[&other])?;
    answered_by(&cluster, 10, "other", LATER)?;
    no_trouble(&cluster)?;
    assert_eq!(cluster.lists(), [1; RESOURCES.len()]);

    // One that the server does not take is told of; a right one ends that.
    cluster.server.set_token("a third one")?;
    std::fs::write(cluster.server.file("token"), "wrong")?;
    cluster.server.cut();
    let why = trouble(&cluster, "401 Unauthorized")?;
    assert!(
        why.contains("check the user of kubeconfig") && why.contains("token in"),
        "{why}"
    );
    assert_eq!(cluster.ask(10)?, "other");
    assert_eq!(agent.ready()?.status, 200);
    std::fs::write(cluster.server.file("token"), "a third one")?;
    cluster.staff("web", &[&web])?;
    answered_by(&cluster, 10, "web", LATER)?;
    no_trouble(&cluster)
}

#[test]
fn objects_that_can_not_be_used_are_named_and_the_rest_applies() -> Result<()> {
    require_root!();
    let (cluster, web) = web("wrong")?;
    let wrong = |version: u8| -> Result<Manifest> {
        let ip = market::vip(version);
        let ports = [manifest::Port::tcp(80).to(8080)];
        Ok(manifest::service("shop", "web", &[ip], &ports, &[])
            .set("spec.internalTrafficPolicy", "Sometimes"))
    };
    // Netns annotations are for manifests: in a cluster anybody could name anybody's.
    let client = manifest::pod("shop", "client", &[], cluster.client.ips());
    cluster.put(&client.annotation(NETNS_ANNOTATION, "web"))?;
    let _agent = cluster.agent().start()?;
    assert_eq!(cluster.ask(10)?, "web");

    cluster.put(&wrong(10)?)?;
    let other = cluster.backend("other", 12)?;
    cluster.sell("other", 11, &[&other])?;
    answered_by(&cluster, 11, "other", SOON)?;
    let expected = "Service shop/web: spec.internalTrafficPolicy: \"Sometimes\" is not one of Cluster, Local \
                    (what the object said before stays)";
    eventually(SOON, || {
        let status = cluster.status()?;
        ensure!(status["problems"] == json!([expected]), "{status}");
        Ok(())
    })?;
    let status = cluster.meshctl("status")?;
    assert!(status.contains(expected), "{status}");
    assert_eq!(cluster.ask(10)?, "web", "its last good state stays");
    cluster.sell("web", 10, &[&web])?;
    eventually(SOON, || {
        let status = cluster.status()?;
        ensure!(status["problems"] == json!([]), "{status}");
        Ok(())
    })
}

#[test]
fn policies_come_change_and_go() -> Result<()> {
    require_root!();
    let (cluster, _web) = web("policies")?;
    let policy = |name: &str, cidr: &str| {
        Manifest::new("networking.k8s.io/v1", "NetworkPolicy", Some("shop"), name).set(
            "spec",
            json!({ "podSelector": {}, "egress": [{ "to": [{ "ipBlock": { "cidr": cidr } }] }] }),
        )
    };
    let objects = "mesh_source_objects{resource=\"networkpolicies\"}";
    let says = |expected: &[&str]| {
        eventually(SOON, || {
            let status = cluster.status()?;
            ensure!(status["problems"] == json!(expected), "{status}");
            Ok(())
        })
    };
    cluster.put(&policy("first", "10.0.0.0/8"))?;
    let agent = cluster.agent().start()?;
    becomes(&agent, objects, 1.0)?;
    says(&[])?;

    // One that only an older server would take: what can't be read is left out, and named.
    cluster.put(&policy("second", "10.0.0.0"))?;
    becomes(&agent, objects, 2.0)?;
    says(&[
        "NetworkPolicy shop/second: spec.egress[0].to[0].ipBlock.cidr: \"10.0.0.0\" is not a CIDR (as in \
            10.0.0.0/8 or fd00::/8)",
    ])?;
    cluster.put(&policy("second", "10.0.0.0/24"))?;
    says(&[])?;
    becomes(
        &agent,
        "mesh_source_events_total{resource=\"networkpolicies\"}",
        2.0,
    )?;

    // What no watch tells comes with the next list, and what is gone with it.
    assert_eq!(cluster.lists(), [1; RESOURCES.len()]);
    cluster.server.expire_watches(Gone::Event);
    cluster.server.remove("networkpolicies", "shop", "first")?;
    cluster.put(&policy("third", "fd00::/129"))?;
    says(&[
        "NetworkPolicy shop/third: spec.egress[0].to[0].ipBlock.cidr: \"fd00::/129\" is not a CIDR (as in \
            10.0.0.0/8 or fd00::/8)",
    ])?;
    becomes(&agent, objects, 2.0)?;
    assert!(cluster.server.count("list", "networkpolicies") > 1);
    cluster.server.well();
    cluster.server.remove("networkpolicies", "shop", "second")?;
    cluster.server.remove("networkpolicies", "shop", "third")?;
    becomes(&agent, objects, 0.0)?;
    says(&[])?;
    no_trouble(&cluster)?;
    cluster.agrees()
}

#[test]
fn no_pod_leaves_a_closed_namespace() -> Result<()> {
    require_root!();
    let (cluster, web) = web("closed")?;
    let namespace = |mode: &str| manifest::namespace("shop", true).annotation(fail_mode::ANNOTATION, mode);
    cluster.put(&namespace(fail_mode::CLOSED))?;
    let disabled = [(dataplane::LABEL, dataplane::DISABLED)];
    let client = manifest::pod("shop", "client", &disabled, cluster.client.ips());
    let _agent = cluster.agent().start()?;
    assert_eq!(cluster.ask(10)?, "web");
    cluster.put(&client)?;
    eventually(SOON, || {
        let status = cluster.status()?;
        let problems = status["problems"].to_string();
        ensure!(problems.contains("Pod shop/client: metadata.labels[mesh-agent.io/dataplane]"));
        ensure!(problems.contains("the namespace fails closed"), "{problems}");
        Ok(())
    })?;
    assert_eq!(cluster.ask(10)?, "web", "it is still in the mesh");
    cluster.put(&namespace(fail_mode::OPEN))?;
    assert!(until(SOON, || cluster.ask(10).is_err()));
    let status = cluster.status()?;
    ensure!(status["problems"] == json!([]), "{status}");
    drop(web);
    Ok(())
}

#[test]
fn a_server_that_was_set_back_is_believed_and_that_is_said() -> Result<()> {
    require_root!();
    let (cluster, _web) = web("restored")?;
    let agent = cluster.agent().start()?;
    let version = cluster.server.version();
    let other = cluster.backend("other", 12)?;
    cluster.sell("other", 11, &[&other])?;
    answered_by(&cluster, 11, "other", SOON)?;
    cluster.server.restore(version)?;
    cluster.server.expire_watches(Gone::Event);
    assert!(until(LATER, || cluster.lists().iter().all(|lists| *lists >= 3)));
    cluster.server.well();
    assert!(until(SOON, || cluster.ask(11).is_err()), "it never was");
    assert_eq!(cluster.ask(10)?, "web");
    // First not older than what was seen, which nobody has; then the latest there is.
    let requests = cluster.server.requests();
    let lists = requests
        .iter()
        .filter(|it| it.verb == "list" && it.resource == "services");
    let lists: Vec<_> = lists
        .map(|it| {
            (
                it.resource_version == "0",
                it.resource_version.is_empty(),
                it.status,
            )
        })
        .collect();
    assert_eq!(
        lists[..3],
        [(true, false, 200), (false, false, 504), (false, true, 200)]
    );
    assert!(
        agent.log().contains("older than what was seen before"),
        "{}",
        agent.log()
    );
    cluster.agrees()
}

#[test]
fn without_a_way_to_a_server_both_ways_are_named() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("nowhere")?;
    let missing = cluster.sandbox.manifests().dir().join("missing");
    let agent = cluster
        .sandbox
        .agent()
        .arg("--kubeconfig")
        .arg(&missing)
        .launch()?;
    let status = agent.program().wait(SOON)?;
    assert!(!status.success());
    assert!(
        agent
            .log()
            .contains(&format!("kubeconfig {}: ", missing.display())),
        "{}",
        agent.log()
    );
    Ok(())
}

#[test]
fn a_large_cluster_comes_in_soon_and_takes_little_memory() -> Result<()> {
    require_root!();
    let pods = std::env::var("MESH_TEST_PODS").map_or(Ok(1_000), |pods| pods.parse::<u16>())?;
    let (cluster, _web) = web("large")?;
    let crowd = Crowd::new(pods.into());
    crowd.join(&cluster)?;
    let started = Instant::now();
    let agent = crowd.agent(&cluster).launch()?;
    // What an unoptimized agent needs for many.
    ensure!(
        until(Duration::from_mins(5), || agent
            .ready()
            .is_ok_and(|it| it.status == 200)
            || !agent.program().alive()),
        "not ready: {}",
        agent.log()
    );
    let took = started.elapsed();
    assert_eq!(cluster.ask(10)?, "web");
    let known = metric(&agent, "mesh_source_objects{resource=\"pods\"}")?;
    assert!((known - f64::from(pods + 2)).abs() < 0.5, "{known}");
    let [peak, now] = ["VmHWM", "VmRSS"].map(|field| agent.program().memory(field));
    let (peak, now) = (peak? >> 20, now? >> 20);
    println!("{pods} pods: ready after {took:?}, at most {peak} MiB, then {now} MiB");
    assert!(peak < 250, "{peak} MiB");
    assert_eq!(cluster.lists(), [1; RESOURCES.len()]);
    Ok(())
}
