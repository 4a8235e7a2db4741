//! What goes wrong around the agent: each fault is named, touches nothing else, and heals by itself.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::manifest::{self, Endpoint, Manifest, Port};
use harness::market;
use harness::traffic::TcpServer;
use harness::{Agent, AgentBuilder, Market, Pod, Sandbox, eventually, kernel, require, require_root, until};

/// What the agent does by itself and at once, on a machine that does much else.
const SOON: Duration = Duration::from_secs(5);
/// How long an agent that is to fail may take.
const FAILURE: Duration = Duration::from_secs(10);

/// A service whose backend is the pod `web`.
fn twin(name: &str, number: u8) -> Manifest {
    market::service_of("web", name, number)
}

/// Starts an agent that cannot run, and waits for its end; what it said, which names all of these.
fn fails(agent: AgentBuilder<'_>, exit: i32, words: &[&str]) -> Result<()> {
    let agent = agent.launch()?;
    let status = agent.program().wait(FAILURE)?;
    let said = agent.log();
    ensure!(status.code() == Some(exit), "{status}: {said}");
    for word in words {
        ensure!(said.contains(word), "{word:?} is missing in {said}");
    }
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}

/// Waits until the agent's log has a line with all of these words.
fn logged(agent: &Agent, words: &[&str]) -> Result<()> {
    let has = |line: &str| words.iter().all(|word| line.contains(word));
    let found = until(SOON, || agent.log().lines().any(has));
    ensure!(found, "no line with {words:?} in {}", agent.log());
    Ok(())
}

/// Waits until a list of the agent's status says all of these words in one line, or nothing any more.
fn reported(sandbox: &Sandbox, list: &str, words: &[&str]) -> Result<()> {
    let check = || -> Result<()> {
        let status: serde_json::Value = serde_json::from_str(&sandbox.admin("/v1/status")?.body)?;
        let lines = status[list].as_array().context("a list")?;
        let has = |line: &serde_json::Value| {
            line.as_str()
                .is_some_and(|line| words.iter().all(|word| line.contains(word)))
        };
        ensure!(
            lines.iter().any(has) || (words.is_empty() && lines.is_empty()),
            "{words:?} in {list} of {status}"
        );
        Ok(())
    };
    eventually(SOON, check)
}

/// Waits until the pod's connections to the service are translated, or no longer.
fn translated(pod: &Pod, service: u8, yes: bool) -> Result<()> {
    eventually(SOON, || match market::ask(pod, service) {
        Ok(_) if yes => Ok(()),
        Err(error) if !yes && error.kind() == ErrorKind::HostUnreachable => Ok(()),
        result => Err(anyhow::anyhow!("{result:?} from {}", pod.name())),
    })
}

fn yaml_service(name: &str, number: u8, port: &str) -> String {
    let vip = market::vip(number);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop, uid: {name}}}\nspec:\n  \
         clusterIP: {vip}\n  clusterIPs: [{vip}]\n  selector: {{app: web}}\n  ports:\n  - port: {port}\n    \
         targetPort: 8080\n"
    )
}

#[test]
fn a_mistake_in_a_manifest_is_named_and_hides_nothing_else() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("mistake")?;
    let docs = |middle: &str| {
        [
            &yaml_service("one", 1, "80"),
            middle,
            &yaml_service("three", 3, "80"),
        ]
        .join("---\n")
    };
    let manifests = market.sandbox.manifests();
    manifests.write("services.yaml", &docs(&yaml_service("two", 2, "eighty")))?;
    let agent = market.sandbox.agent().start()?;
    logged(
        &agent,
        &[
            "WARN",
            "services.yaml",
            "document 2",
            "spec.ports[0].port",
            "shop/two",
        ],
    )?;
    reported(
        &market.sandbox,
        "problems",
        &["services.yaml", "document 2", "spec.ports[0].port"],
    )?;
    for number in [1, 3, 10] {
        assert_eq!(market.ask(number)?, "web", "service {number}");
    }
    market.ask(2).expect_err("its manifest is broken");

    manifests.write("services.yaml", &docs(&yaml_service("two", 2, "80")))?;
    assert_eq!(eventually(SOON, || market.ask(2))?, "web");
    reported(&market.sandbox, "problems", &[])?;

    // Now it is broken while it works: nothing is YAML that opens a list and never closes it.
    manifests.write("services.yaml", &docs("kind: [Service\n"))?;
    logged(&agent, &["WARN", "services.yaml", "document 2"])?;
    for number in [1, 2, 3] {
        assert_eq!(
            market.ask(number)?,
            "web",
            "service {number} lost its last good state"
        );
    }
    manifests.write("services.yaml", &docs(""))?;
    translated(&market.client, 2, false)?;
    reported(&market.sandbox, "problems", &[])?;
    assert_eq!([market.ask(1)?, market.ask(3)?], ["web", "web"]);
    Ok(())
}

