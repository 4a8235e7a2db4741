//! Pods that are bound to the node before the mesh knows their network namespace: the kernel knows them by their cgroup.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::cluster::Cluster;
use harness::manifest::{self, Manifest};
use harness::market::{self, Backend, address};
use harness::traffic::{Conversation, ask_tcp, ask_udp_connected, ask_udp_unconnected};
use harness::{Market, Place, Pod, Sandbox, eventually, kernel, metrics, require_root, until};
use mesh_common::names::{dataplane, fail_mode};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(5);

const UID: &str = "2a8e1f5c-7d1b-4c6e-9b0a-3f2d4e5a6b7c";
/// The cgroup of a container of that pod, as the drivers and classes of the kubelet have it.
const CGROUPFS: &str = "kubepods/burstable/pod2a8e1f5c-7d1b-4c6e-9b0a-3f2d4e5a6b7c/init";
const GUARANTEED: &str = "kubepods/pod2a8e1f5c-7d1b-4c6e-9b0a-3f2d4e5a6b7c/init";
const SYSTEMD: &str = "kubepods.slice/kubepods-besteffort.slice/\
    kubepods-besteffort-pod2a8e1f5c_7d1b_4c6e_9b0a_3f2d4e5a6b7c.slice/cri-containerd-1.scope";
const KIND: &str = "kubelet.slice/kubelet-kubepods.slice/\
    kubelet-kubepods-pod2a8e1f5c_7d1b_4c6e_9b0a_3f2d4e5a6b7c.slice/cri-containerd-1.scope";

/// The pod, as it is from the moment it is bound to the node.
fn bound() -> Manifest {
    let pod = manifest::pod("shop", "coming", &[], &[]).uid(UID);
    pod.set("status.phase", "Pending").condition("Ready", false)
}

/// The pod, once its address is known.
fn addressed(pod: &Pod) -> Manifest {
    manifest::pod("shop", "coming", &[], pod.ips()).uid(UID)
}

/// The service `web` with an agent, and the network of the pod that is to come.
fn scene(test_name: &str, mode: &str) -> Result<(Market, [Backend; 2], Pod)> {
    let (market, web) = Market::with_web(test_name)?;
    let namespace = manifest::namespace("shop", true);
    market.apply(&namespace.annotation(fail_mode::ANNOTATION, mode))?;
    let pod = market.pod("coming", &["10.0.1.21", "fd00::1:21"])?;
    Ok((market, web, pod))
}

fn ask(place: &Place) -> io::Result<String> {
    place.run(|| ask_tcp(address(10, 80)).map(|answer| answer.name))
}

/// Whether the mesh leaves a place alone: nobody is at the service's address.
fn is_untouched(place: &Place) -> bool {
    ask(place).is_err_and(|error| error.kind() == ErrorKind::HostUnreachable)
}

