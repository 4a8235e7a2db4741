//! The packet programs, by tcx and by clsact: what they count, beside whom, and what outlives whom.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::traffic::Conversation;
use harness::{Agent, Market, eventually, market, require_root, until};

const SOON: Duration = Duration::from_secs(3);
/// The agent asks the kernel every ten seconds what runs.
const A_LOOK: Duration = Duration::from_secs(13);
/// Priority and handle of our filters; `tc` writes the handle so.
const OURS: [&str; 6] = ["prio", "109", "handle", "0x6d657368", "bpf", ""];

/// A client, and a pod `web` at `10.0.1.11` that answers datagrams on port 5353.
struct Scene {
    web: market::Backend,
    market: Market,
}

impl Scene {
    fn open(test_name: &str) -> Result<Self> {
        let (market, web) = Market::with_one_web(test_name)?;
        Ok(Self { web, market })
    }

    fn start(&self, way: &str) -> Result<Agent> {
        let agent = self.market.sandbox.agent();
        agent.arg("--packets").arg(way).start()
    }

    /// Sends datagrams of these sizes and waits for all answers.
    fn talk(&self, sizes: &[usize]) -> Result<()> {
        self.market.client.run(|| -> Result<()> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(SOON))?;
            socket.connect("10.0.1.11:5353".parse::<SocketAddr>()?)?;
            for size in sizes {
                socket.send(&vec![7; *size])?;
                socket.recv(&mut [0; 10_000])?;
            }
            Ok(())
        })
    }

    /// What `tc` says about the interface of a pod; empty where there is nothing to show.
    fn tc(&self, args: &[&str]) -> Result<String> {
        let output = self.market.sandbox.node().command("tc").args(args).output()?;
        ensure!(output.status.success(), "tc {args:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn filters(&self, link: &str, direction: &str) -> Result<String> {
        self.tc(&["filter", "show", "dev", link, direction])
    }

    /// How many filters of ours are at an interface, in both directions.
    fn ours(&self, link: &str) -> Result<usize> {
        let both = ["ingress", "egress"].map(|direction| self.filters(link, direction));
        let [from, to] = both;
        Ok((from? + &to?).matches("handle 0x6d657368 mesh_").count())
    }

    /// Whether a clsact qdisc is at an interface.
    fn has_qdisc(&self, link: &str) -> Result<bool> {
        Ok(self.tc(&["qdisc", "show", "dev", link])?.contains("clsact"))
    }

    /// How many links of packet programs are pinned.
    fn links(&self) -> Result<usize> {
        let names = market::pins(&self.market.sandbox)?;
        let of_packets = |name: &&std::path::PathBuf| name.display().to_string().contains("_pod_");
        Ok(names.keys().filter(of_packets).count())
    }

    fn meshctl(&self, args: &[&str]) -> Result<String> {
        let output = self.market.sandbox.meshctl(args)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    fn client(&self) -> &str {
        self.market.client.host_link()
    }
}

/// UDP packets and bytes of the client: sent, received.
fn counted(agent: &Agent) -> Result<[u64; 4]> {
    let text = agent.metrics()?;
    let value = |name: &str, direction: &str| {
        let labels = [r#"pod="client""#, r#"protocol="udp""#, direction];
        let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        let mut ours = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        let value = ours.next().and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.with_context(|| format!("no {name} {direction} in {text}"))
    };
    Ok([
        value("mesh_packets_total", r#"direction="sent""#)?,
        value("mesh_packet_bytes_total", r#"direction="sent""#)?,
        value("mesh_packets_total", r#"direction="received""#)?,
        value("mesh_packet_bytes_total", r#"direction="received""#)?,
    ])
}

#[test]
fn filters_count_what_links_count() -> Result<()> {
    require_root!();
    let mut counts = Vec::new();
    for way in ["tcx", "clsact"] {
        let scene = Scene::open(&format!("count-{way}"))?;
        let agent = scene.start(way)?;
        // The last travels in fragments.
        scene.talk(&[1, 100, 1_400, 5_000])?;
        scene.market.client.run(|| -> Result<()> {
            Conversation::open(market::address(10, 80))?.echo(&[b'x'; 1_000])?;
            Ok(())
        })?;
        let text = agent.metrics()?;
        ensure!(
            text.contains(r#"protocol="tcp",direction="sent""#),
            "no TCP in {text}"
        );
        counts.push((counted(&agent)?, flows(&text)));

        let (links, filters) = if way == "tcx" { (4, 0) } else { (0, 2) };
        assert_eq!(
            (scene.links()?, scene.ours(scene.client())?),
            (links, filters),
            "{way}"
        );
        let list = scene.meshctl(&["link", "list"])?;
        let attach = format!("{way}_ingress");
        assert_eq!(list.matches(&attach).count(), 2, "{list}");
        let by = format!("2 of 2 interfaces by {way}");
        let (status, check) = (scene.meshctl(&["status"])?, scene.meshctl(&["check"])?);
        assert!(status.contains(&by), "{status}");
        assert!(
            check.contains(&format!("ok    packets are counted: {by}")),
            "{check}"
        );
    }
    let [(by_tcx, _), _] = &counts[..] else {
        unreachable!("two ways")
    };
    assert!(by_tcx[0] > 4 && by_tcx[2] >= 4, "{by_tcx:?}");
    assert_eq!(counts[0], counts[1]);
    Ok(())
}

/// The lines of UDP flows of the client.
fn flows(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| line.starts_with("mesh_udp_") && line.contains(r#""client""#));
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn filters_of_other_tools_stay() -> Result<()> {
    require_root!();
    let scene = Scene::open("beside")?;
    let link = scene.client();
    scene.tc(&["qdisc", "add", "dev", link, "clsact"])?;
    for direction in ["ingress", "egress"] {
        let before = ["prio", "1", "bpf", "bytecode", "1,6 0 0 0", "flowid", "1:1"];
        scene.tc(&[&["filter", "add", "dev", link, direction][..], &before].concat())?;
        // It ends the search: what comes behind it sees nothing of IPv4.
        let behind = [
            "prio", "200", "protocol", "ip", "u32", "match", "u32", "0", "0", "flowid", "1:2",
        ];
        scene.tc(&[&["filter", "add", "dev", link, direction][..], &behind].concat())?;
    }
    let theirs = || -> Result<String> {
        let both = scene.filters(link, "ingress")? + &scene.filters(link, "egress")?;
        let lines = both.lines().filter(|line| !line.contains("pref 109 "));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    };
    let before = theirs()?;
    assert!(before.contains("u32") && before.contains("pref 1 "), "{before}");

    let mut agent = scene.start("clsact")?;
    scene.talk(&[10; 5])?;
    assert_eq!(counted(&agent)?[0], 5, "between the two of them");
    assert_eq!((theirs()?, scene.ours(link)?), (before.clone(), 2));
    agent.kill9()?;
    agent.restart()?;
    scene.talk(&[10; 5])?;
    assert_eq!(counted(&agent)?[0], 10);
    assert_eq!((theirs()?, scene.ours(link)?), (before.clone(), 2));

    // At the other pod's interface the qdisc is ours; somebody begins to use it.
    let web = scene.web.pod.host_link();
    let bytecode = ["prio", "7", "bpf", "bytecode", "1,6 0 0 0", "flowid", "1:1"];
    assert!(scene.has_qdisc(web)?);
    scene.tc(&[&["filter", "add", "dev", web, "egress"][..], &bytecode].concat())?;
    agent.terminate()?;
    let cleanup = scene.market.sandbox.cleanup()?;
    ensure!(cleanup.status.success(), "{cleanup:?}");
    let said = String::from_utf8_lossy(&cleanup.stdout);
    assert_eq!(said.matches("_pod at interface").count(), 4, "{said}");
    assert_eq!((theirs()?, scene.ours(link)?), (before, 0));
    assert!(scene.has_qdisc(link)? && scene.has_qdisc(web)?);
    assert_eq!(scene.ours(web)?, 0);
    assert!(scene.filters(web, "egress")?.contains("pref 7 "));
    Ok(())
}

#[test]
fn a_place_that_is_taken_is_left_alone() -> Result<()> {
    require_root!();
    let scene = Scene::open("taken")?;
    let link = scene.client();
    scene.tc(&["qdisc", "add", "dev", link, "clsact"])?;
    let place = [&["filter", "add", "dev", link, "ingress"][..], &OURS[..4]].concat();
    scene.tc(&[&place[..], &["bpf", "bytecode", "1,6 0 0 0", "flowid", "1:1"]].concat())?;
    let before = scene.filters(link, "ingress")?;
    let agent = scene.market.sandbox.agent();
    let agent = agent.arg("--packets").arg("clsact").launch()?;
    let pending = eventually(SOON, || -> Result<String> {
        let answer = agent.ready()?;
        ensure!(answer.body.contains("has our priority and handle"), "{answer:?}");
        ensure!(!answer.body.contains("programs"), "{answer:?}");
        Ok(answer.body)
    })?;
    assert!(pending.contains("packets"), "{pending}");
    assert_eq!(scene.filters(link, "ingress")?, before);
    // The other pod is not held up.
    assert_eq!(scene.ours(scene.web.pod.host_link())?, 2);
    scene.tc(&["filter", "del", "dev", link, "ingress"])?;
    eventually(A_LOOK, || {
        ensure!(agent.ready()?.status == 200);
        Ok(())
    })
}

#[test]
fn a_killed_agent_neither_loses_nor_doubles() -> Result<()> {
    require_root!();
    for way in ["tcx", "clsact"] {
        let scene = Scene::open(&format!("killed-{way}"))?;
        let link = scene.client();
        let mut agent = scene.start(way)?;
        scene.talk(&[10; 20])?;
        agent.kill9()?;
        scene.talk(&[10; 20])?;
        // Throughout the start of the next agent.
        let done = AtomicBool::new(false);
        let talking = std::thread::scope(|scope| -> Result<u64> {
            let talk = scope.spawn(|| -> Result<u64> {
                let mut sent = 0;
                while !done.load(Ordering::Acquire) {
                    scene.talk(&[10; 20])?;
                    sent += 20;
                }
                Ok(sent)
            });
            let restarted = agent.restart();
            done.store(true, Ordering::Release);
            let sent = talk.join().expect("the talker panicked")?;
            restarted.map(|()| sent)
        })?;
        let counts = counted(&agent)?;
        assert_eq!([counts[0], counts[2]], [40 + talking; 2], "{way}");
        let (links, filters) = if way == "tcx" { (4, 0) } else { (0, 2) };
        assert_eq!((scene.links()?, scene.ours(link)?), (links, filters), "{way}");
        println!("{way}: {talking} datagrams during the restart");
    }
    Ok(())
}

#[test]
fn what_a_killed_agent_left_half_done_is_completed() -> Result<()> {
    require_root!();
    let scene = Scene::open("half")?;
    let link = scene.client();
    let mut agent = scene.start("clsact")?;
    agent.kill9()?;
    scene.tc(&[&["filter", "del", "dev", link, "egress"][..], &OURS[..5]].concat())?;
    assert_eq!(scene.ours(link)?, 1);
    agent.restart()?;
    assert_eq!(scene.ours(link)?, 2);
    // Without any filter the qdisc that is there counts as somebody else's, which harms nobody.
    let web = scene.web.pod.host_link();
    agent.kill9()?;
    for direction in ["ingress", "egress"] {
        scene.tc(&["filter", "del", "dev", web, direction])?;
    }
    agent.restart()?;
    assert_eq!(scene.ours(web)?, 2);
    // Whose qdisc is whose is still known: a pod that leaves the mesh takes ours away.
    let mut plain = market::pod(&scene.market.client, "client");
    plain = plain.label("mesh-agent.io/dataplane", "disabled");
    scene.market.apply(&plain)?;
    let gone = until(SOON, || scene.ours(link).is_ok_and(|count| count == 0));
    assert!(gone && !scene.has_qdisc(link)?, "{}", agent.log());
    agent.terminate()?;
    ensure!(scene.market.sandbox.cleanup()?.status.success());
    assert_eq!((scene.ours(web)?, scene.has_qdisc(web)?), (0, true));
    Ok(())
}

#[test]
fn another_way_takes_the_place_of_the_first() -> Result<()> {
    require_root!();
    let scene = Scene::open("switch")?;
    let link = scene.client();
    for (round, way) in (1..).zip(["tcx", "clsact", "auto", "clsact"]) {
        let agent = scene.start(way)?;
        scene.talk(&[10; 10])?;
        let (links, filters) = if way == "clsact" { (0, 2) } else { (4, 0) };
        assert_eq!((scene.links()?, scene.ours(link)?), (links, filters), "{way}");
        assert_eq!(scene.has_qdisc(link)?, way == "clsact");
        assert_eq!(counted(&agent)?[0], 10 * round, "{way}");
        agent.kill9()?;
    }
    ensure!(scene.market.sandbox.cleanup()?.status.success());
    assert_eq!((scene.ours(link)?, scene.has_qdisc(link)?), (0, false));
    Ok(())
}

/// Takes up to 13 seconds: the agent asks the kernel every ten what runs.
#[test]
fn slow_what_was_taken_away_is_named_and_put_back() -> Result<()> {
    require_root!();
    let scenes = ["tcx", "clsact"].map(|way| (way, Scene::open(&format!("away-{way}"))));
    let mut agents = Vec::new();
    for (way, scene) in scenes {
        let scene = scene?;
        let agent = scene.start(way)?;
        // After the first look, which comes at once.
        std::thread::sleep(Duration::from_millis(200));
        if way == "tcx" {
            let dir = scene.market.sandbox.bpffs().join("mesh/v1/links");
            let mut removed = 0;
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                if path.display().to_string().contains("mesh_from_pod_") {
                    fs::remove_file(path)?;
                    removed += 1;
                }
            }
            assert_eq!(removed, 2);
        } else {
            scene.tc(&["qdisc", "del", "dev", scene.client(), "clsact"])?;
            let web = scene.web.pod.host_link();
            scene.tc(&["filter", "del", "dev", web, "ingress"])?;
        }
        let check = scene.meshctl(&["check"])?;
        assert!(check.contains("FAIL  packets are counted: "), "{check}");
        agents.push((way, scene, agent));
    }
    for (way, scene, agent) in &agents {
        let named = until(A_LOOK, || {
            let log = agent.log();
            let lines = log
                .lines()
                .filter(|line| line.contains("not ready") && line.contains("packets"));
            let mut late = lines.filter(|line| line.contains("mesh_from_pod is not at interface"));
            late.any(|line| line.contains("shop/client") && line.contains("shop/web"))
        });
        assert!(named, "{way}: {}", agent.log());
        eventually(SOON, || {
            let answer = agent.ready()?;
            ensure!(answer.status == 200, "{way}: {answer:?}");
            Ok(())
        })?;
        let (links, filters) = if *way == "tcx" { (4, 0) } else { (0, 2) };
        assert_eq!(
            (scene.links()?, scene.ours(scene.client())?),
            (links, filters),
            "{way}"
        );
        scene.talk(&[10; 5])?;
        assert_eq!(counted(agent)?[0], 5, "{way}");
        let check = scene.meshctl(&["check"])?;
        assert!(check.contains("ok    packets are counted: "), "{check}");
    }
    Ok(())
}

#[test]
fn beside_the_other_kind_of_qdisc_one_direction_is_counted() -> Result<()> {
    require_root!();
    let scene = Scene::open("one-way")?;
    let link = scene.client();
    scene.tc(&["qdisc", "add", "dev", link, "ingress"])?;
    let agent = scene.start("clsact")?;
    scene.talk(&[10; 5])?;
    let counts = counted(&agent)?;
    assert_eq!([counts[0], counts[2]], [5, 0]);
    let check = scene.meshctl(&["check"])?;
    assert!(
        check.contains("FAIL  all of every pod is seen: shop/client"),
        "{check}"
    );
    // By tcx nothing is in the way.
    drop(agent);
    let agent = scene.start("tcx")?;
    scene.talk(&[10; 5])?;
    let counts = counted(&agent)?;
    assert_eq!([counts[0], counts[2]], [10, 5]);
    assert_eq!(scene.ours(link)?, 0);
    assert!(scene.tc(&["qdisc", "show", "dev", link])?.contains("ingress"));
    Ok(())
}

/// Whether both packet programs are attached somewhere, by links; an error where only one is.
fn attached(scene: &Scene) -> Result<bool> {
    let pins = scene.market.sandbox.census()?.pins;
    let has = |program: &str| pins.iter().any(|pin| pin.to_string_lossy().contains(program));
    let [from, to] = ["mesh_from_pod_", "mesh_to_pod_"].map(has);
    ensure!(from == to, "{pins:?}");
    Ok(from)
}

#[test]
fn an_agent_that_counts_no_packets_removes_the_programs_of_one_that_did() -> Result<()> {
    require_root!();
    let scene = Scene::open("packets-off")?;
    let agent = scene.market.sandbox.agent().start()?;
    ensure!(
        until(SOON, || attached(&scene).is_ok_and(|attached| attached)),
        "packets are not counted"
    );
    agent.terminate()?;
    ensure!(attached(&scene)?, "the programs went with their agent");

    let without = scene.market.sandbox.agent().arg("--packets").arg("off").start()?;
    ensure!(
        until(SOON, || attached(&scene).is_ok_and(|attached| !attached)),
        "packets are still counted"
    );
    without.terminate()?;

    let _again = scene.market.sandbox.agent().start()?;
    ensure!(
        until(SOON, || attached(&scene).is_ok_and(|attached| attached)),
        "packets are not counted again"
    );
    Ok(())
}
