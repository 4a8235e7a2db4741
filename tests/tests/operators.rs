//! What operators do from a machine of their own: `kubectl mesh`, through the API server, into the agent's pod.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::apiserver::{Denial, Exec, User};
use harness::cluster::Cluster;
use harness::{Launch, Program, eventually, require_root};
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);
const NODE: &str = harness::agent::NODE_NAME;

/// A cluster whose agents' pods run `meshctl` as it is on this node, and a laptop.
struct Laptop {
    cluster: Cluster,
    /// `meshctl` under the name that kubectl looks for.
    plugin: PathBuf,
    kubeconfig: PathBuf,
}

/// An agent's pod.
fn agent_pod(name: &str, node: &str, state: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "mesh-system", "uid": name,
            "labels": {"app.kubernetes.io/name": "mesh-agent"},
        },
        "spec": {"nodeName": node, "containers": [{"name": "mesh-agent", "image": "mesh-agent"}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "mesh-agent", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state,
        }]},
    })
}

fn running() -> Value {
    json!({"running": {"startedAt": "2025-01-01T00:00:00Z"}})
}

impl Laptop {
    fn open(test_name: &str) -> Result<Self> {
        let cluster = Cluster::open(test_name)?;
        let sandbox = &cluster.sandbox;
        let dir = sandbox.manifests().dir().join("laptop");
        std::fs::create_dir(&dir)?;
        let plugin = dir.join("kubectl-mesh");
        let meshctl = harness::meshctl()?;
        symlink(&meshctl, &plugin)?;
        let place = [
            "--bpffs".into(),
            sandbox.bpffs().into_os_string(),
            "--run-dir".into(),
            sandbox.run_dir().into_os_string(),
        ];
        cluster.server.run_commands(move |exec: &Exec| {
            if exec.container != "mesh-agent" || exec.command.first().map(String::as_str) != Some("meshctl") {
                return Err(format!("no such program: {exec:?}"));
            }
            let mut command = Command::new(&meshctl);
            command.args(&exec.command[1..]).args(&place);
            Ok(command)
        });
        cluster.server.add_token("jane", User::named("jane"));
        let kubeconfig = dir.join("config");
        std::fs::write(&kubeconfig, cluster.server.kubeconfig(&json!({"token": "jane"})))?;
        cluster
            .server
            .put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mesh-system"}}))?;
        cluster.server.put(&agent_pod("mesh-agent-a", NODE, &running()))?;
        Ok(Self {
            cluster,
            plugin,
            kubeconfig,
        })
    }

    /// `kubectl mesh`, where there is neither an agent nor a table.
    fn mesh(&self, line: &str) -> Launch {
        let launch = self.cluster.sandbox.node().command(&self.plugin);
        launch.args(line.split(' ')).env("KUBECONFIG", &self.kubeconfig)
    }

    fn said(&self, line: &str) -> Result<Said> {
        self.mesh(line).output()?.try_into()
    }
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl TryFrom<Output> for Said {
    type Error = anyhow::Error;

    fn try_from(output: Output) -> Result<Self> {
        Ok(Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }
}

#[test]
fn a_laptop_sees_what_the_node_sees() -> Result<()> {
    require_root!();
    let laptop = Laptop::open("laptop")?;
    let web = laptop.cluster.backend("web", 11)?;
    laptop.cluster.sell("web", 10, &[&web])?;
    let _agent = laptop.cluster.agent().start()?;
    let here = laptop.cluster.meshctl("service list")?;
    assert!(here.contains("web"), "{here}");
    for line in [
        "--node node-1 service list",
        "service list --node=node-1",
        "--pod shop/web service list",
        "--pod web -n shop service list --agent-namespace mesh-system --context double",
    ] {
        let said = laptop.said(line)?;
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (Some(0), here.as_str(), ""),
            "{line}"
        );
    }
    // What the command says and how it ends is the agent's, also where it fails.
    let said = laptop.said("--node node-1 service show shop/none")?;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert_eq!(said.err, "meshctl: service shop/none is not in the kernel\n");
    let said = laptop.said("--node node-1 map dump NONE")?;
    assert_eq!(said.code, Some(2), "{said:?}");
    granted_by_the_roles(&laptop)
}

/// The verbs that the Role and the `ClusterRole` of the manifests grant, as `kind verb resource`.
fn granted() -> Result<Vec<String>> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../manifests/components/operator/rbac.yaml"
    );
    let roles: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(file)?)?;
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|it| it.as_str().map(ToOwned::to_owned)).collect()
    };
    let mut granted = Vec::new();
    for role in roles {
        for rule in role["rules"].as_array().context("rules")? {
            for resource in texts(&rule["resources"]) {
                let kind = role["kind"].as_str().unwrap_or_default();
                let verbs = texts(&rule["verbs"]).into_iter();
                granted.extend(verbs.map(|verb| format!("{kind} {verb} {resource}")));
            }
        }
    }
    Ok(granted)
}

