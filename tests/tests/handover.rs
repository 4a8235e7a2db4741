//! Two agents on one node, as in a rolling update with `maxSurge`: the new one waits for the end of the old one, each in
//! a network namespace of its own, and nobody notices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::background::under_traffic;
use harness::traffic::Conversation;
use harness::{Agent, AgentBuilder, Market, Pod, eventually, market, patient, require_root, until};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(5);
const FLAG: &str = "--wait-for-handover";
const WAITING: &str = "waiting for hand-over";

/// A client, the service `web`, number 10, that two pods serve, and pods for agents.
struct Scene {
    agents: Vec<Pod>,
    backends: Vec<market::Backend>,
    market: Market,
}

impl Scene {
    fn open(test_name: &str) -> Result<Self> {
        let (market, backends) = Market::with_web(test_name)?;
        let agents = (1..=3).map(|number| {
            let ip = format!("10.0.1.9{number}");
            market.sandbox.pod(&format!("agent-{number}"), &[&ip])
        });
        Ok(Self {
            agents: agents.collect::<Result<_>>()?,
            backends: backends.into(),
            market,
        })
    }

    /// An agent in one of the pods, which waits.
    fn agent(&self, number: usize) -> AgentBuilder<'_> {
        self.impatient(number).arg(FLAG)
    }

    /// An agent in one of the pods, which does not.
    fn impatient(&self, number: usize) -> AgentBuilder<'_> {
        let agent = self
            .market
            .sandbox
            .agent()
            .inside(self.agents[number].unenrolled());
        agent.env("MESH_HOST_NETNS", self.market.sandbox.netns_dir().join("node"))
    }

    /// An agent that waits.
    fn waiting(&self, number: usize) -> Result<Agent> {
        let agent = self.agent(number).start()?;
        waits(&agent)?;
        Ok(agent)
    }

    /// Waits until an agent has the tables, and says so.
    fn has(&self, agent: &Agent) -> Result<()> {
        let sandbox = &self.market.sandbox;
        let check = || -> Result<()> {
            let status: serde_json::Value = serde_json::from_str(&sandbox.admin("/v1/status")?.body)?;
            let pid = agent.program().pid();
            ensure!(status["pid"] == pid, "{pid} does not have it: {status}");
            let ready = agent.ready()?;
            ensure!(ready.status == 200 && !ready.body.contains(WAITING), "{ready:?}");
            Ok(())
        };
        eventually(SOON, check).with_context(|| agent.log())
    }

    /// Waits until an agent has the tables; all of them are right.
    fn has_all(&self, agent: &Agent) -> Result<()> {
        self.has(agent)?;
        let diff = self.market.sandbox.meshctl(["diff", "-o", "json"])?;
        ensure!(diff.status.success(), "{diff:?}");
        Ok(())
    }

    fn links(&self) -> Result<BTreeMap<PathBuf, u32>> {
        self.market.installed()
    }
}

/// Waits until an agent is ready and says whom it waits for; what it says.
fn waits(agent: &Agent) -> Result<String> {
    eventually(SOON, || {
        let ready = agent.ready()?;
        ensure!(ready.status == 200 && ready.body.contains(WAITING), "{ready:?}");
        Ok(ready.body)
    })
}

/// What an agent says of how long it took once it had its turn.
fn took(agent: &Agent) -> Result<String> {
    let log = agent.log();
    let line = log.lines().find(|line| line.contains("the tables are right"));
    Ok(line
        .context("it does not say when the tables were right")?
        .to_owned())
}

#[test]
fn a_rolling_update_goes_unnoticed() -> Result<()> {
    require_root!();
    let scene = Scene::open("rolling")?;
    let old = scene.agent(0).start()?;
    let before = scene.links()?;
    let (spread, traffic) = under_traffic(&scene.market, |traffic| {
        traffic.wait(500)?;
        let new = scene.waiting(1)?;
        traffic.wait(500)?;
        let started = Instant::now();
        let status = old.terminate()?;
        let ended = started.elapsed();
        ensure!(status.code() == Some(0), "{status}\n{}", old.log());
        scene.has(&new)?;
        println!(
            "the old one ended after {ended:?}, the new one answered after {:?}",
            started.elapsed()
        );
        scene.has_all(&new)?;
        println!("{}", took(&new)?);
        traffic.wait(500)?;
        ensure!(new.terminate()?.success(), "{}", new.log());
        Ok(())
    })?;
    spread.assert_even(&["web-1", "web-2"]);
    let counts = traffic.counts();
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    assert_eq!(scene.links()?, before, "all was adopted, nothing added");
    Ok(())
}

