//! A shell somewhere: what it runs is shown with what it printed.

use std::ffi::OsString;
use std::path::Path;
use std::process::Output;

use anyhow::{Result, ensure};
use harness::{Launch, Place, Program};

use crate::narrator::Narrator;

/// Where commands are typed.
pub struct Terminal {
    place: Place,
    env: Vec<(&'static str, OsString)>,
}

impl Terminal {
    /// In a place, with `env` set.
    pub fn open(place: Place, env: &[(&'static str, OsString)]) -> Self {
        Self {
            place,
            env: env.to_vec(),
        }
    }

    /// Shows a command, runs it and shows what it printed, which it returns. It has to succeed.
    pub fn run(&self, command: &str, narrator: &Narrator) -> Result<String> {
        let output = self.try_run(command, narrator)?;
        ensure!(output.status.success(), "{command}: {}", output.status);
        Ok(text(&output.stdout))
    }

    /// As [`Self::run`], but it may fail.
    pub fn try_run(&self, command: &str, narrator: &Narrator) -> Result<Output> {
        narrator.command(self.place.name(), command)?;
        let output = self.shell(command).output()?;
        narrator.output(&text(&output.stdout))?;
        narrator.output(&text(&output.stderr))?;
        Ok(output)
    }

    /// Runs a command without showing anything; it has to succeed.
    pub fn run_quietly(&self, command: &str) -> Result<String> {
        let output = self.shell(command).output()?;
        let problem = text(&output.stderr);
        ensure!(output.status.success(), "{command}: {} {problem}", output.status);
        Ok(text(&output.stdout))
    }

    /// Shows a command and runs it in the background.
    pub fn start(&self, command: &str, narrator: &Narrator) -> Result<Program> {
        narrator.command(self.place.name(), &format!("{command} &"))?;
        self.shell(&format!("exec {command}")).start()
    }

    /// As [`Self::start`], for more than one program.
    pub fn start_script(&self, script: &str, narrator: &Narrator) -> Result<Program> {
        narrator.command(self.place.name(), &format!("({script}) &"))?;
        self.shell(script).start()
    }

    /// A command about to run, unseen.
    pub fn shell(&self, command: &str) -> Launch {
        let launch = self.place.command("sh").args(["-c", command]);
        self.env
            .iter()
            .fold(launch, |launch, (name, value)| launch.env(name, value))
    }
}

/// `PATH` with one more directory before the others.
pub fn path_with(directory: &Path) -> OsString {
    let mut path = OsString::from(directory);
    if let Some(before) = std::env::var_os("PATH") {
        path.push(":");
        path.push(before);
    }
    path
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
