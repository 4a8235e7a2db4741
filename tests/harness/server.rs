//! Real servers inside pods: each with a directory of its own, and listening before anyone asks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::launch::Launch;
use crate::pod::Pod;
use crate::program::Program;
use crate::until;

/// How long a server may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// A new directory for what a server of the pod needs; it goes with the sandbox.
pub fn directory(pod: &Pod, server: &str) -> Result<PathBuf> {
    let path = pod
        .place()
        .run_dir()
        .join(format!("server-{}-{server}", pod.name()));
    fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
    Ok(path)
}

/// Starts a server and waits until it listens on a TCP port of the pod.
pub fn start(pod: &Pod, launch: Launch, port: u16) -> Result<Program> {
    let program = launch.start()?;
    if until(LISTENS_WITHIN, || !program.alive() || listens(pod, port)) && program.alive() {
        return Ok(program);
    }
    bail!(
        "nobody listens on port {port} of {}\n{}",
        pod.name(),
        program.tail()
    )
}

/// Starts an nginx with one `server` block, of which this is the inside; it listens on `port`.
pub fn nginx(pod: &Pod, port: u16, server: &str) -> Result<Program> {
    let dir = directory(pod, "nginx")?;
    let path = dir.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {path}/{what};\n"))
        .concat();
    let config = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {path}/pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\ndefault_type text/plain;\nkeepalive_requests 1000000;\n{temporary}\
         server {{\n{server}\n}}\n}}\n"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
    // `-e`: or it opens the log of the machine's own nginx before it reads the file.
    let nginx = pod.command("nginx").args(["-e", "stderr", "-p"]).arg(&dir);
    start(pod, nginx.arg("-c").arg(&file), port)
}

/// Whether a socket of the pod listens on a TCP port. Nobody connects to find out: that would be counted.
fn listens(pod: &Pod, port: u16) -> bool {
    let tables = ["tcp", "tcp6"].map(|name| Path::new("/proc/thread-self/net").join(name));
    let read = || tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    pod.run(read)
        .iter()
        .flat_map(|table| table.lines())
        .any(|line| is_listener(line, port))
}

/// Fields: number, local address, remote address, state, all hexadecimal.
fn is_listener(line: &str, port: u16) -> bool {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, local, _, "0A", ..] = fields[..] else {
        return false;
    };
    local
        .rsplit_once(':')
        .is_some_and(|(_, number)| u16::from_str_radix(number, 16) == Ok(port))
}

#[cfg(test)]
mod tests {
    use super::is_listener;

    #[test]
    fn listeners_and_connections() {
        let line = "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1";
        assert!(is_listener(line, 8080));
        assert!(!is_listener(line, 80));
        assert!(!is_listener(&line.replace(" 0A ", " 01 "), 8080));
        assert!(!is_listener("  sl  local_address rem_address   st", 8080));
    }
}
