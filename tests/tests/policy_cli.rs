//! What operators see of network policies: `meshctl policy`, `flows --verdict`, `status` and the metrics.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::manifest::Manifest;
use harness::scene::{self, Shop};
use harness::{Agent, Program, eventually, manifest, metrics, patient, require_root, until};
use mesh_agent::app::names::Names;
use mesh_agent::datapath::{pins::Pins, tables::Tables};
use mesh_agent::model::policy::Op;
use mesh_common::addr::Addr;
use mesh_common::rules::{NOTHING, PodRules};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(5);
/// An operator who watches sees a denial within this time.
const SEEN: Duration = Duration::from_millis(100);

/// A shop with policies.
struct Town {
    agent: Agent,
    /// Last: the agent runs in it.
    shop: Shop,
}

fn policy(name: &str, spec: Value) -> Manifest {
    manifest::Manifest::new("networking.k8s.io/v1", "NetworkPolicy", Some("shop"), name)
        .set("metadata.generation", 3)
        .set("spec", spec)
}

/// Only `shop/client` may come to `web-1`, at [`scene::PORT`]; a second rule can't be read.
fn into_web() -> Manifest {
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "web-1"}},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [{"podSelector": {"matchLabels": {"who": "client"}}}],
                "ports": [{"port": scene::PORT}],
            },
            {"from": [{"ipBlock": {"cidr": "nothing"}}]},
        ],
    });
    policy("into-web", spec)
}

impl Town {
    fn open(test_name: &str, options: &[&str]) -> Result<Self> {
        let shop = Shop::open(test_name, &["web-1", "web-2"])?;
        let manifests = shop.sandbox.manifests();
        manifests.apply(&manifest::pod_of(
            scene::NAMESPACE,
            &shop.client,
            &[("who", "client")],
        ))?;
        manifests.apply(&into_web())?;
        let agent = options
            .iter()
            .fold(shop.sandbox.agent(), harness::AgentBuilder::arg);
        let agent = agent.start()?;
        Ok(Self { agent, shop })
    }

    fn said(&self, line: &str) -> Result<Output> {
        self.shop.sandbox.meshctl(line.split(' '))
    }