fn is_refused(place: &Place) -> bool {
    ask(place).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn entries(sandbox: &Sandbox, map: &str) -> Result<usize> {
    Ok(kernel::entries(&sandbox.bpffs().join("mesh/v1/maps").join(map))?)
}

/// Waits until so many pods are pending.
fn pending(sandbox: &Sandbox, count: usize) -> Result<()> {
    eventually(SOON, || {
        let now = entries(sandbox, "PENDING_PODS")?;
        ensure!(now == count, "{now} pods are pending, not {count}");
        Ok(())
    })
}

fn meshctl(sandbox: &Sandbox, line: &str) -> Result<String> {
    let output = sandbox.meshctl(line.split(' '))?;
    ensure!(output.status.success(), "{line}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until `meshctl` prints a line with all of these: names come a moment after what they name.
fn shows(sandbox: &Sandbox, line: &str, words: &[&str]) -> Result<()> {
    eventually(SOON, || {
        let text = meshctl(sandbox, line)?;
        let found = text
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(found, "{line}: no {words:?} in {text}");
        Ok(())
    })
}

/// The flows the agent tells of whose source is the pod.
fn flows(sandbox: &Sandbox) -> Result<Vec<Value>> {
    let answer = sandbox.admin("/v1/flows?last=100")?;
    let flows = answer.body.lines().map(serde_json::from_str);
    let flows: Vec<Value> = flows.collect::<Result<_, _>>()?;
    Ok(flows
        .into_iter()
        .filter(|flow| flow["source"]["pod"] == "coming")
        .collect())
}

fn drift(sandbox: &Sandbox) -> Result<String> {
    Ok(sandbox.admin("/v1/diff")?.body)
}

#[test]
fn a_pod_is_served_before_its_address_is_known() -> Result<()> {
    require_root!();
    for cgroup in [CGROUPFS, GUARANTEED, SYSTEMD, KIND] {
        let (market, web, pod) = scene("first", fail_mode::OPEN)?;
        let sandbox = &market.sandbox;
        // The kubelet is up, and has a pod that the mesh has nothing to do with.
        let other = cgroup.replace("2a8e1f5c", "ffffffff");
        let other = sandbox.container(pod.place(), &other)?;
        let agent = sandbox.agent().start()?;
        let init = sandbox.container(pod.place(), cgroup)?;
        assert!(is_untouched(&init), "{cgroup}: nobody knows it");

        market.apply(&bound())?;
        pending(sandbox, 1)?;
        let name = ask(&init).with_context(|| cgroup.to_owned())?;
        assert!(name.starts_with("web-"), "{cgroup}: {name}");
        let (direct, unconnected) = init.run(|| -> Result<_> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            let unconnected = ask_udp_unconnected(&socket, address(10, 53))?;
            socket.connect(address(10, 53))?;
            Ok((ask_udp_connected(&socket)?.name, unconnected.name))
        })?;
        assert!(
            direct.starts_with("web-") && unconnected.starts_with("web-"),
            "{direct} {unconnected}"
        );
        assert!(is_untouched(&other), "{cgroup}: another pod's process");
        assert!(is_untouched(pod.place()), "{cgroup}: a process that is no pod's");

        shows(sandbox, "pod list", &["coming", "pending", "kubepods"])?;
        shows(sandbox, "status", &["3 enrolled, 1 pending"])?;
        eventually(SOON, || {
            let text = agent.metrics()?;
            for (state, wanted) in [("enrolled", 3), ("pending", 1), ("unknown", 0)] {
                let line = format!("mesh_pods{{state=\"{state}\"}} {wanted}\n");
                ensure!(text.contains(&line), "no {line} in {text}");
            }
            Ok(())
        })?;
        shows(sandbox, "status", &["Pending pods:  by cgroup, below"])?;
        shows(sandbox, "map dump CONFIG", &["pending=true"])?;
        shows(
            sandbox,
            "map dump PENDING_PODS",
            &["pod=shop/coming", "closed=false"],
        )?;

        // The connection is the pod's, and the kernel says how it knows.
        let talk = init.run(|| Conversation::open(address(10, 80)))?;
        drop(talk);
        let flow = eventually(SOON, || {
            let mut flows = flows(sandbox)?.into_iter();
            flows
                .find(|flow| flow["event"] == "closed" && flow["service"]["name"] == "web")
                .context("no flow")
        })?;
        assert_eq!(flow["source"]["attestedBy"], "cgroup", "{flow}");

        market.apply(&addressed(&pod))?;
        pending(sandbox, 0)?;
        assert!(ask(&init)?.starts_with("web-"));
        assert!(
            ask(pod.place())?.starts_with("web-"),
            "by its network namespace now"
        );
        shows(sandbox, "map dump CONFIG", &["pending=false"])?;
        assert_eq!(drift(sandbox)?, "[]");
        drop(web);
    }
    Ok(())
}

#[test]
fn what_fails_closed_sends_nothing_before_it_is_known() -> Result<()> {
    require_root!();
    let (market, web, pod) = scene("closed", fail_mode::CLOSED)?;
    let sandbox = &market.sandbox;
    let init = sandbox.container(pod.place(), SYSTEMD)?;
    let neighbour = sandbox.container(pod.place(), &SYSTEMD.replace("2a8e1f5c", "ffffffff"))?;
    let on_host = sandbox.container(sandbox.outside_pod(), &SYSTEMD.replace("containerd-1", "conmon"))?;
    let agent = sandbox.agent().start()?;
    market.apply(&bound())?;
    pending(sandbox, 1)?;

    assert!(is_refused(&init), "{:?}", ask(&init));
    let direct: SocketAddr = (web[0].pod.v4(), 8080).into();
    let refused =
        |result: io::Result<()>| result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    assert!(
        refused(init.run(|| ask_tcp(direct).map(drop))),
        "nor to what is no service"
    );
    let sent = || {
        let socket = UdpSocket::bind("[::]:0")?;
        let outside: SocketAddr = "[2001:db8::1]:53".parse().map_err(io::Error::other)?;
        assert!(refused(socket.send_to(b"x", address(10, 53)).map(drop)));
        assert!(refused(socket.send_to(b"x", outside).map(drop)));
        assert!(refused(socket.connect(outside)));
        io::Result::Ok(())
    };
    init.run(sent)?;
    // What does not leave the pod is its own business.
    init.run(|| -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        std::net::TcpStream::connect(listener.local_addr()?).map(drop)
    })?;
    assert!(is_untouched(&neighbour));
    assert!(
        ask_tcp_in(&on_host, direct).is_ok(),
        "part of the runtime, on the host's network"
    );
    assert!(!is_refused(&on_host));

    shows(sandbox, "map dump PENDING_PODS", &["closed=true"])?;
    shows(sandbox, "pod show shop/coming", &["Fail mode:    closed"])?;
    let flow = eventually(SOON, || flows(sandbox)?.into_iter().next().context("no flow"))?;
    assert_eq!(
        (&flow["event"], &flow["reason"]),
        (&"refused".into(), &"pending".into()),
        "{flow}"
    );
    eventually(SOON, || {
        let labels = [("verdict", "refused"), ("reason", "pending")];
        let count = metrics::sum(&agent.metrics()?, "mesh_verdicts_total", &labels);
        ensure!(count == 5, "{count} refusals");
        Ok(())
    })?;

    // Opened, closed again by a word that nobody knows, and known at last.
    let namespace = manifest::namespace("shop", true);
    market.apply(
        &namespace
            .clone()
            .annotation(fail_mode::ANNOTATION, fail_mode::OPEN),
    )?;
    assert!(until(SOON, || ask(&init).is_ok()));
    market.apply(&namespace.annotation(fail_mode::ANNOTATION, "shut"))?;
    assert!(until(SOON, || is_refused(&init)));
    let wrong = "\"shut\" is not one of open, closed; it counts as closed";
    shows(sandbox, "status", &[wrong])?;
    market.apply(&addressed(&pod))?;
    assert!(until(SOON, || ask(&init).is_ok()));
    pending(sandbox, 0)
}

#[test]
fn what_fails_closed_stays_so_where_there_is_no_room_to_know_it() -> Result<()> {
    require_root!();
    for full in ["PODS=3", "WORKLOADS=6"] {
        let (market, web, pod) = scene("no-room", fail_mode::CLOSED)?;
        let sandbox = &market.sandbox;
        let init = sandbox.container(pod.place(), SYSTEMD)?;
        // As many as there are without it.
        let agent = sandbox.agent().arg("--map-size").arg(full).start()?;
        market.apply(&bound())?;
        pending(sandbox, 1)?;
        assert!(is_refused(&init), "{full}: {:?}", ask(&init));
        market.apply(&addressed(&pod))?;
        eventually(SOON, || {
            ensure!(agent.log().contains("no room"), "{}", agent.log());
            Ok(())
        })?;
        std::thread::sleep(Duration::from_secs(2));
        assert!(is_refused(&init), "{full}: {:?}", ask(&init));
        pending(sandbox, 1)?;
        assert_eq!(drift(sandbox)?, "[]");
        // The next agent has no more room.
        assert!(agent.terminate()?.success(), "{}", agent.log());
        drop(agent);
        let _agent = sandbox.agent().arg("--map-size").arg(full).start()?;
        assert!(is_refused(&init), "{full}: {:?}", ask(&init));

        market.delete(&market::pod(&web[1].pod, "web"))?;
        assert!(until(SOON, || ask(&init).is_ok()), "{full}: {:?}", ask(&init));
        pending(sandbox, 0)?;
    }
    Ok(())
}

#[test]
fn without_the_directory_of_namespaces_pods_are_pending() -> Result<()> {
    require_root!();
    let (market, _web, pod) = scene("no-handles", fail_mode::CLOSED)?;
    let sandbox = &market.sandbox;
    let init = sandbox.container(pod.place(), SYSTEMD)?;
    let agent = sandbox.agent().start()?;
    let (here, away) = (sandbox.netns_dir(), sandbox.netns_dir().with_extension("away"));
    fs::rename(&here, &away)?;
    let told = market.apply(&addressed(&pod)).and_then(|()| pending(sandbox, 1));
    let known = entries(sandbox, "PODS");
    fs::rename(&away, &here)?;
    told.with_context(|| agent.log())?;
    assert_eq!(known?, 3, "whoever is known stays known");
    assert!(until(SOON, || ask(&init).is_ok()), "{:?}", ask(&init));
    pending(sandbox, 0)
}

#[test]
fn an_address_that_another_pod_adds_unties_nobody() -> Result<()> {
    require_root!();
    let (market, web, pod) = scene("thief", fail_mode::CLOSED)?;
    let sandbox = &market.sandbox;
    let init = sandbox.container(pod.place(), SYSTEMD)?;
    let agent = sandbox.agent().start()?;
    market.apply(&addressed(&pod))?;
    assert!(until(SOON, || ask(&init).is_ok()), "{:?}", ask(&init));

    let stolen = format!("{}/32", pod.v4());
    let add = ["addr", "add", &stolen, "dev", "lo"];
    let output = web[0].pod.command("ip").args(add).output()?;
    ensure!(output.status.success(), "{output:?}");
    // Anything makes the agent look at the namespaces again.
    market.apply(&manifest::pod("shop", "another", &[], &[]).uid("another"))?;
    eventually(SOON, || {
        ensure!(agent.log().contains("shop/another"), "{}", agent.log());
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(1));
    assert!(ask(&init).is_ok(), "{:?} {}", ask(&init), agent.log());
    assert!(market.ask(10).is_ok());
    pending(sandbox, 0)
}

fn ask_tcp_in(place: &Place, addr: SocketAddr) -> io::Result<String> {
    place.run(|| ask_tcp(addr).map(|answer| answer.name))
}

#[test]
fn a_cgroup_that_comes_after_its_pod_is_known_at_once() -> Result<()> {
    require_root!();
    let (market, _web, pod) = scene("later", fail_mode::OPEN)?;
    let sandbox = &market.sandbox;
    market.apply(&bound())?;
    let _agent = sandbox.agent().start()?;
    shows(sandbox, "status", &["node-wide default (open)"])?;
    // Even the kubelet comes later here.
    let init = sandbox.container(pod.place(), CGROUPFS)?;
    pending(sandbox, 1)?;
    assert!(ask(&init)?.starts_with("web-"));
    shows(sandbox, "status", &["by cgroup, below"])?;

    // The sandbox of the pod failed, and the kubelet made another one.
    let dir = sandbox.cgroup().join(CGROUPFS.trim_end_matches("/init"));
    drop(init);
    fs::remove_dir(&dir).with_context(|| dir.display().to_string())?;
    pending(sandbox, 0)?;
    let init = sandbox.container(pod.place(), CGROUPFS)?;
    pending(sandbox, 1)?;
    assert!(ask(&init)?.starts_with("web-"));
    Ok(())
}

#[test]
fn a_pod_that_is_gone_or_not_in_the_mesh_is_not_pending() -> Result<()> {
    require_root!();
    let (market, _web, pod) = scene("gone", fail_mode::CLOSED)?;
    let sandbox = &market.sandbox;
    let init = sandbox.container(pod.place(), CGROUPFS)?;
    let _agent = sandbox.agent().start()?;
    let out = bound().label(dataplane::LABEL, dataplane::DISABLED);
    let other_node = bound().set("spec.nodeName", "node-2");
    let on_host = bound().set("spec.hostNetwork", true);
    let ended = bound().set("status.phase", "Failed");
    // Its own label takes no pod out of a namespace that fails closed.
    market.apply(&out)?;
    pending(sandbox, 1)?;
    assert!(is_refused(&init));
    for change in [&other_node, &on_host, &ended] {
        market.apply(&bound())?;
        pending(sandbox, 1)?;
        assert!(is_refused(&init));
        market.apply(change)?;
        pending(sandbox, 0)?;
        assert!(is_untouched(&init), "{change}");
    }
    market.apply(&bound())?;
    pending(sandbox, 1)?;
    market.delete(&bound())?;
    pending(sandbox, 0)?;
    assert!(is_untouched(&init));
    // The next pod of that name has another cgroup.
    market.apply(&bound().uid("0b1c2d3e-7d1b-4c6e-9b0a-3f2d4e5a6b7c"))?;
    market.apply(&market::service("nobody", 20))?;
    assert!(until(SOON, || market
        .ask(20)
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)));
    assert!(is_untouched(&init));
    assert_eq!(entries(sandbox, "PENDING_PODS")?, 0);
    assert_eq!(drift(sandbox)?, "[]");
    Ok(())
}

#[test]
fn pending_pods_outlive_the_agent_and_stale_ones_do_not() -> Result<()> {
    require_root!();
    let (market, _web, pod) = scene("crash", fail_mode::OPEN)?;
    let sandbox = &market.sandbox;
    let init = sandbox.container(pod.place(), SYSTEMD)?;
    market.apply(&bound())?;
    let mut agent = sandbox.agent().start()?;
    shows(sandbox, "map dump PENDING_PODS", &["pod=shop/coming"])?;
    let before = meshctl(sandbox, "map dump PENDING_PODS")?;

    agent.kill9()?;
    assert!(ask(&init)?.starts_with("web-"), "the kernel alone");
    agent.restart()?;
    assert_eq!(meshctl(sandbox, "map dump PENDING_PODS")?, before);
    assert!(ask(&init)?.starts_with("web-"));
    assert_eq!(drift(sandbox)?, "[]");

    agent.kill9()?;
    market.delete(&bound())?;
    agent.restart()?;
    assert_eq!(entries(sandbox, "PENDING_PODS")?, 0);
    shows(sandbox, "map dump CONFIG", &["pending=false"])?;
    assert!(is_untouched(&init));
    assert_eq!(drift(sandbox)?, "[]");

    // Known by its network namespace while nobody looked.
    market.apply(&bound())?;
    pending(sandbox, 1)?;
    agent.kill9()?;
    market.apply(&addressed(&pod))?;
    agent.restart()?;
    assert_eq!(entries(sandbox, "PENDING_PODS")?, 0);
    assert!(ask(pod.place())?.starts_with("web-"));
    Ok(())
}

#[test]
fn where_cgroups_cannot_tell_the_node_says_so_and_touches_nobody() -> Result<()> {
    require_root!();
    let (market, _web, pod) = scene("hybrid", fail_mode::CLOSED)?;
    let sandbox = &market.sandbox;
    let init = sandbox.container(pod.place(), "system.slice/init")?;
    let agent = sandbox.agent().start()?;
    market.apply(&bound())?;
    let says = "node-wide default (open)";
    shows(sandbox, "status", &[says])?;
    shows(sandbox, "status", &["shop/coming: it has no address"])?;
    let ready = agent.ready()?;
    assert!(ready.status == 200 && ready.body.contains(says), "{ready:?}");
    assert!(is_untouched(&init));
    assert_eq!(entries(sandbox, "PENDING_PODS")?, 0);
    Ok(())
}

#[test]
fn a_static_pod_has_the_cgroup_of_its_configuration() -> Result<()> {
    require_root!();
    let (market, _web, pod) = scene("static", fail_mode::OPEN)?;
    let sandbox = &market.sandbox;
    let init = sandbox.container(pod.place(), "kubepods/pod9f1c3ae6b1f7d8be/init")?;
    let _agent = sandbox.agent().start()?;
    market.apply(&bound().annotation("kubernetes.io/config.hash", "9f1c3ae6b1f7d8be"))?;
    pending(sandbox, 1)?;
    assert!(ask(&init)?.starts_with("web-"));
    Ok(())
}

#[test]
fn a_cluster_tells_as_manifests_do() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("pending-cluster")?;
    let web = cluster.backend("web", 11)?;
    cluster.sell("web", 10, &[&web])?;
    let sandbox = &cluster.sandbox;
    let pod = sandbox.pod("coming", &["10.0.1.21"])?;
    let init = sandbox.container(pod.place(), SYSTEMD)?;
    let _agent = cluster.agent().start()?;
    cluster.put(&bound())?;
    pending(sandbox, 1)?;
    assert_eq!(ask(&init)?, "web");
    cluster.put(&addressed(&pod))?;
    pending(sandbox, 0)?;
    assert_eq!(ask(&init)?, "web");
    cluster.agrees()
}
