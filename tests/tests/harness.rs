//! The harness itself: what it promises to the tests of the mesh.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::traffic::{self, Answer, Conversation};
use harness::{Pod, Sandbox, Spread, manifest, require_root};

/// Asks in every way, and checks every address on the way.
fn ask_in_every_way(client: &Pod, client_ip: IpAddr, server: SocketAddr) -> Result<()> {
    let unspecified: IpAddr = if client_ip.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    client.run(|| -> Result<()> {
        let check = |answer: &Answer| {
            assert_eq!((answer.name.as_str(), answer.peer_seen), ("server", server));
            assert_eq!(
                answer.client_seen,
                SocketAddr::new(client_ip, answer.local.port())
            );
        };
        let mut conversation = Conversation::open(server)?;
        check(conversation.answer());
        conversation.echo(&vec![7; 100_000])?;
        check(&traffic::ask_tcp(server)?);
        let socket = UdpSocket::bind((unspecified, 0))?;
        check(&traffic::ask_udp_unconnected(&socket, server)?);
        socket.connect(server)?;
        check(&traffic::ask_udp_connected(&socket)?);
        Ok(())
    })
}

#[test]
fn pods_reach_each_other() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("reach")?;
    let client = sandbox.pod("client", &["10.0.1.2", "fd00::1:2"])?;
    let server = sandbox.pod("server", &["10.0.1.3", "fd00::1:3"])?;
    for (from, to) in [(client.v4(), server.v4()), (client.v6(), server.v6())] {
        let addr = SocketAddr::new(to, 8080);
        let _tcp = server.serve_tcp(addr, "server")?;
        let _udp = server.serve_udp(addr, "server")?;
        ask_in_every_way(&client, from, addr).with_context(|| format!("{from} to {to}"))?;
    }
    Ok(())
}

#[test]
fn what_is_not_there_is_refused() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("refused")?;
    let pod = sandbox.pod("pod", &["10.0.1.2", "fd00::1:2"])?;
    let other = sandbox.pod("other", &["10.0.1.3", "fd00::1:3"])?;
    for closed in [SocketAddr::new(other.v4(), 9), SocketAddr::new(other.v6(), 9)] {
        let error = pod.run(|| traffic::ask_tcp(closed)).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{closed}");
    }
    // The node says that it knows no way; a client hears it at its second SYN at the latest.
    for service in ["10.96.0.1:80", "[fd00:96::1]:80"] {
        let error = pod
            .run(|| traffic::ask_tcp(service.parse().expect("an address")))
            .expect_err("no way");
        let said = matches!(
            error.kind(),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
        );
        assert!(said, "{service}: {error}");
    }
    Ok(())
}

#[test]
fn parallel_sandboxes_with_the_same_addresses() -> Result<()> {
    require_root!();
    let live = |name: &'static str| -> Result<()> {
        let sandbox = Sandbox::new(name)?;
        let client = sandbox.pod("client", &["10.0.1.2", "fd00::1:2"])?;
        let server = sandbox.pod("server", &["10.0.1.3", "fd00::1:3"])?;
        for ip in [server.v4(), server.v6()] {
            let addr = SocketAddr::new(ip, 80);
            let _server = server.serve_tcp(addr, name)?;
            let ask = || client.run(|| traffic::ask_tcp(addr)).map(|answer| answer.name);
            Spread::ask(50, ask)?.assert_even(&[name]);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads = ["one", "two", "three"].map(|name| scope.spawn(move || live(name)));
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

fn unified_cgroup() -> String {
    let text = fs::read_to_string("/proc/thread-self/cgroup").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn threads_stand_where_they_are_put() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("threads")?;
    let pod = sandbox.pod("pod", &["10.0.1.2"])?;
    let inside = pod.run(unified_cgroup);
    assert!(
        inside.starts_with(&format!("/mesh-test-{}/", std::process::id())),
        "{inside}"
    );
    assert!(
        sandbox
            .cgroup()
            .join("pod")
            .ends_with(inside.trim_start_matches('/')),
        "{inside}"
    );
    // What a thread starts stands where it stands.
    assert_eq!(
        pod.run(|| std::thread::scope(|scope| scope.spawn(unified_cgroup).join().ok())),
        Some(inside)
    );
    let process = format!("/mesh-test-{}", std::process::id());
    for elsewhere in [
        unified_cgroup(),
        pod.unenrolled().run(unified_cgroup),
        sandbox.node().run(unified_cgroup),
    ] {
        assert_eq!(elsewhere, process);
    }
    assert!(
        sandbox
            .cgroup()
            .ends_with(sandbox.outside_pod().run(unified_cgroup).trim_start_matches('/'))
    );
    let cookies = [
        pod.netns_cookie()?,
        pod.unenrolled().netns_cookie()?,
        sandbox.node().netns_cookie()?,
    ];
    assert!(
        cookies[0] == cookies[1] && cookies[0] != cookies[2],
        "{cookies:?}"
    );
    Ok(())
}

#[test]
#[should_panic(expected = "from inside")]
fn panics_come_out() {
    assert!(harness::require::root().is_ok(), "as if from inside");
    let sandbox = Sandbox::new("panic").expect("a sandbox");
    let pod = sandbox.pod("pod", &["10.0.1.2"]).expect("a pod");
    pod.run(|| panic!("from inside"));
}

#[test]
fn commands_run_inside() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("commands")?;
    let pod = sandbox.pod("pod", &["10.0.1.2", "fd00::1:2"])?;
    let server: IpAddr = "10.96.0.10".parse()?;
    let shell = "readlink /proc/self/ns/net; grep ^0:: /proc/self/cgroup; cat /etc/resolv.conf; exit 3";
    let output = pod
        .command("sh")
        .args(["-c", shell])
        .nameservers(&[server])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let netns = pod.run(|| fs::read_link("/proc/thread-self/ns/net"))?;
    assert_eq!(text.lines().next().map(Path::new), Some(netns.as_path()));
    assert_eq!(
        text.lines().nth(1),
        Some(format!("0::{}", pod.run(unified_cgroup)).as_str())
    );
    assert!(text.contains("nameserver 10.96.0.10\n"), "{text}");
    assert_eq!(output.status.code(), Some(3));
    ensure!(
        !fs::read_to_string("/etc/resolv.conf")?.contains("10.96.0.10"),
        "the host's resolv.conf changed"
    );
    let outside = pod
        .unenrolled()
        .command("grep")
        .args(["^0::", "/proc/self/cgroup"])
        .output()?;
    assert_eq!(
        String::from_utf8(outside.stdout)?.trim(),
        format!("0::/mesh-test-{}", std::process::id())
    );
    Ok(())
}

#[test]
fn pods_come_again() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("again")?;
    let client = sandbox.pod("client", &["10.0.1.2", "fd00::1:2"])?;
    let mut cookies = Vec::new();
    for (ip, name) in [
        ("10.0.1.3", "first"),
        ("10.0.1.3", "second"),
        ("10.0.1.4", "third"),
    ] {
        let pod = sandbox.pod("server", &[ip])?;
        let server = pod.serve_tcp(SocketAddr::new(pod.v4(), 80), name)?;
        assert_eq!(client.run(|| traffic::ask_tcp(server.addr()))?.name, name);
        assert!(sandbox.pod("server", &[ip]).is_err(), "the name is taken");
        cookies.push(pod.netns_cookie()?);
        // While the server still runs, as pods are deleted.
        pod.delete()?;
        assert!(pod.netns_cookie().is_err() || !pod.netns().exists());
    }
    cookies.dedup();
    assert_eq!(cookies.len(), 3);
    assert_eq!(sandbox.census()?.links, ["br0", "veth-client"]);
    Ok(())
}