#[test]
fn is_ready_once_it_knows_everything_and_waits() -> Result<()> {
    require_root!();
    let scene = Scene::open("states")?;
    let sandbox = &scene.market.sandbox;
    // Enough to read that nobody can miss it.
    let service = |number: usize| {
        let (high, low) = (number / 250, number % 250 + 1);
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s-{number}, namespace: shop, uid: u-{number}}}\n\
             spec: {{clusterIP: 10.97.{high}.{low}, ports: [{{port: 80}}], selector: {{app: web}}}}\n"
        )
    };
    sandbox
        .manifests()
        .write("many.yaml", &(0..1_000).map(service).collect::<String>())?;
    let old = scene.agent(0).start()?;
    let new = scene.agent(1).launch()?;
    let mut answers = Vec::new();
    let ready = until(Duration::from_secs(20), || {
        let Ok(answer) = new.ready() else { return false };
        answers.push((answer.status, answer.body));
        answer.status == 200
    });
    assert!(ready, "{answers:?}\n{}", new.log());
    let reading = |(status, body): &(u16, String)| *status == 503 && body.contains("manifests: not read yet");
    assert!(answers.iter().any(reading), "{answers:?}");
    let holds = format!(
        "pid {} holds {}",
        old.program().pid(),
        sandbox.run_dir().display()
    );
    let said = waits(&new)?;
    assert!(said.contains(&holds), "{said}");
    let metrics = new.metrics()?;
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let shown = String::from_utf8(sandbox.meshctl(["status"])?.stdout)?;
    let line = format!("running (pid {}, version", old.program().pid());
    assert!(
        shown.contains(&line) && shown.contains("another one waits to take over"),
        "{shown}"
    );
    old.kill9()?;
    scene.has_all(&new)?;
    println!("with 1000 services: {}", took(&new)?);
    let metrics = new.metrics()?;
    assert!(metrics.contains("istio_tcp_connections_opened"), "{metrics}");
    let shown = String::from_utf8(sandbox.meshctl(["status"])?.stdout)?;
    assert!(!shown.contains("waits"), "{shown}");
    Ok(())
}

#[test]
fn a_crash_is_an_end_too() -> Result<()> {
    require_root!();
    let scene = Scene::open("crashed")?;
    let old = scene.agent(0).start()?;
    let before = scene.links()?;
    let new = scene.waiting(1)?;
    under_traffic(&scene.market, |traffic| {
        traffic.wait(300)?;
        old.kill9()?;
        scene.has_all(&new)?;
        traffic.wait(300)
    })?;
    assert_eq!(scene.links()?, before);
    Ok(())
}

#[test]
fn one_that_ends_while_it_waits_leaves_no_trace() -> Result<()> {
    require_root!();
    let scene = Scene::open("gave-up")?;
    let old = scene.agent(0).start()?;
    let before = (scene.links()?, market::pins(&scene.market.sandbox)?);
    let killed = scene.waiting(1)?;
    killed.kill9()?;
    let told = scene.waiting(1)?;
    let status = told.terminate()?;
    assert_eq!(status.code(), Some(0), "{}", told.log());
    assert_eq!((scene.links()?, market::pins(&scene.market.sandbox)?), before);
    scene.has_all(&old)?;
    let status = String::from_utf8(scene.market.sandbox.meshctl(["status"])?.stdout)?;
    assert!(!status.contains("waits"), "{status}");
    Ok(())
}

#[test]
fn of_three_one_has_it_at_a_time() -> Result<()> {
    require_root!();
    let scene = Scene::open("three")?;
    let first = scene.agent(0).start()?;
    let before = scene.links()?;
    let second = scene.waiting(1)?;
    let third = scene.waiting(2)?;
    let (spread, _) = under_traffic(&scene.market, |traffic| {
        traffic.wait(200)?;
        ensure!(first.terminate()?.success());
        // Whose turn it is is the kernel's choice.
        let has = |agent: &Agent| until(Duration::from_secs(1), || scene.has_all(agent).is_ok());
        let [next, last] = if has(&second) {
            [&second, &third]
        } else {
            [&third, &second]
        };
        scene.has_all(next)?;
        // The other one says so within a second or two.
        let holds = format!("pid {} holds", next.program().pid());
        let told = until(SOON, || waits(last).is_ok_and(|said| said.contains(&holds)));
        ensure!(told, "{:?}", last.ready());
        traffic.wait(200)?;
        next.kill9()?;
        scene.has_all(last)?;
        traffic.wait(200)
    })?;
    spread.assert_even(&["web-1", "web-2"]);
    assert_eq!(scene.links()?, before);
    Ok(())
}