/// Nothing was asked for that the documented roles do not grant.
fn granted_by_the_roles(laptop: &Laptop) -> Result<()> {
    let granted = granted()?;
    let requests = laptop.cluster.server.requests();
    let hers: Vec<_> = requests.iter().filter(|request| request.user == "jane").collect();
    ensure!(!hers.is_empty(), "{requests:?}");
    for request in hers {
        let kind = if request.namespace == "mesh-system" {
            "Role"
        } else {
            "ClusterRole"
        };
        let sub = Some(&request.subresource).filter(|sub| !sub.is_empty());
        let resource = sub.map_or(request.resource.clone(), |sub| {
            format!("{}/{sub}", request.resource)
        });
        let right = format!("{kind} {} {resource}", request.verb);
        ensure!(granted.contains(&right), "{right} is not among {granted:?}");
    }
    Ok(())
}

#[test]
fn flows_are_followed_from_a_laptop_until_it_goes() -> Result<()> {
    require_root!();
    let laptop = Laptop::open("laptop-flows")?;
    let web = laptop.cluster.backend("web", 11)?;
    laptop.cluster.sell("web", 10, &[&web])?;
    let _agent = laptop.cluster.agent().start()?;
    let follower = laptop.mesh("--node node-1 flows -f").start()?;
    let in_the_pod = |count: usize| {
        let sandbox = laptop.cluster.sandbox.run_dir().display().to_string();
        eventually(SOON, || {
            let found = commands_with(&["--end-with-stdin", &sandbox])?;
            ensure!(found == count, "{found} commands in the pod, not {count}");
            Ok(())
        })
    };
    in_the_pod(1)?;
    eventually(SOON, || {
        assert_eq!(laptop.cluster.ask(10)?, "web");
        let log = follower.log();
        ensure!(log.contains("shop/client") && log.contains("opened"), "{log}");
        Ok(())
    })?;
    let interrupted = |follower: &Program| {
        follower.signal(Signal::INT)?;
        let status = follower.wait(SOON)?;
        ensure!(!status.success(), "{status}");
        in_the_pod(0)
    };
    interrupted(&follower)?;
    // The command in the pod ends also where nothing happens that it could say.
    let silent = laptop.mesh("--node node-1 flows -f --pod shop/none").start()?;
    in_the_pod(1)?;
    interrupted(&silent)
}

/// How many processes have all of these words in their command lines.
fn commands_with(words: &[&str]) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        // Processes come and go.
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        count += usize::from(words.iter().all(|word| line.contains(word)));
    }
    Ok(count)
}