    /// What a command prints; an error where it fails.
    fn shown(&self, line: &str) -> Result<String> {
        let output = self.said(line)?;
        ensure!(output.status.success(), "{line}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn json(&self, line: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.shown(line)?)?)
    }

    /// Exit code and complaint of a command.
    fn refused(&self, line: &str) -> Result<(Option<i32>, String)> {
        let output = self.said(line)?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    }

    fn web(&self) -> SocketAddr {
        SocketAddr::new(self.shop.backend("web-1").v4(), scene::PORT)
    }

    /// Writes rules for the client past the agent: nothing may leave it.
    fn shut_in(&self) -> Result<()> {
        let names = Names::load(&self.shop.sandbox.run_dir())?;
        let mut workloads = names.workloads.iter();
        let client = workloads.find(|(_, pod)| pod.name == "client");
        let (&workload, _) = client.context("the client has no name yet")?;
        let mut tables = Tables::open(&Pins::new(&self.shop.sandbox.bpffs()))?;
        let own: Addr = self.shop.client.v4().into();
        let rules = PodRules::new(workload, [0, NOTHING], 0, [0; 2], [own, Addr::default()]);
        tables.apply_policy(&Op::SetPodRules { workload, rules })?;
        Ok(())
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let web = self.web();
        self.shop.client.run(|| TcpStream::connect(web))
    }

    /// `meshctl flows`, going on.
    fn follow(&self, options: &[&str]) -> Result<Program> {
        let sandbox = &self.shop.sandbox;
        let follow = sandbox.meshctl_in(&sandbox.node())?;
        follow.args(["flows", "-f", "--last", "0"]).args(options).start()
    }
}

#[test]
fn policies_are_listed_and_read_back() -> Result<()> {
    require_root!();
    let town = Town::open("policy-list", &[])?;
    let list = town.json("policy list -n shop -o json")?;
    let row = &list["items"][0];
    assert_eq!(
        (&row["name"], &row["directions"], &row["generation"]),
        (&json!("into-web"), &json!(["ingress"]), &json!(3)),
        "{list}"
    );
    assert_eq!((&row["rules"], &row["pods"]), (&json!(1), &json!(1)), "{list}");
    let fault = row["faults"][0].as_str().context("the second rule is no fault")?;
    assert!(fault.contains("spec.ingress[1].from[0].ipBlock.cidr"), "{fault}");
    assert_eq!(town.json("policy list -n other -o json")?["items"], json!([]));

    let text = town.shown("policy show shop/into-web")?;
    for part in [
        "Selects:     app=web-1\n",
        &format!("  [0] from pods who=client: TCP/{}\n", scene::PORT),
        "egress: the policy does not isolate pods so\n",
        "  shop/web-1 ",
    ] {
        assert!(text.contains(part), "{part}{text}");
    }
    let (code, complaint) = town.refused("policy show shop/none")?;
    assert_eq!(
        (
            code,
            complaint.contains("policy shop/none is not known to the agent")
        ),
        (Some(1), true),
        "{complaint}"
    );

    let status = town.json("status -o json")?;
    assert_eq!(status["agent"]["policy"]["policies"], 1, "{status}");
    assert_eq!(status["agent"]["policy"]["pods"], 1, "{status}");
    eventually(Duration::from_secs(15), || {
        let text = town.agent.metrics()?;
        let policies = metrics::sum(&text, "mesh_policies", &[]);
        ensure!(policies == 1, "mesh_policies is {policies}");
        Ok(())
    })
}

#[test]
fn questions_without_an_answer_say_why() -> Result<()> {
    require_root!();
    let town = Town::open("policy-questions", &[])?;
    for (line, code, why) in [
        (
            "policy explain --from shop/gone --to shop/web-1:80",
            1,
            "pod shop/gone is not known to the agent",
        ),
        (
            "policy explain --from shop/client --to service/shop/none:80",
            1,
            "service shop/none has no port 80 over TCP",
        ),
        (
            "policy explain --from client --to shop/web-1:80",
            2,
            "client is nobody who could open a flow",
        ),
        (
            "policy explain --from shop/client --to shop/web-1",
            2,
            "shop/web-1 is no destination",
        ),
        (
            "policy wait shop/none --timeout 200ms",
            1,
            "the agent knows of no such policy after 200ms",
        ),
        (
            "policy wait shop/into-web --generation 4 --timeout 200ms",
            1,
            "no generation newer than 3",
        ),
    ] {
        let (exit, complaint) = town.refused(line)?;
        assert_eq!(exit, Some(code), "{line}: {complaint}");
        assert!(complaint.contains(why), "{line}: {complaint}");
    }
    Ok(())
}

#[test]
fn what_is_refused_fails_as_the_settings_say() -> Result<()> {
    require_root!();
    for (test, options, kind) in [
        ("deny-refused", &[][..], ErrorKind::ConnectionRefused),
        (
            "deny-eperm",
            &["--policy-deny-errno", "eperm"][..],
            ErrorKind::PermissionDenied,
        ),
    ] {
        let town = Town::open(test, options)?;
        town.connect().context("before there were rules")?;
        town.shut_in()?;
        let error = town.connect().err().context("it was not refused")?;
        assert_eq!(error.kind(), kind, "{options:?}");
    }
    Ok(())
}

#[test]
fn who_watches_sees_a_denial_at_once() -> Result<()> {
    require_root!();
    let town = Town::open("policy-flows", &[])?;
    town.shut_in()?;
    let follower = town.follow(&["--verdict", "denied", "-o", "json"])?;
    let lines = || follower.log().lines().count();
    // It takes a moment until somebody watches.
    let watched = until(SOON, || {
        let refused = town.connect().is_err();
        refused && until(patient(SEEN), || lines() > 0)
    });
    ensure!(watched, "nothing is shown: {}", follower.tail());
    // What was denied before it was shown may still come.
    std::thread::sleep(patient(SEEN));
    let mut times = Vec::new();
    for _ in 0..20 {
        let before = lines();
        let start = Instant::now();
        ensure!(town.connect().is_err(), "it was not refused");
        ensure!(until(SOON, || lines() > before), "not shown: {}", follower.tail());
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "a denial is shown after {:?} (median of {}), {:?} at most",
        times[10],
        times.len(),
        times[19]
    );
    ensure!(times[10] < patient(SEEN), "{times:?}");

    let log = follower.log();
    let record: Value = serde_json::from_str(log.lines().last().context("no record")?)?;
    assert_eq!(
        (&record["event"], &record["reason"]),
        (&json!("denied"), &json!("no_room")),
        "{record}"
    );
    let policy = json!({
        "direction": "egress", "end": "source", "hook": "socket", "policies": [], "set": NOTHING,
    });
    assert_eq!(record["policy"], policy, "{record}");
    assert_eq!(
        record["destination"]["address"],
        town.web().to_string(),
        "{record}"
    );

    let denied = |line: &str| -> Result<usize> { Ok(town.shown(line)?.lines().count()) };
    assert_eq!(denied("flows --verdict denied --last 5")?, 5);
    assert_eq!(denied("flows --verdict audited --last 5")?, 0);
    let text = town.agent.metrics()?;
    let labels = [
        ("verdict", "denied"),
        ("reason", "policy"),
        ("direction", "egress"),
    ];
    ensure!(
        metrics::sum(&text, "mesh_verdicts_total", &labels) >= 20,
        "too few denials are counted"
    );
    Ok(())
}

#[test]
fn a_version_that_is_in_force_is_not_waited_for() -> Result<()> {
    require_root!();
    let town = Town::open("policy-wait", &[])?;
    for line in [
        "policy wait shop/into-web --timeout 5s",
        "policy wait into-web -n shop --generation 3 --timeout 5s",
    ] {
        assert_eq!(
            town.shown(line)?,
            "policy shop/into-web is in force, generation 3\n",
            "{line}"
        );
    }
    Ok(())
}

#[test]
fn a_flow_is_explained_as_the_kernel_has_it() -> Result<()> {
    require_root!();
    let town = Town::open("policy-explain", &[])?;
    town.shown("policy wait shop/into-web --timeout 5s")?;
    let explained = town.json(&format!(
        "policy explain --from shop/client --to shop/web-1:{} -o json",
        scene::PORT
    ))?;
    let flow = &explained["flows"][0];
    assert_eq!(
        (&flow["verdict"], &flow["ingress"]["kernel"]["ruleName"]),
        (&json!("allowed"), &json!("shop/into-web ingress[0]")),
        "{explained}"
    );
    let denied = town.json("policy explain --from shop/web-2 --to shop/web-1:22 -o json")?;
    let ingress = &denied["flows"][0]["ingress"];
    assert_eq!(
        (&denied["flows"][0]["verdict"], &denied["drift"]),
        (&json!("denied"), &json!(false)),
        "{denied}"
    );
    assert_eq!(
        (&ingress["kernel"]["says"], &ingress["kernel"]["setPolicies"]),
        (&json!("denied"), &json!(["shop/into-web"])),
        "{denied}"
    );

    town.shut_in()?;
    let output = town.said("policy explain --from shop/client --to 192.0.2.1:80")?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("found no room; DRIFT"), "{text}");
    assert!(text.contains("\nDrift: "), "{text}");
    Ok(())
}
