//! The manifests, against the agent they start and against tools that read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{CommandFactory as _, Parser as _};
use harness::require;
use mesh_agent::app::config::{Cli, Command, Supervised};
use mesh_agent::app::settings;
use mesh_common::names;
use serde_json::Value;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests");

/// The `DaemonSet` and the file of settings it gets.
struct Install {
    daemon_set: Value,
    settings: String,
}

impl Install {
    fn read() -> Result<Self> {
        let kustomization = document("base/kustomization.yaml")?;
        let literal = kustomization["configMapGenerator"][0]["literals"][0].as_str();
        let (name, settings) = literal
            .and_then(|literal| literal.split_once('='))
            .context("no settings")?;
        ensure!(name == "config.yaml", "{name}");
        Ok(Self {
            daemon_set: document("base/daemonset.yaml")?,
            settings: settings.to_owned(),
        })
    }

    fn container(&self) -> &Value {
        &self.daemon_set["spec"]["template"]["spec"]["containers"][0]
    }

    /// Where the agent finds a directory of the host: path there, path here.
    fn mounts(&self) -> Vec<(&str, &str)> {
        let spec = &self.daemon_set["spec"]["template"]["spec"];
        let volumes = spec["volumes"].as_array().into_iter().flatten();
        let mounts = self.container()["volumeMounts"].as_array().into_iter().flatten();
        let mounts: Vec<_> = mounts.collect();
        volumes
            .filter_map(|volume| {
                let mount = mounts.iter().find(|mount| mount["name"] == volume["name"])?;
                Some((volume["hostPath"]["path"].as_str()?, mount["mountPath"].as_str()?))
            })
            .collect()
    }

    /// Values of environment variables that are written down.
    fn environment(&self) -> Vec<(String, String)> {
        let env = self.container()["env"].as_array().into_iter().flatten();
        env.filter_map(|env| Some((env["name"].as_str()?.into(), env["value"].as_str()?.into())))
            .collect()
    }

    /// The file of settings, in the container.
    fn settings_file(&self) -> Result<String> {
        let spec = &self.daemon_set["spec"]["template"]["spec"];
        let mut volumes = spec["volumes"].as_array().into_iter().flatten();
        let volume = volumes.find(|volume| volume["configMap"].is_object());
        let volume = volume.context("no ConfigMap is mounted")?;
        let mut mounts = self.container()["volumeMounts"].as_array().into_iter().flatten();
        let mount = mounts.find(|mount| mount["name"] == volume["name"]);
        let path = mount.and_then(|mount| mount["mountPath"].as_str());
        Ok(format!("{}/config.yaml", path.context("it is not mounted")?))
    }
}

fn document(path: &str) -> Result<Value> {
    let text = fs::read_to_string(Path::new(MANIFESTS).join(path)).context(path.to_owned())?;
    Ok(serde_saphyr::from_str(&text)?)
}