#[test]
fn what_is_in_the_way_is_named() -> Result<()> {
    require_root!();
    let laptop = Laptop::open("laptop-ways")?;
    let server = &laptop.cluster.server;
    let fails = |line: &str, words: &[&str]| -> Result<()> {
        let said = laptop.said(line)?;
        ensure!(said.code != Some(0) && said.out.is_empty(), "{line}: {said:?}");
        for word in words {
            ensure!(
                said.err.contains(word),
                "{line}: {word:?} is missing in {}",
                said.err
            );
        }
        ensure!(said.err.lines().count() == 1, "{line}: {}", said.err);
        Ok(())
    };
    fails(
        "status",
        &["no mesh on this machine", "--node NODE", "--pod NS/NAME"],
    )?;
    fails(
        "--node other status",
        &["no agent on node other", "get daemonset mesh-agent"],
    )?;
    fails(
        "--node node-1 --agent-namespace none status",
        &["in namespace none"],
    )?;
    fails("--pod shop/none status", &["pod shop/none is not in the cluster"])?;
    fails("--pod web status", &["in which namespace"])?;
    fails("--context double status", &["--node or --pod"])?;
    fails(
        "--context none --node node-1 status",
        &["kubeconfig", "none", "--kubeconfig FILE"],
    )?;
    server.put(&agent_pod(
        "mesh-agent-b",
        "node-2",
        &json!({"waiting": {"reason": "ImagePullBackOff"}}),
    ))?;
    fails(
        "--node node-2 status",
        &["does not run: mesh-agent-b (ImagePullBackOff)"],
    )?;
    for (verb, resource, role) in [
        ("list", "pods", "the Role mesh-operator"),
        ("get", "pods/exec", "the Role mesh-operator"),
    ] {
        server.deny(Denial {
            verb: Some(verb.into()),
            resource: Some(resource.into()),
            namespace: None,
        });
        fails(
            "--node node-1 status",
            &["forbidden", role, "components/operator"],
        )?;
        server.allow_all();
    }
    server.deny(Denial {
        verb: Some("get".into()),
        resource: Some("pods".into()),
        namespace: None,
    });
    fails(
        "--pod shop/client status",
        &["forbidden", "the ClusterRole mesh-operator"],
    )?;
    server.allow_all();
    // No agent runs on the node, but its pod is there: what is said is said by the meshctl in it.
    fails("--node node-1 flows", &["mesh-agent is not running"])?;
    server.put(&agent_pod("mesh-agent-c", NODE, &running()))?;
    let said = laptop.said("--node node-1 version")?;
    ensure!(
        said.code == Some(0) && said.err.contains("mesh-agent-a is asked, and not mesh-agent-c"),
        "{said:?}"
    );
    server.remove("pods", "mesh-system", "mesh-agent-c")?;
    server.run_commands(|_| Err("no such file or directory: meshctl".into()));
    fails("--node node-1 status", &["could not run meshctl", "no such file"])?;
    server.down()?;
    fails("--node node-1 status", &["does not answer", &server.url()])
}

#[test]
fn settings_come_from_flags_variables_and_a_file() -> Result<()> {
    require_root!();
    let cluster = Cluster::open("settings")?;
    let sandbox = &cluster.sandbox;
    let file = sandbox.manifests().dir().join("config.yaml.txt");
    std::fs::write(
        &file,
        "packets: off\nlog-format: json\nmap-size: [AFFINITY=4096]\n",
    )?;
    let agent = || cluster.agent().arg("--config").arg(&file);
    {
        let agent = agent().env("LOG_FORMAT", "text").start()?;
        let shown: Value = serde_json::from_str(&cluster.meshctl("config -o json")?)?;
        let setting = |key: &str| {
            let items = shown["items"].as_array().into_iter().flatten();
            let found = items.clone().find(|item| item["key"] == key);
            found.map(|item| (item["value"].clone(), item["saidBy"].clone()))
        };
        let by_file = json!(file);
        for (key, value, said_by) in [
            ("packets", json!("off"), by_file.clone()),
            ("map-size", json!("AFFINITY=4096"), by_file),
            ("log-format", json!("text"), json!("$LOG_FORMAT")),
            ("start-jitter", json!("0"), json!("--start-jitter")),
            ("netns-dir", json!(sandbox.netns_dir()), json!("--netns-dir")),
            ("wait-for-handover", json!("false"), Value::Null),
        ] {
            assert_eq!(setting(key), Some((value, said_by)), "{key}");
        }
        // They are what the agent does.
        let maps = cluster.meshctl("map list")?;
        let affinity = maps.lines().find(|line| line.starts_with("AFFINITY"));
        ensure!(affinity.is_some_and(|line| line.contains("4096")), "{maps}");
        ensure!(!agent.log().contains("{\"timestamp\""), "{}", agent.log());
        let said: Said = sandbox.meshctl(["config"])?.try_into()?;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        std::fs::write(&file, "packets: auto\n")?;
        let said: Said = sandbox.meshctl(["config"])?.try_into()?;
        ensure!(said.err.contains("restart the agent"), "{said:?}");
    }
    std::fs::write(&file, "colour: red\n")?;
    let refused = agent().supervised(&[]).launch()?;
    let status = refused.program().wait(SOON)?;
    let log = refused.log();
    assert_eq!(status.code(), Some(2), "{log}");
    for word in ["config.yaml.txt", "no setting colour", "meshctl config schema"] {
        ensure!(log.contains(word), "{word:?} is missing in {log}");
    }
    Ok(())
}

