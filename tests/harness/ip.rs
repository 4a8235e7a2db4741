//! `ip -batch` inside a network namespace.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::netns::Netns;
use crate::process::Process;
use crate::sys::Entrance;

/// Runs the lines as commands of `ip`, all in one process.
pub fn batch(netns: &Netns, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Entrance {
        network: Some(netns.open()?),
        ..Entrance::default()
    }
    .guard(&mut command);
    let mut ip = Process::get()?
        .launcher()
        .spawn(command)
        .context("starting ip (Debian package iproute2)")?;
    let written = ip
        .stdin
        .take()
        .map_or(Ok(()), |mut input| input.write_all(lines.as_bytes()));
    let output = ip.wait_with_output().context("waiting for ip")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "ip -batch in {}: {}\n{lines}",
            netns.handle().display(),
            errors.trim()
        );
    }
    written.context("writing to ip")
}