#[test]
fn a_last_good_state_does_not_outlive_the_agent_unseen() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("broken")?;
    let manifests = market.sandbox.manifests();
    manifests.write("services.yaml", &yaml_service("one", 1, "80"))?;
    let mut agent = market.sandbox.agent().start()?;
    assert_eq!(market.ask(1)?, "web");
    agent.kill9()?;
    manifests.write("services.yaml", &yaml_service("one", 1, "eighty"))?;
    agent.restart()?;
    // Nobody remembers what it was; all else works, and the problem is told.
    reported(
        &market.sandbox,
        "problems",
        &["services.yaml", "spec.ports[0].port"],
    )?;
    assert_eq!(market.ask(10)?, "web");
    manifests.write("services.yaml", &yaml_service("one", 1, "80"))?;
    assert_eq!(eventually(SOON, || market.ask(1))?, "web");
    Ok(())
}

#[test]
fn an_unknown_namespace_in_the_annotation_is_reported() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("annotation")?;
    let pod = manifest::pod("shop", "client", &[], market.client.ips());
    let annotated = |netns: &str| pod.clone().annotation("mesh-agent.io/netns", netns);
    market.apply(&annotated("nowhere"))?;
    let agent = market.sandbox.agent().start()?;
    let path = market.sandbox.netns_dir().join("nowhere").display().to_string();
    logged(&agent, &["shop/client", "mesh-agent.io/netns", &path])?;
    reported(&market.sandbox, "unassigned", &["shop/client", &path])?;
    translated(&market.client, 10, false)?;
    market.apply(&annotated("client"))?;
    translated(&market.client, 10, true)?;
    reported(&market.sandbox, "unassigned", &[])
}

#[test]
fn an_address_in_two_namespaces_matches_neither() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("twins")?;
    let twins = [
        market.pod("twin-a", &["10.0.1.50", "10.0.1.51"])?,
        market.pod("twin-b", &["10.0.1.50", "10.0.1.52"])?,
    ];
    market.apply(&manifest::pod("shop", "twin", &[], &["10.0.1.50".parse()?]))?;
    let agent = market.sandbox.agent().start()?;
    logged(&agent, &["shop/twin", "netns/twin-a", "netns/twin-b"])?;
    reported(
        &market.sandbox,
        "unassigned",
        &["shop/twin", "netns/twin-a", "netns/twin-b"],
    )?;
    for twin in &twins {
        translated(twin, 10, false)?;
    }
    assert_eq!(market.ask(10)?, "web");
    twins[0].delete()?;
    translated(&twins[1], 10, true)?;
    reported(&market.sandbox, "unassigned", &[])
}

