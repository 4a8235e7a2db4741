//! Programs about to be started in a place.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::log::Log;
use crate::place::Place;
use crate::process::Process;
use crate::program::Program;
use crate::running::Running;
use crate::{resolver, until};

/// How long [`Launch::output`] waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that is about to be started.
#[derive(Debug)]
pub struct Launch {
    place: Place,
    command: Command,
    nameservers: Vec<IpAddr>,
}

impl Launch {
    pub(crate) fn new(place: Place, program: &OsStr) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self {
            place,
            command,
            nameservers: Vec::new(),
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// One variable of its environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Makes the program see an `/etc/resolv.conf` with these name servers. Its working directory is `/`.
    #[must_use]
    pub fn nameservers(mut self, servers: &[IpAddr]) -> Self {
        self.nameservers = servers.to_vec();
        self
    }

    /// Starts the program in the background; what it prints goes to a log.
    pub fn start(mut self) -> Result<Program> {
        let log = Log::create(self.place.run_dir(), self.place.name(), &self.program())?;
        self.command.stdout(log.open()?).stderr(log.open()?);
        let place = self.place.clone();
        let running = Arc::new(Running::new(self.spawn()?, log));
        place.tenants().add(&running);
        Ok(Program::new(running))
    }

    /// Runs the program to its end, which has to come within 20 seconds.
    pub fn output(mut self) -> Result<Output> {
        let program = self.program();
        let logs = [(); 2].map(|()| Log::create(self.place.run_dir(), self.place.name(), &program));
        let [out, err] = logs;
        let (out, err) = (out?, err?);
        self.command.stdout(out.open()?).stderr(err.open()?);
        let child = Running::new(self.spawn()?, err);
        let ended = until(PATIENCE, || child.status().is_some());
        let status = child.end()?;
        if !ended {
            bail!(
                "{program} still ran after {PATIENCE:?}\n{}\n{}",
                out.tail(),
                child.log().tail()
            );
        }
        Ok(Output {
            status,
            stdout: out.text().into(),
            stderr: child.log().text().into(),
        })
    }

    fn program(&self) -> String {
        self.command.get_program().to_string_lossy().into_owned()
    }

    fn spawn(mut self) -> Result<Child> {
        let program = self.program();
        let mut entrance = self.place.entrance()?;
        if !self.nameservers.is_empty() {
            entrance.mounts = Some(resolver::view(self.place.run_dir(), &self.nameservers)?);
        }
        entrance.guard(&mut self.command);
        self.command.process_group(0);
        let place = self.place.name().to_owned();
        let child = Process::get()?.launcher().spawn(self.command);
        child.with_context(|| format!("starting {program} in {place}"))
    }
}