#[test]
fn what_changed_while_nobody_had_it_is_right_afterwards() -> Result<()> {
    require_root!();
    let mut scene = Scene::open("gap")?;
    let old = scene.agent(0).start()?;
    let mut conversation = scene
        .market
        .client
        .run(|| Conversation::open(market::address(10, 80)))?;
    let new = scene.waiting(1)?;
    // While both are there.
    let third = scene.market.backend("web-3", "web", 13)?;
    scene.market.apply(&market::service("late", 20))?;
    scene.market.apply(&market::service_of("web", "soon", 30))?;
    eventually(SOON, || scene.market.ask(30))?;
    // While nobody is: the new one sleeps.
    new.program().signal(Signal::STOP)?;
    ensure!(old.terminate()?.success(), "{}", old.log());
    let answered = conversation.answer().name.clone();
    let gone = scene
        .backends
        .iter()
        .position(|backend| backend.pod.name() != answered);
    let gone = scene
        .backends
        .swap_remove(gone.context("another than the one that answers")?);
    scene.market.delete(&market::pod(&gone.pod, "web"))?;
    scene.market.delete(&market::service_of("web", "soon", 30))?;
    let _late = scene.market.backend("late", "late", 14)?;
    sleep(Duration::from_millis(100));
    new.program().signal(Signal::CONT)?;
    scene.has_all(&new)?;
    assert_eq!(eventually(SOON, || scene.market.ask(20))?, "late");
    eventually(SOON, || match scene.market.ask(30) {
        Err(error) => Ok(error),
        Ok(name) => Err(format!("{name} answers for a service that is gone")),
    })
    .map_err(anyhow::Error::msg)?;
    let names = BTreeSet::from([answered, third.pod.name().to_owned()]);
    eventually(SOON, || {
        let asked = (0..30).map(|_| scene.market.ask(10));
        let asked = asked.collect::<Result<BTreeSet<_>, _>>()?;
        ensure!(asked == names, "{asked:?} instead of {names:?}");
        Ok(())
    })?;
    conversation.echo(b"still there?")?;
    let diff = scene.market.sandbox.meshctl(["diff"])?;
    assert!(diff.status.success(), "{diff:?}");
    Ok(())
}

#[test]
fn one_that_could_not_go_on_says_so_while_the_old_one_goes_on() -> Result<()> {
    require_root!();
    let scene = Scene::open("unfit")?;
    let old = scene.agent(0).start()?;
    let unfit = scene.agent(1).arg("--map-size").arg("LB_TABLE=2048").launch()?;
    let status = unfit.program().wait(patient(SOON))?;
    let said = unfit.log();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("LB_TABLE") && said.contains("max_entries"),
        "{said}"
    );
    // Without the flag it is refused, as ever.
    let refused = scene.impatient(1).launch()?;
    let status = refused.program().wait(patient(SOON))?;
    let said = refused.log();
    assert_eq!(status.code(), Some(1), "{said}");
    let holder = format!("another mesh-agent (pid {}) runs on", old.program().pid());
    assert!(said.contains(&holder) && said.contains("--run-dir"), "{said}");
    scene.has_all(&old)
}

#[test]
fn where_the_old_one_has_other_maps_nothing_is_made_before_it_ends() -> Result<()> {
    require_root!();
    let scene = Scene::open("versions")?;
    let sandbox = &scene.market.sandbox;
    let old = scene.agent(0).start()?;
    // As an agent with another layout of its maps has them.
    let mesh = sandbox.bpffs().join("mesh");
    fs::rename(mesh.join("v1"), mesh.join("v0"))?;
    let before = sandbox.census()?.pins;
    let new = scene.waiting(1)?;
    assert_eq!(sandbox.census()?.pins, before);
    assert!(!mesh.join("v1").exists());
    assert!(!new.log().contains("WARN"), "{}", new.log());
    new.kill9()?;
    fs::rename(mesh.join("v0"), mesh.join("v1"))?;
    scene.has_all(&old)
}