#[test]
fn a_pod_comes_back_with_another_address() -> Result<()> {
    require_root!();
    let (market, backend) = Market::with_one_web("comes-back")?;
    let _agent = market.sandbox.agent().start()?;
    assert_eq!(market.ask(10)?, "web");
    translated(&backend.pod, 10, true)?;
    market.delete(&market::pod(&backend.pod, "web"))?;
    backend.pod.delete()?;
    let refused = until(SOON, || {
        market
            .ask(10)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert!(refused, "{:?}", market.ask(10));
    let again = market.unlisted("web", 21)?;
    market.apply(&market::pod(&again.pod, "web").uid("web-again"))?;
    assert_eq!(eventually(SOON, || market.ask(10))?, "web");
    translated(&again.pod, 10, true)?;
    let pods = market.sandbox.bpffs().join("mesh/v1/maps/PODS");
    assert_eq!(kernel::entries(&pods)?, 2, "client and web");
    Ok(())
}

#[test]
fn an_address_is_used_again_by_another_pod() -> Result<()> {
    require_root!();
    let market = Market::open("reuse", true)?;
    let old = market.backend("old", "old", 11)?;
    market
        .sandbox
        .manifests()
        .apply_all([&market::service("old", 10), &market::service("new", 20)])?;
    let _agent = market.sandbox.agent().start()?;
    assert_eq!(market.ask(10)?, "old");
    let refused = |number| {
        until(SOON, || {
            market
                .ask(number)
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        })
    };
    assert!(refused(20), "{:?}", market.ask(20));
    market.delete(&market::pod(&old.pod, "old"))?;
    old.pod.delete()?;
    let new = market.backend("new", "new", 11)?;
    assert_eq!(eventually(SOON, || market.ask(20))?, "new");
    assert!(
        refused(10),
        "the old service leads to the new pod: {:?}",
        market.ask(10)
    );
    translated(&new.pod, 20, true)?;
    assert_eq!(market.sandbox.admin("/v1/diff")?.body, "[]");
    Ok(())
}

#[test]
fn a_namespace_that_goes_takes_its_pod_along() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("handle")?;
    let guest = market.pod("guest", &["10.0.1.30"])?;
    market.apply(&market::pod(&guest, "guest"))?;
    let agent = market.sandbox.agent().start()?;
    let pods = market.sandbox.bpffs().join("mesh/v1/maps/PODS");
    assert_eq!(kernel::entries(&pods)?, 3);
    guest.delete()?;
    reported(&market.sandbox, "unassigned", &["shop/guest", "10.0.1.30"])?;
    assert!(until(SOON, || kernel::entries(&pods).is_ok_and(|count| count == 2)));
    assert_eq!(market.ask(10)?, "web");
    assert_eq!(agent.ready()?.status, 200);
    let guest = market.pod("guest", &["10.0.1.30"])?;
    translated(&guest, 10, true)?;
    reported(&market.sandbox, "unassigned", &[])
}

/// How long after its address a pod is enrolled whose namespace was there for some time before.
fn enrolled_after(market: &Market, name: &str, ip: &str, head_start: Duration) -> Result<Duration> {
    market.apply(&manifest::pod("shop", name, &[], &[ip.parse()?]))?;
    reported(&market.sandbox, "unassigned", &[name])?;
    let pod = market.pod(name, &[])?;
    sleep(head_start);
    translated_not(&pod)?;
    let add = format!("ip addr add {ip}/16 dev eth0");
    let output = pod.command("sh").args(["-c", &add]).output()?;
    let there = Instant::now();
    ensure!(output.status.success(), "{output:?}");
    let enrolled = pod.run(|| {
        until(SOON, || {
            harness::traffic::ask_tcp(market::address(10, 80)).is_ok()
        })
    });
    ensure!(enrolled, "{name} is not enrolled after {SOON:?}");
    Ok(there.elapsed())
}

/// Without the mesh there is no way to the service.
fn translated_not(pod: &Pod) -> Result<()> {
    let error = market::ask(pod, 10)
        .err()
        .context("enrolled without an address")?;
    ensure!(error.kind() == ErrorKind::HostUnreachable, "{error}");
    Ok(())
}

/// An address that comes after its namespace is seen at once, however long after: in two of three cases,
/// since the machine may be busy.
fn enrolled_at_once(test_name: &str, head_start: Duration) -> Result<()> {
    const LIMIT: Duration = Duration::from_millis(200);
    let (market, _web) = Market::with_one_web(test_name)?;
    let _agent = market.sandbox.agent().start()?;
    let mut took = Vec::new();
    for (name, ip) in [
        ("late-1", "10.0.1.61"),
        ("late-2", "10.0.1.62"),
        ("late-3", "10.0.1.63"),
    ] {
        took.push(enrolled_after(&market, name, ip, head_start)?);
        if took.iter().filter(|took| **took <= LIMIT).count() > 1 {
            return Ok(());
        }
    }
    anyhow::bail!("{head_start:?} after the namespace came the address, and enrolment {took:?} after that")
}

#[test]
fn an_address_just_after_its_namespace_is_seen_at_once() -> Result<()> {
    require_root!();
    enrolled_at_once("late-soon", Duration::from_millis(30))
}

#[test]
fn an_address_long_after_its_namespace_is_seen_at_once() -> Result<()> {
    require_root!();
    // Long enough for whoever looks ever more rarely.
    enrolled_at_once("late-long", Duration::from_millis(700))
}

#[test]
fn directories_that_are_not_what_they_should_be_are_named() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("directories")?;
    let agent = || market.sandbox.agent();
    fails(
        agent().arg("--manifests").arg("/nowhere/manifests"),
        1,
        &["/nowhere/manifests"],
    )?;
    let plain = market.sandbox.manifests().dir().display().to_string();
    let mount = format!("mount -t bpf bpf {plain}");
    fails(agent().arg("--bpffs").arg(&plain), 1, &[&plain, &mount])?;
    fails(
        agent().arg("--bpffs").arg("/nowhere/bpf"),
        1,
        &["/nowhere/bpf", "mount -t bpf"],
    )?;
    fails(
        agent().arg("--cgroup").arg(&plain),
        1,
        &[&plain, "cgroup2", "--cgroup"],
    )?;
    fails(
        agent().arg("--cgroup").arg("/nowhere/cgroup"),
        1,
        &["/nowhere/cgroup", "--cgroup"],
    )?;
    let file = market.sandbox.manifests().dir().join("namespace_-_shop.json");
    assert!(file.is_file());
    fails(
        agent().arg("--run-dir").arg(&file),
        1,
        &[&file.display().to_string()],
    )?;
    let readonly = "/sys/kernel/mesh-run";
    fails(agent().arg("--run-dir").arg(readonly), 1, &[readonly])?;
    // None of them did harm, nor left anything attached.
    market::attached(market.sandbox.cgroup(), 0)?;
    let _agent = agent().start()?;
    assert_eq!(market.ask(10)?, "web");
    Ok(())
}