/// The files of an archive.
fn unpacked(file: &Path) -> Result<BTreeMap<String, String>> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(file)?));
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let (name, mut bytes) = (entry.path()?.display().to_string(), Vec::new());
        entry.read_to_end(&mut bytes)?;
        files.insert(name, String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(files)
}

/// That a file has a word in it.
fn has(files: &BTreeMap<String, String>, name: &str, word: &str) -> Result<()> {
    let names: Vec<_> = files.keys().collect();
    let text = files
        .get(name)
        .with_context(|| format!("no {name} among {names:?}"))?;
    ensure!(text.contains(word), "{word:?} is not in {name}: {text}");
    Ok(())
}

#[test]
fn a_sysdump_has_it_all_and_no_secrets() -> Result<()> {
    require_root!();
    let laptop = Laptop::open("sysdump")?;
    let (cluster, sandbox) = (&laptop.cluster, &laptop.cluster.sandbox);
    let web = cluster.backend("web", 11)?;
    cluster.sell("web", 10, &[&web])?;
    let agent = cluster.agent().start()?;
    assert_eq!(cluster.ask(10)?, "web");
    let file = sandbox.manifests().dir().join("dump.tgz");
    let path = file.display().to_string();
    let here = || -> Result<BTreeMap<String, String>> {
        let said: Said = sandbox.meshctl(["sysdump", "--file", &path])?.try_into()?;
        ensure!(
            said.code == Some(0) && said.out == format!("{path}\n"),
            "{said:?}"
        );
        unpacked(&file)
    };
    let files = here()?;
    for (name, word) in [
        ("node-1/version.txt", env!("CARGO_PKG_VERSION")),
        ("node-1/status.json", "\"healthy\""),
        ("node-1/check.txt", "programs are attached"),
        ("node-1/check-pre.txt", "kernel is"),
        ("node-1/config.json", "start-jitter"),
        ("node-1/services.json", "\"web\""),
        ("node-1/maps/SERVICES.json", "10.96.0.10"),
        ("node-1/maps/EVENTS.json.error.txt", "ring buffer"),
        ("node-1/programs.json", "mesh_connect4"),
        ("node-1/diff.txt", "no drift"),
        ("node-1/metrics.txt", "mesh_source_connected"),
        ("node-1/readyz.txt", "200 OK"),
        ("node-1/kernel/uname", "Linux"),
        ("node-1/kernel/btf", "/sys/kernel/btf/vmlinux"),
        ("node-1/process/mountinfo", " / "),
        ("node-1/places/pins.txt", "maps/PODS"),
        ("node-1/places/run-dir.txt", "admin.sock"),
    ] {
        has(&files, name, word)?;
    }
    let secret = cluster.server.token()?;
    for (name, text) in &files {
        ensure!(!text.contains(&secret), "the agent's token is in {name}");
    }

    // From a laptop: the same of each node, and what the API server has. One that can't be had does not stop the rest.
    let server = &cluster.server;
    server.put(&agent_pod(
        "mesh-agent-b",
        "node-2",
        &json!({"waiting": {"reason": "ImagePullBackOff"}}),
    ))?;
    server.put(&json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "mesh-agent", "namespace": "mesh-system"}, "spec": {"selector": {}, "template": {}},
    }))?;
    server.set_log("mesh-system", "mesh-agent-a", false, "the tables are right\n");
    for line in [
        format!("sysdump --all-nodes --file {path}"),
        format!("--node node-1 sysdump -f {path}"),
    ] {
        let said = laptop.said(&line)?;
        ensure!(
            said.code == Some(0) && said.out == format!("{path}\n"),
            "{line}: {said:?}"
        );
        let files = unpacked(&file)?;
        for (name, word) in [
            ("mesh-sysdump/node-1/services.json", "\"web\""),
            ("mesh-sysdump/node-1/metrics.txt", "mesh_source_connected"),
            ("mesh-sysdump/node-1/kubernetes/pod.yaml", "mesh-agent-a"),
            ("mesh-sysdump/node-1/kubernetes/log.txt", "the tables are right"),
            (
                "mesh-sysdump/node-1/kubernetes/log-previous.txt.error.txt",
                "previous",
            ),
            ("mesh-sysdump/daemonset.yaml", "kind: DaemonSet"),
        ] {
            has(&files, name, word)?;
        }
        if line.contains("--all-nodes") {
            has(&files, "mesh-sysdump/node-2.error.txt", "ImagePullBackOff")?;
        }
    }
    // Nothing at all is no success, and has its reason in the archive.
    let said = laptop.said(&format!("--node typo sysdump -f {path}"))?;
    ensure!(
        said.code == Some(1) && said.err.contains("no node made a dump"),
        "{said:?}"
    );
    has(&unpacked(&file)?, "mesh-sysdump/typo.error.txt", "typo")?;
    granted_by_the_roles(&laptop)?;

    // Without an agent what it knew alone is missing, each with the reason.
    agent.kill9()?;
    let files = here()?;
    has(&files, "node-1/diff.txt.error.txt", "not running")?;
    has(&files, "node-1/metrics.txt.error.txt", "refused")?;
    has(&files, "node-1/maps/SERVICES.json", "10.96.0.10")?;
    let said: Said = sandbox.meshctl(["sysdump", "--file", "/none/x"])?.try_into()?;
    ensure!(said.code == Some(1) && said.err.contains("--file"), "{said:?}");
    Ok(())
}