/// Parses as the agent does, with variables given as the arguments they stand for.
fn parse(install: &Install) -> Result<Cli> {
    let command = Cli::command();
    let run = command.find_subcommand("run").context("no `run`")?;
    let args = install.container()["args"].as_array().context("no arguments")?;
    let mut args: Vec<String> = args.iter().filter_map(Value::as_str).map(Into::into).collect();
    for (name, value) in install.environment() {
        if name == "RUST_LOG" {
            continue;
        }
        let by_env = |arg: &&clap::Arg| arg.get_env().is_some_and(|env| env == name.as_str());
        let arg = run.get_arguments().find(by_env);
        let long = arg.and_then(clap::Arg::get_long);
        args.push(format!(
            "--{}={value}",
            long.with_context(|| format!("{name} is nothing to the agent"))?
        ));
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("config.yaml");
    fs::write(&file, &install.settings)?;
    let (there, here) = (install.settings_file()?, file.display().to_string());
    let args = args.iter().map(|arg| arg.replace(&there, &here).into());
    let cli = settings::read(
        &std::iter::once("mesh-agent".into())
            .chain(args)
            .collect::<Vec<_>>(),
    );
    let mut cli = cli?;
    let read = cli.run_args().and_then(|args| args.config.clone());
    ensure!(
        read == Some(file),
        "--config names another file than {there}: {read:?}"
    );
    Ok(cli)
}

#[test]
fn the_agent_takes_what_the_manifests_give_it() -> Result<()> {
    let mut install = Install::read()?;
    drop(parse(&install)?);
    install.settings = "packets: some".into();
    let refused = parse(&install)
        .err()
        .context("a setting that is none was taken")?;
    assert!(refused.to_string().contains("some"), "{refused}");
    install.settings = "pakets: auto".into();
    let unknown = parse(&install).err().context("a key that is none was taken")?;
    assert!(unknown.to_string().contains("no setting pakets"), "{unknown}");
    Ok(())
}

#[test]
fn an_update_brings_the_new_agent_before_the_old_one_goes() -> Result<()> {
    let install = Install::read()?;
    let spec = &install.daemon_set["spec"];
    let Command::Broker(broker) = parse(&install)?.command else {
        anyhow::bail!("process 1 is not the broker");
    };
    let Supervised::Run(run) = broker.command;
    assert!(run.wait_for_handover, "two agents meet");
    let update = &spec["updateStrategy"]["rollingUpdate"];
    assert_eq!(
        update,
        &serde_json::json!({"maxSurge": 1, "maxUnavailable": 0}),
        "{update}"
    );
    // Time is left for the broker to say what happened.
    let grace = spec["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    let margin = Duration::from_secs(grace.context("no grace period")?).checked_sub(broker.grace_period);
    assert!(
        margin.is_some_and(|margin| margin >= Duration::from_secs(1)),
        "{margin:?}"
    );
    Ok(())
}

#[test]
fn the_component_has_the_taint_removed() -> Result<()> {
    let mut install = Install::read()?;
    let component = document("components/taint/kustomization.yaml")?;
    let patch = component["patches"][0]["patch"].as_str().context("no patch")?;
    let changes: Vec<Value> = serde_saphyr::from_str(patch)?;
    let [change] = changes.as_slice() else {
        anyhow::bail!("not one change: {patch}");
    };
    let args = "/spec/template/spec/containers/0/args";
    assert_eq!(
        (&change["op"], &change["path"]),
        (&"add".into(), &format!("{args}/-").into())
    );
    let args = install.daemon_set.pointer_mut(args).and_then(Value::as_array_mut);
    args.context("no arguments")?.push(change["value"].clone());
    let Command::Broker(broker) = parse(&install)?.command else {
        anyhow::bail!("process 1 is not the broker");
    };
    let Supervised::Run(run) = broker.command;
    assert!(run.remove_taint);
    Ok(())
}

#[test]
fn paths_and_ports_are_the_agents() -> Result<()> {
    let install = Install::read()?;
    let mounts = install.mounts();
    for path in [names::path::BPFFS, names::path::NETNS_DIR, names::path::RUN_DIR] {
        assert!(mounts.contains(&(path, path)), "{path} is not in {mounts:?}");
    }
    let environment = install.environment();
    let host_netns = environment.iter().find(|(name, _)| name == "MESH_HOST_NETNS");
    let (_, host_netns) = host_netns.context("no MESH_HOST_NETNS")?;
    let of_host = mounts
        .iter()
        .find_map(|(host, here)| Some(Path::new(host).join(Path::new(host_netns).strip_prefix(here).ok()?)));
    assert_eq!(of_host.as_deref(), Some(Path::new("/proc/1/ns/net")));
    let cgroup = ("MESH_CGROUP".to_owned(), "/sys/fs/cgroup".to_owned());
    assert!(environment.contains(&cgroup) && mounts.contains(&("/sys/fs/cgroup", "/sys/fs/cgroup")));
    let ports = install.container()["ports"].as_array().context("no ports")?;
    let ports: Vec<_> = ports.iter().map(|port| port["containerPort"].as_u64()).collect();
    let ours = [names::port::METRICS, names::port::READINESS].map(|port| Some(port.into()));
    assert_eq!(ports, ours);
    let version = install.container()["image"].as_str().unwrap_or_default();
    assert!(
        version.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    Ok(())
}

#[test]
fn samples_use_names_that_mean_something() -> Result<()> {
    let directory = Path::new(MANIFESTS).join("samples");
    let mut texts = String::new();
    for entry in fs::read_dir(directory)? {
        texts += &fs::read_to_string(entry?.path())?;
    }
    let known = [
        (names::dataplane::LABEL, names::dataplane::ENABLED),
        (names::acceleration::ANNOTATION, names::acceleration::SOCKET),
        (names::load_balancing::ANNOTATION, names::load_balancing::MAGLEV),
    ];
    for line in texts.lines().filter(|line| line.contains(names::DOMAIN)) {
        let pair = line.trim().split_once(": ").context("not a label")?;
        assert!(known.contains(&pair), "{line}");
    }
    assert_eq!(texts.matches(names::DOMAIN).count(), known.len());
    Ok(())
}

#[test]
fn kubectl_renders_them() -> Result<()> {
    require!(require::program("kubectl"));
    let overlay = scratch("overlay")?;
    let text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
                resources: [manifests/base]\ncomponents: [manifests/components/prometheus, manifests/components/taint]\n";
    fs::write(overlay.join("kustomization.yaml"), text)?;
    let render = |directory: &Path| -> Result<String> {
        let output = process::Command::new("kubectl")
            .arg("kustomize")
            .arg(directory)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    };
    let with_components = render(&overlay)?;
    assert!(with_components.contains("kind: PodMonitor"));
    assert!(
        with_components.contains("        - --remove-taint\n"),
        "{with_components}"
    );
    // The name of the settings follows their content, in both places.
    let settings: Vec<_> = with_components
        .lines()
        .filter_map(|line| line.trim().strip_prefix("name: mesh-agent-"))
        .filter(|rest| !["metrics", "taint"].contains(rest))
        .collect();
    assert!(
        matches!(settings[..], [first, second] if first == second),
        "{settings:?}"
    );
    assert!(render(&overlay.join("manifests/samples"))?.contains("mesh-agent.io/dataplane: enabled"));
    let cleanup = render(&overlay.join("manifests/cleanup"))?;
    assert!(cleanup.contains("- args:\n        - cleanup\n"), "{cleanup}");
    Cli::try_parse_from(["mesh-agent", "cleanup"])?;
    Ok(())
}

/// Each is one slip of the pen in one file, and what is said about it.
const SLIPS: [(&str, &str, &str, &str); 15] = [
    (
        "base/daemonset.yaml",
        "imagePullPolicy",
        "imagePulPolicy",
        "containers[0].imagePulPolicy: unknown field",
    ),
    (
        "base/daemonset.yaml",
        "mesh-agent:0.1.0",
        "mesh-agent",
        "has no tag that stays",
    ),
    (
        "base/daemonset.yaml",
        "                # Maps, programs and links are made and pinned.\n",
        "",
        "BPF without a comment",
    ),
    (
        "base/daemonset.yaml",
        "serviceAccountName: mesh-agent",
        "serviceAccountName: agent",
        "no such ServiceAccount",
    ),
    (
        "base/daemonset.yaml",
        "- name: health\n",
        "- name: healthz\n",
        "livenessProbe.httpGet.port: no port",
    ),
    (
        "base/daemonset.yaml",
        "configMap:\n            name: mesh-agent",
        "configMap:\n            name: agent",
        "no ConfigMap \"agent\"",
    ),
    (
        "base/service.yaml",
        "targetPort: metrics",
        "targetPort: metric",
        "DaemonSet mesh-agent has no port of this name",
    ),
    (
        "base/rbac.yaml",
        "kind: ClusterRole\n  name: mesh-agent",
        "kind: ClusterRole\n  name: agent",
        "no such role",
    ),
    (
        "base/kustomization.yaml",
        "  - network-policy.yaml\n",
        "",
        "network-policy.yaml: no kustomization.yaml beside it lists it",
    ),
    (
        "base/kustomization.yaml",
        "  - rbac.yaml",
        "  - rbak.yaml",
        "rbak.yaml is not there",
    ),
    (
        "samples/web.yaml",
        "namespace: mesh-shop",
        "namespace: mesh-shopp",
        "no Namespace has this name",
    ),
    (
        "cleanup/kustomization.yaml",
        "containers/0/livenessProbe",
        "containers/0/liveness",
        "DaemonSet mesh-agent has no",
    ),
    (
        "cleanup/kustomization.yaml",
        "      - {op: replace, path: /spec/updateStrategy/rollingUpdate/maxSurge, value: 0}\n",
        "",
        "one of maxSurge and maxUnavailable has to be 0",
    ),
    (
        "components/taint/kustomization.yaml",
        "args/-",
        "arguments/-",
        "DaemonSet mesh-agent has no",
    ),
    (
        "base/kustomization.yaml",
        "config.yaml=log-format",
        "config.yml=log-format",
        "config.yml: the agent reads only config.yaml",
    ),
];

#[test]
fn slips_of_the_pen_are_found() -> Result<()> {
    for (number, (file, right, wrong, said)) in SLIPS.iter().enumerate() {
        let directory = scratch(&format!("slip-{number}"))?.join("manifests");
        let path = directory.join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(right), "{right} is not in {file}");
        fs::write(&path, text.replacen(right, wrong, 1))?;
        let output = check(&directory)?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{wrong}: {stdout}");
        assert!(stdout.contains(said), "{wrong}: {stdout}");
    }
    Ok(())
}

fn check(directory: &Path) -> Result<Output> {
    let mut command = process::Command::new(env!("CARGO_BIN_EXE_mesh-manifests"));
    Ok(command.arg(directory).arg("--check").output()?)
}

/// A copy of the manifests, below a directory of its own.
fn scratch(name: &str) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("manifests")
        .join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let status = process::Command::new("cp")
        .args(["-r", MANIFESTS])
        .arg(directory.join("manifests"))
        .status()?;
    ensure!(status.success(), "cp: {status}");
    Ok(directory)
}