#[test]
fn a_run_directory_that_may_not_be_written_is_named() -> Result<()> {
    require!(harness::require::root(), harness::require::program("setpriv"));
    let sandbox = Sandbox::new("readonly")?;
    let dir = sandbox.run_dir();
    let mode = |bits| {
        let bits = std::os::unix::fs::PermissionsExt::from_mode(bits);
        fs::set_permissions(&dir, bits)
    };
    mode(0o555)?;
    // Root may write everywhere unless it gives that up.
    let meek = sandbox
        .agent()
        .under(&["setpriv", "--bounding-set=-dac_override,-dac_read_search"]);
    let failed = fails(meek, 1, &[&dir.display().to_string(), "ermission denied"]);
    mode(0o755)?;
    failed
}

#[test]
fn a_wrong_map_size_is_a_wrong_usage() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("sizes")?;
    for size in [
        "LB_TABLE",
        "LB_TABLE=0",
        "LB_TABLE=many",
        "LB_TABLE=-1",
        "NO_SUCH_MAP=8",
        "LB_TABLE=4294967296",
    ] {
        let agent = sandbox.agent().arg("--map-size").arg(size);
        fails(agent, 2, &["--map-size", size]).with_context(|| size.to_owned())?;
    }
    let census = sandbox.census()?;
    assert!(census.pins.is_empty() && census.files.is_empty(), "{census:?}");
    Ok(())
}

/// An agent that lacks capabilities.
fn without<'a>(sandbox: &'a Sandbox, wrapper: &[&str]) -> AgentBuilder<'a> {
    sandbox.agent().under(wrapper)
}

const NO_BPF: [&str; 2] = ["setpriv", "--bounding-set=-bpf,-sys_admin"];

#[test]
fn a_missing_capability_is_named() -> Result<()> {
    require!(harness::require::root(), harness::require::program("setpriv"));
    let (market, _web) = Market::with_one_web("capability")?;
    // First where nothing is pinned yet, then where another agent's maps are.
    fails(without(&market.sandbox, &NO_BPF), 1, &["CAP_BPF"])?;
    market.sandbox.agent().start()?.terminate()?;
    fails(without(&market.sandbox, &NO_BPF), 1, &["CAP_BPF"])?;
    assert_eq!(market.ask(10)?, "web");
    Ok(())
}

#[test]
fn the_capability_to_attach_is_named() -> Result<()> {
    require!(harness::require::root(), harness::require::program("setpriv"));
    let (market, _web) = Market::with_one_web("net-admin")?;
    let wrapper = ["setpriv", "--bounding-set=-net_admin,-sys_admin"];
    fails(without(&market.sandbox, &wrapper), 1, &["CAP_NET_ADMIN"])
}

#[test]
fn a_taken_port_is_named() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("port")?;
    for port in ["15021", "15020"] {
        let squatter = TcpServer::start(
            &market.sandbox.node(),
            format!("[::]:{port}").parse()?,
            "squatter",
        )?;
        fails(market.sandbox.agent(), 1, &[port])?;
        squatter.stop();
    }
    let _agent = market.sandbox.agent().start()?;
    assert_eq!(market.ask(10)?, "web");
    Ok(())
}

