//! What a maintainer needs to see of a node. Nothing of it is secret: no tokens, no kubeconfigs, no other process's
//! environment, no bytes of connections.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use mesh_common::{abi::MAPS, names::port};

use crate::{
    app::admin::FlowQuery,
    cli::{
        args::{self, Invocation},
        command,
        failure::Failure,
        node::Node,
        output::style::Style,
    },
};

/// Commands, each with the name of its part.
const COMMANDS: [(&str, &str); 19] = [
    ("version.txt", "version"),
    ("status.txt", "status"),
    ("status.json", "status -o json"),
    ("check.txt", "check"),
    ("check-pre.txt", "check --pre"),
    ("config.json", "config -o json"),
    ("services.json", "service list -o json"),
    ("backends.json", "backend list -o json"),
    ("pods.json", "pod list -o json"),
    ("workloads.json", "workload list -o json"),
    ("connections.json", "connection list -o json"),
    ("policies.json", "policy list -o json"),
    ("maps.json", "map list -o json"),
    ("programs.json", "prog list -o json"),
    ("links.json", "link list -o json"),
    ("accel.txt", "accel status"),
    ("accel.json", "accel status -o json"),
    ("diff.txt", "diff"),
    ("diff.json", "diff -o json"),
];

/// What the kernel and the runtime directory say of the node.
const FILES: [(&str, &str); 21] = [
    ("kernel/version", "/proc/version"),
    ("kernel/lockdown", "/sys/kernel/security/lockdown"),
    ("kernel/lsm", "/sys/kernel/security/lsm"),
    ("kernel/cgroups", "/proc/cgroups"),
    ("kernel/uptime", "/proc/uptime"),
    ("kernel/loadavg", "/proc/loadavg"),
    ("kernel/meminfo", "/proc/meminfo"),
    ("kernel/bpf_jit_enable", "/proc/sys/net/core/bpf_jit_enable"),
    ("kernel/bpf_jit_limit", "/proc/sys/net/core/bpf_jit_limit"),
    (
        "kernel/unprivileged_bpf_disabled",
        "/proc/sys/kernel/unprivileged_bpf_disabled",
    ),
    (
        "kernel/perf_event_paranoid",
        "/proc/sys/kernel/perf_event_paranoid",
    ),
    ("process/status", "/proc/self/status"),
    ("process/cgroup", "/proc/self/cgroup"),
    ("process/mountinfo", "/proc/self/mountinfo"),
    ("process/limits", "/proc/self/limits"),
    ("network/interfaces", "/proc/net/dev"),
    ("network/addresses6", "/proc/net/if_inet6"),
    ("network/addresses-and-routes4", "/proc/net/fib_trie"),
    ("network/routes6", "/proc/net/ipv6_route"),
    ("network/sockets", "/proc/net/sockstat"),
    ("network/tcp", "/proc/net/netstat"),
];

/// Flows of the past that are told of.
const FLOWS: usize = 1_000;
/// An agent that hangs is one of the things to be seen.
const PATIENCE: Duration = Duration::from_secs(5);

/// A part: its name, and how it is had.
type Part<'a> = (String, Box<dyn Fn() -> Result<Vec<u8>, String> + 'a>);

/// All of them, in the order in which they are written.
pub fn parts(node: &Node) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    for (name, line) in COMMANDS {
        parts.push((name.to_owned(), Box::new(move || said(node, line))));
    }
    for spec in MAPS {
        let line = format!("map dump {} -o json", spec.name);
        parts.push((
            format!("maps/{}.json", spec.name),
            Box::new(move || said(node, &line)),
        ));
    }
    parts.push(("flows.jsonl".to_owned(), Box::new(|| flows(node))));
    for (name, setting, port, path) in [
        ("metrics.txt", "metrics-address", port::METRICS, "/metrics"),
        ("readyz.txt", "readiness-address", port::READINESS, "/readyz"),
    ] {
        parts.push((name.to_owned(), Box::new(move || get(node, setting, port, path))));
    }
    for (name, path) in FILES {
        parts.push((name.to_owned(), Box::new(move || read(Path::new(path)))));
    }
    parts.push(("kernel/uname".to_owned(), Box::new(|| Ok(uname().into_bytes()))));
    parts.push((
        "kernel/btf".to_owned(),
        Box::new(|| listing(Path::new("/sys/kernel/btf/vmlinux"))),
    ));
    for (name, path) in [
        ("places/pins.txt", node.pins.root()),
        ("places/run-dir.txt", node.run_dir()),
        (
            "places/netns-dir.txt",
            Path::new(mesh_common::names::path::NETNS_DIR),
        ),
    ] {
        parts.push((name.to_owned(), Box::new(move || listing(path))));
    }
    parts
}

