//! The real agent, on the node of a sandbox.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::replace;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mesh_common::names;
use rustix::process::Signal;

use crate::binary::{self, Binary};
use crate::http::{self, Response};
use crate::place::Place;
use crate::program::Program;
use crate::sandbox::Sandbox;
use crate::wait::patient;

/// Name of the node unless told otherwise.
pub const NODE_NAME: &str = "node-1";

const READY_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// An agent about to be started.
#[derive(Clone, Debug)]
pub struct AgentBuilder<'a> {
    sandbox: &'a Sandbox,
    binary: Option<PathBuf>,
    wrapper: Vec<OsString>,
    command: Vec<OsString>,
    place: Place,
    node_name: String,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl<'a> AgentBuilder<'a> {
    pub(crate) fn new(sandbox: &'a Sandbox) -> Self {
        Self {
            sandbox,
            binary: None,
            wrapper: Vec::new(),
            command: vec!["run".into()],
            place: sandbox.node(),
            node_name: NODE_NAME.into(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Another binary than the one that was built with the test.
    #[must_use]
    pub fn binary(mut self, path: impl AsRef<Path>) -> Self {
        self.binary = Some(path.as_ref().to_owned());
        self
    }

    /// Started by another program, with these arguments before the agent's own: `setpriv` for example.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(Into::into).collect();
        self
    }

    /// As the child of a broker, with these options of that.
    #[must_use]
    pub fn supervised(mut self, options: &[&str]) -> Self {
        let broker = [&["broker"], options, &["run"]].concat();
        self.command = broker.iter().map(Into::into).collect();
        self
    }

    /// In another place than the node's own network.
    #[must_use]
    pub fn inside(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Another name of the node.
    #[must_use]
    pub fn node_name(mut self, name: &str) -> Self {
        self.node_name = name.into();
        self
    }

    /// One more argument; a flag that the sandbox sets too replaces the sandbox's.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    /// One variable of its environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Starts the agent and waits until it is ready.
    pub fn start(self) -> Result<Agent> {
        let agent = self.launch()?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts the agent without waiting.
    pub fn launch(self) -> Result<Agent> {
        let sandbox = self.sandbox;
        let flags: [(&str, OsString); 6] = [
            ("--manifests", sandbox.manifests().dir().into()),
            ("--cgroup", sandbox.cgroup().into()),
            ("--bpffs", sandbox.bpffs().into()),
            ("--run-dir", sandbox.run_dir().into()),
            ("--netns-dir", sandbox.netns_dir().into()),
            ("--node-name", self.node_name.into()),
        ];
        let mut args = self.command;
        // Objects come from one place.
        let follows = self.args.iter().any(|arg| arg == "--kubeconfig");
        let ours = flags
            .into_iter()
            .filter(|(flag, _)| self.args.iter().all(|arg| arg != flag))
            .filter(|(flag, _)| !(follows && *flag == "--manifests"));
        args.extend(ours.flat_map(|(flag, value)| [flag.into(), value]));
        args.extend(self.args);
        let mut binary = self.binary.map_or_else(|| binary::find(Binary::Agent), Ok)?;
        if let Some((wrapper, before)) = self.wrapper.split_first() {
            let program = replace(&mut binary, wrapper.into()).into();
            args.splice(..0, before.iter().cloned().chain([program]));
        }
        let recipe = Recipe {
            place: self.place,
            binary,
            args,
            env: self.env,
        };
        Ok(Agent {
            program: recipe.start()?,
            recipe,
            past: Vec::new(),
        })
    }
}

/// How to start it, again.
#[derive(Debug)]
struct Recipe {
    place: Place,
    binary: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Recipe {
    fn start(&self) -> Result<Program> {
        let launch = self.place.command(&self.binary).args(&self.args);
        self.env
            .iter()
            .fold(launch, |launch, (key, value)| launch.env(key, value))
            .start()
    }
}

/// An agent that runs, or ran. Dropping it ends it.
#[derive(Debug)]
pub struct Agent {
    recipe: Recipe,
    program: Program,
    /// Earlier ones: what they started may have to outlive them, until the test ends.
    past: Vec<Program>,
}

impl Agent {
    /// Waits until `/readyz` says 200, at most 20 seconds.
    pub fn wait_ready(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let answer = self.ready();
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            let alive = self.program.alive();
            if !alive || start.elapsed() > patient(READY_WITHIN) {
                let state = if alive {
                    "not ready"
                } else {
                    "ended before it was ready"
                };
                let answer = answer.map_or_else(|error| error.to_string(), |answer| answer.body);
                bail!("the agent is {state}; /readyz: {answer}\n{}", self.program.tail());
            }
            std::thread::sleep(POLL);
        }
    }

    /// What `/readyz` says.
    pub fn ready(&self) -> io::Result<Response> {
        self.get(names::port::READINESS, "/readyz")
    }

    /// GET from the agent's `127.0.0.1:port`.
    pub fn get(&self, port: u16, path: &str) -> io::Result<Response> {
        self.recipe
            .place
            .run(|| http::get(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path))
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> Result<String> {
        let response = self
            .get(names::port::METRICS, "/metrics")
            .context("scraping the agent")?;
        if response.status == 200 {
            Ok(response.body)
        } else {
            bail!("/metrics: {response:?}")
        }
    }

    /// Kills the agent alone, as a crash would.
    pub fn kill9(&self) -> Result<ExitStatus> {
        self.program.signal(Signal::KILL)?;
        self.program.wait(READY_WITHIN)
    }

    /// Asks the agent to end and waits for it.
    pub fn terminate(&self) -> Result<ExitStatus> {
        self.program.signal(Signal::TERM)?;
        self.program.wait(READY_WITHIN)
    }

    /// Ends the agent, if it still runs, and starts it again with the same arguments; waits until ready.
    pub fn restart(&mut self) -> Result<()> {
        if self.program.alive() {
            self.terminate()?;
        }
        self.past.push(replace(&mut self.program, self.recipe.start()?));
        self.wait_ready()
    }

    /// The process.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Everything it printed since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.log()
    }
}