#[test]
fn what_finds_no_room_is_named_and_alone() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("full")?;
    let agent = market
        .sandbox
        .agent()
        .arg("--map-size")
        .arg("SERVICES=8")
        .start()?;
    // Service `web` has two frontends.
    for number in 1..=6 {
        market.apply(&twin(&format!("twin-{number}"), number))?;
        assert_eq!(eventually(SOON, || market.ask(number))?, "web");
    }
    market.apply(&twin("twin-7", 7))?;
    logged(&agent, &["WARN", "shop/twin-7", "SERVICES"])?;
    // The next step is an option that there is.
    logged(&agent, &["shop/twin-7", "--map-size SERVICES="])?;
    reported(&market.sandbox, "refusals", &["shop/twin-7", "SERVICES"])?;
    translated(&market.client, 7, false)?;
    for number in (1..=6).chain([10]) {
        assert_eq!(market.ask(number)?, "web", "service {number}");
    }
    assert_eq!(agent.ready()?.status, 200);
    market.delete(&twin("twin-1", 1))?;
    assert_eq!(eventually(SOON, || market.ask(7))?, "web");
    reported(&market.sandbox, "refusals", &[])
}

/// Takes up to 13 seconds: what was freed has to rest for ten before it is used again.
#[test]
fn slow_room_that_was_freed_is_used_by_who_waited_for_it() -> Result<()> {
    require_root!();
    let (market, web) = Market::with_one_web("rest")?;
    let ports = [Port::tcp(80).to(8080)];
    let sizes = ["LB_TABLE=64", "SERVICES=8", "BACKENDS=16"];
    let builder = sizes.iter().fold(market.sandbox.agent(), |agent, size| {
        agent.arg("--map-size").arg(size)
    });
    // A service with its endpoints: the first is the pod that answers, the rest nobody asks for long.
    let slice = |name: &str, count: u8| {
        let ips = (0..count).map(|host| std::net::Ipv4Addr::new(10, 0, 1, 11 + host).into());
        let endpoints: Vec<_> = ips.map(Endpoint::ready).collect();
        manifest::endpoint_slice("shop", name, &format!("{name}-1"), &ports, &endpoints)
    };
    let bare = |name: &str, number| manifest::service("shop", name, &[market::vip(number)], &ports, &[]);
    let agent = builder.start()?;
    // Fifteen backends in all: two are web's (TCP and UDP), one of which this one shares.
    market
        .sandbox
        .manifests()
        .apply_all([&bare("large", 1), &slice("large", 14)])?;
    let maglev = twin("maglev", 3).annotation("mesh-agent.io/load-balancing", "maglev");
    market.apply(&maglev)?;
    logged(&agent, &["shop/maglev", "LB_TABLE"])?;
    reported(&market.sandbox, "refusals", &["shop/maglev", "LB_TABLE"])?;
    let other = market.backend("other", "other", 40)?;
    market.apply(&market::service_of("other", "other", 2))?;
    logged(&agent, &["WARN", "shop/other", "BACKENDS"])?;
    reported(&market.sandbox, "refusals", &["shop/other", "BACKENDS"])?;
    assert_eq!(market.ask(10)?, "web");
    market.delete(&slice("large", 14))?;
    market.delete(&bare("large", 1))?;
    let freed = Instant::now();
    let answer = eventually(Duration::from_secs(13), || market.ask(2));
    assert_eq!(answer.with_context(|| agent.log())?, "other");
    println!("in after {:?}", freed.elapsed());
    assert_eq!(market.ask(10)?, "web");
    drop((web, other));
    Ok(())
}

/// Takes up to 13 seconds: the agent asks the kernel every ten what is attached.
#[test]
fn slow_a_cgroup_that_goes_is_noticed() -> Result<()> {
    require_root!();
    let (market, _web) = Market::with_one_web("no-cgroup")?;
    let home = market.pod("home", &["10.0.1.60"])?;
    let cgroup: &Path = home.place().cgroup().context("a cgroup")?;
    let agent = market.sandbox.agent().arg("--cgroup").arg(cgroup).start()?;
    home.delete()?;
    assert!(!cgroup.exists());
    let mut answer = agent.ready()?;
    let noticed = until(Duration::from_secs(13), || {
        answer = agent.ready().unwrap_or_else(|_| answer.clone());
        answer.status == 503
    });
    assert!(noticed && answer.body.contains("programs"), "{answer:?}");
    assert!(answer.body.contains("mesh_connect4"), "{answer:?}");
    assert!(agent.program().alive());
    Ok(())
}