#[test]
fn manifests_appear_whole() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("manifests")?;
    let pod = sandbox.pod("web-1", &["10.0.1.2", "fd00::1:2"])?;
    let manifests = sandbox.manifests();
    let object = manifest::pod_of("shop", &pod, &[("app", "web")]);
    manifests.apply_all([&manifest::namespace("shop", true), &object])?;
    manifests.write("raw.yaml", "kind: Namespace\n")?;
    let names = || -> Result<Vec<_>> {
        let mut names: Vec<_> = fs::read_dir(manifests.dir())?
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        Ok(names)
    };
    assert_eq!(
        names()?,
        ["namespace_-_shop.json", "pod_shop_web-1.json", "raw.yaml"]
    );
    let text = fs::read_to_string(manifests.dir().join("pod_shop_web-1.json"))?;
    assert!(
        text.contains(&format!("\"mesh-agent.io/netns\": \"{}\"", pod.netns().display())),
        "{text}"
    );
    manifests.delete(&object)?;
    manifests.remove("raw.yaml")?;
    manifests.remove("raw.yaml")?;
    assert_eq!(names()?, ["namespace_-_shop.json"]);
    Ok(())
}

#[test]
fn it_is_fast() -> Result<()> {
    require_root!();
    let start = Instant::now();
    let sandbox = Sandbox::new("fast")?;
    let built = start.elapsed();
    let start = Instant::now();
    for number in 0..20 {
        sandbox.pod(
            &format!("pod-{number}"),
            &[&format!("10.0.1.{number}"), &format!("fd00::1:{number}")],
        )?;
    }
    let pods = start.elapsed() / 20;
    let pod = sandbox.pod("last", &["10.0.2.1"])?;
    let start = Instant::now();
    for _ in 0..100 {
        pod.run(|| ());
    }
    let run = start.elapsed() / 100;
    let start = Instant::now();
    pod.delete()?;
    let delete = start.elapsed();
    let start = Instant::now();
    drop(sandbox);
    let removed = start.elapsed();
    println!("sandbox {built:?}, pod {pods:?}, run {run:?}, delete {delete:?}, drop {removed:?}");
    // Ten times of what an idle machine needs.
    assert!(pods < Duration::from_millis(300), "{pods:?} for a pod");
    Ok(())
}

#[test]
fn the_host_sees_nothing() -> Result<()> {
    require_root!();
    let links = || fs::read_to_string("/proc/thread-self/net/dev").map(|text| text.lines().count());
    let before = (
        links()?,
        fs::read_link("/proc/thread-self/ns/net")?,
        Path::new("/run/netns").exists(),
    );
    let sandbox = Sandbox::new("host")?;
    let pod = sandbox.pod("pod", &["10.0.1.2"])?;
    pod.run(|| ());
    let after = (
        links()?,
        fs::read_link("/proc/thread-self/ns/net")?,
        Path::new("/run/netns").exists(),
    );
    assert_eq!(before, after);
    let host = fs::File::open("/proc/self/ns/net")?;
    let same = rustix::fs::fstat(host.as_fd())?.st_ino
        == pod.run(|| rustix::fs::stat("/proc/thread-self/ns/net"))?.st_ino;
    assert!(!same, "the pod is in the host's namespace");
    Ok(())
}