/// What a command says; that it fails because something is wrong is no reason to leave it out.
fn said(node: &Node, line: &str) -> Result<Vec<u8>, String> {
    let args: Vec<OsString> = ["meshctl"]
        .into_iter()
        .chain(line.split(' '))
        .map(Into::into)
        .collect();
    let cli = args::read(&mut args::command("meshctl"), &args).map_err(|error| error.to_string())?;
    let mut invocation = Invocation::new(cli, args);
    invocation.cli.global.place = node.place().clone();
    let answer = command::run(invocation, Style::default());
    answer
        .map(|answer| answer.text.into_bytes())
        .map_err(|failure: Failure| failure.to_string())
}

fn flows(node: &Node) -> Result<Vec<u8>, String> {
    let query = FlowQuery {
        follow: false,
        last: FLOWS,
        ..FlowQuery::default()
    };
    let mut lines = String::new();
    let asked = node.agent.flows(&query, |line| {
        lines.extend([line, "\n"]);
        true
    });
    asked
        .map(|()| lines.into_bytes())
        .map_err(|silence| silence.to_string())
}

/// GET of an address that the agent serves; `setting` says where, else it is the usual port.
fn get(node: &Node, setting: &str, port: u16, path: &str) -> Result<Vec<u8>, String> {
    let settings = node
        .agent
        .settings()
        .map(|settings| settings.settings)
        .unwrap_or_default();
    let said = settings
        .into_iter()
        .find(|it| it.key == setting)
        .and_then(|it| it.value);
    let served: Option<SocketAddr> = said.and_then(|address| address.parse().ok());
    let mut address = served.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into());
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Of version 1.0, so that the answer ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: mesh-agent\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().map_err(|error| {
        format!("{address}{path}: {error} (in a cluster only the agent's pod has this address: `kubectl mesh --node`)")
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn uname() -> String {
    let name = rustix::system::uname();
    let parts = [
        name.sysname(),
        name.nodename(),
        name.release(),
        name.version(),
        name.machine(),
    ];
    let parts: Vec<_> = parts.iter().map(|part| part.to_string_lossy()).collect();
    parts.join(" ") + "\n"
}

/// What lies at and below a path: sizes and names, no contents.
fn listing(path: &Path) -> Result<Vec<u8>, String> {
    fn walk(path: &Path, lines: &mut Vec<u8>) -> io::Result<()> {
        let metadata = path.symlink_metadata()?;
        let slash = if metadata.is_dir() { "/" } else { "" };
        writeln!(lines, "{:>10} {}{slash}", metadata.len(), path.display())?;
        if metadata.is_dir() {
            let below = fs::read_dir(path)?.filter_map(Result::ok);
            let mut below: Vec<_> = below.map(|entry| entry.path()).collect();
            below.sort();
            for path in below {
                // Files come and go.
                let _gone = walk(&path, lines);
            }
        }
        Ok(())
    }
    let mut lines = Vec::new();
    walk(path, &mut lines).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_it_can_be_read() {
        for (name, line) in COMMANDS {
            let line = format!("meshctl {line}");
            let args: Vec<OsString> = line.split(' ').map(Into::into).collect();
            assert!(args::read(&mut args::command("meshctl"), &args).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_listing_has_names_and_no_contents() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), "secret").unwrap();
        let text = String::from_utf8(listing(dir.path()).unwrap()).unwrap();
        assert!(
            text.contains("         6 ") && text.contains("/token\n"),
            "{text}"
        );
        assert!(!text.contains("secret"), "{text}");
        assert!(listing(&dir.path().join("none")).unwrap_err().contains("none"));
    }
}