#[test]
fn a_node_is_looked_at_before_the_agent_is_there() -> Result<()> {
    require_root!();
    let sandbox = harness::Sandbox::new("preflight")?;
    let said: Said = sandbox.meshctl(["check", "--pre"])?.try_into()?;
    for word in [
        "kernel is 6.1 or newer: ",
        "kernel shows its types",
        "kernel has bpf_set_retval",
        "BPF filesystem is mounted",
        "cgroup2 is mounted: ",
        "packets can be counted: by ",
        "the caller has the agent's capabilities",
        "lockdown lets programs read the kernel",
    ] {
        ensure!(
            said.out.contains(&format!("ok    {word}")),
            "{word:?} is missing in {said:?}"
        );
    }
    assert_eq!(said.code, Some(0), "{said:?}");
    // What is wrong is named, with what to do, and fails the whole.
    let wrong = sandbox.manifests().dir().display().to_string();
    let launch = sandbox.node().command(harness::meshctl()?);
    let said: Said = launch
        .args(["check", "--pre", "--bpffs", &wrong])
        .output()?
        .try_into()?;
    ensure!(said.code == Some(1), "{said:?}");
    ensure!(
        said.out.contains("FAIL  BPF filesystem is mounted") && said.out.contains("next: mount -t bpf"),
        "{said:?}"
    );
    let confined = sandbox.node().command("setpriv");
    let dropped = ["--bounding-set", "-perfmon", "--inh-caps", "-perfmon"];
    let confined = confined
        .args(dropped)
        .arg(harness::meshctl()?)
        .args(["check", "--pre"]);
    let said: Said = confined.output()?.try_into()?;
    ensure!(
        said.code == Some(1) && said.out.contains("without CAP_PERFMON"),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn what_ends_the_agent_is_said_in_the_format_of_its_log() -> Result<()> {
    require_root!();
    let sandbox = harness::Sandbox::new("fatal")?;
    let wrong = sandbox.manifests().dir().to_path_buf();
    for format in ["text", "json"] {
        let agent = sandbox
            .agent()
            .arg("--bpffs")
            .arg(&wrong)
            .arg("--log-format")
            .arg(format);
        let agent = agent.launch()?;
        let status = agent.program().wait(SOON)?;
        let log = agent.log();
        assert_eq!(status.code(), Some(1), "{log}");
        let last = log.lines().last().context("it says nothing")?;
        let said = if format == "json" {
            let line: Value = serde_json::from_str(last).with_context(|| log.clone())?;
            ensure!(line["level"] == "ERROR", "{line}");
            line["fields"]["message"].as_str().unwrap_or_default().to_owned()
        } else {
            last.to_owned()
        };
        ensure!(
            said.contains("is not a BPF filesystem") && said.contains("the node's own has to be mounted"),
            "{log}"
        );
    }
    Ok(())
}
