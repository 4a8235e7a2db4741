//! Running a command while reading along.

use std::io::{self, Read, Write};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::interrupt::{self, Forwarding};
use crate::run::{announce, finish, start};
use crate::shown::shown;

const POLL: Duration = Duration::from_millis(100);

/// Announces and runs a command, shows its standard output while it comes and hands each line to `line`.
pub fn stream(command: &mut Command, line: &mut dyn FnMut(&str)) -> Result<ExitStatus> {
    announce(command);
    let mut child = start(command.stdout(Stdio::piped()))?;
    let forwarding = Forwarding::to(&child);
    let chunks = child
        .stdout
        .take()
        .map(read)
        .context("standard output is not piped")?;
    let mut lines = Lines::default();
    let status = loop {
        match chunks.recv_timeout(POLL) {
            Ok(chunk) => show(&chunk, &mut lines, line)?,
            Err(RecvTimeoutError::Disconnected) => break child.wait().with_context(|| shown(command))?,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = child.try_wait().with_context(|| shown(command))? {
                    break status;
                }
            }
        }
    };
    if forwarding.end_stragglers() && interrupt::check().is_ok() {
        eprintln!("note: ended processes that outlived {}", shown(command));
    }
    while let Ok(chunk) = chunks.recv_timeout(POLL) {
        show(&chunk, &mut lines, line)?;
    }
    lines.end(line);
    finish(&forwarding)?;
    Ok(status)
}

fn read(mut stdout: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn show(chunk: &[u8], lines: &mut Lines, line: &mut dyn FnMut(&str)) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(chunk)
        .and_then(|()| stdout.flush())
        .context("cannot write to standard output")?;
    lines.take(chunk, line);
    Ok(())
}

/// Cuts output into lines, wherever it was split on its way.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    fn take(&mut self, chunk: &[u8], line: &mut dyn FnMut(&str)) {
        self.partial.extend_from_slice(chunk);
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            line(&String::from_utf8_lossy(&self.partial[..end]));
            self.partial.drain(..=end);
        }
    }

    fn end(self, line: &mut dyn FnMut(&str)) {
        if !self.partial.is_empty() {
            line(&String::from_utf8_lossy(&self.partial));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines_wherever_it_was_split() {
        let mut found = Vec::new();
        let mut line = |line: &str| found.push(line.to_owned());
        let mut lines = Lines::default();
        lines.take(b"one\ntw", &mut line);
        lines.take(b"o\nre", &mut line);
        lines.take(b"st", &mut line);
        lines.end(&mut line);
        assert_eq!(found, ["one", "two", "rest"]);
    }

    #[test]
    fn a_straggler_does_not_hold_the_runner() {
        let begun = std::time::Instant::now();
        let status = stream(Command::new("sh").args(["-c", "sleep 60 & exit 3"]), &mut |_| ());
        assert_eq!(status.expect("sh runs").code(), Some(3));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
