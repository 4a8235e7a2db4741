//! The processes that do the work, and the line to each of them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use harness::{Place, Pod, Program, eventually};

use crate::order::{Order, Tally};
use crate::processor;
use crate::{client, http, server};

/// Names this program's other self.
pub const WORKER: &str = "worker";

const SOON: Duration = Duration::from_secs(5);
/// A slice is a fraction of a second; a connection that hangs is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a worker does.
#[derive(Clone, Copy, Debug)]
enum Role {
    Client,
    Server,
}

/// A client and its server, and the one for HTTP.
#[derive(Debug)]
pub struct Crew {
    client: Worker,
    server: Worker,
    web: Option<Program>,
}

/// What a slice of work gave.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Operations in a second.
    pub rate: f64,
    /// Microseconds of a processor per operation, client and server together.
    pub cpu: f64,
    /// Operations.
    pub operations: u64,
}

impl Crew {
    /// Starts both; `ground` is a directory for their sockets.
    pub fn start(client: &Place, server: &Place, ground: &Path) -> Result<Self> {
        Ok(Self {
            server: Worker::start(server, Role::Server, ground)?,
            client: Worker::start(client, Role::Client, ground)?,
            web: None,
        })
    }

    /// Starts the server for HTTP, too.
    pub fn serve_http(&mut self, server: &Pod) -> Result<()> {
        let web = http::serve(server)?;
        for process in processor::family(web.pid())? {
            processor::prefer(process)?;
        }
        self.web = Some(web);
        Ok(())
    }

    /// Keeps each on its processor.
    pub fn pin(&self, client: usize, server: usize) -> Result<()> {
        processor::pin(self.client.program.pid(), client)?;
        processor::pin(self.server.program.pid(), server)?;
        let family = self.web_processes()?;
        family
            .into_iter()
            .try_for_each(|process| processor::pin(process, server))
    }

    /// A slice of work.
    pub fn work(&mut self, order: &Order) -> Result<Sample> {
        let before = self.server_used()?;
        let tally: Tally = self.client.ask(&order.to_string())?.parse()?;
        let cpu = tally.cpu + self.server_used()?.saturating_sub(before);
        ensure!(tally.operations > 0, "nothing was done: {order}");
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 in a slice")]
        let operations = tally.operations as f64;
        Ok(Sample {
            rate: operations / tally.elapsed.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / operations,
            operations: tally.operations,
        })
    }

    fn server_used(&mut self) -> Result<Duration> {
        let nanos = self.server.ask("used")?;
        let mut used = Duration::from_nanos(nanos.parse().with_context(|| nanos.clone())?);
        for process in self.web_processes()? {
            used += processor::used_by(process)?;
        }
        Ok(used)
    }

    fn web_processes(&self) -> Result<Vec<u32>> {
        let family = self.web.as_ref().map(|web| processor::family(web.pid()));
        Ok(family.transpose()?.unwrap_or_default())
    }
}

/// One process.
#[derive(Debug)]
struct Worker {
    program: Program,
    control: BufReader<UnixStream>,
}

impl Worker {
    fn start(place: &Place, role: Role, ground: &Path) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = ground.join(format!("bench-{}.sock", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
        listener.set_nonblocking(true)?;
        let itself = std::env::current_exe().context("finding this program")?;
        let launch = place.command(itself).arg(WORKER).arg(role.name());
        let program = launch.arg(&path).start()?;
        let joined = eventually(SOON, || listener.accept());
        let (control, _) =
            joined.with_context(|| format!("waiting for a {}\n{}", role.name(), program.tail()))?;
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
        control.set_nonblocking(false)?;
        control.set_read_timeout(Some(PATIENCE))?;
        let control = BufReader::new(control);
        let mut worker = Self { program, control };
        processor::prefer(worker.program.pid())?;
        // A server's first word comes when it listens.
        if matches!(role, Role::Server) {
            worker.ask("used")?;
        }
        Ok(worker)
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        let mut answer = String::new();
        let asked = writeln!(self.control.get_mut(), "{line}");
        let read = asked.and_then(|()| self.control.read_line(&mut answer));
        let heard =
            read.with_context(|| format!("waiting for the end of: {line}\n{}", self.program.tail()))?;
        ensure!(heard > 0, "the worker ended\n{}", self.program.tail());
        let answer = answer.trim_end();
        answer
            .strip_prefix("error ")
            .map_or_else(|| Ok(answer.to_owned()), |error| Err(anyhow!("{error}")))
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// What this program is when it is a worker.
pub fn work(role: &str, control: &Path) -> Result<()> {
    let control = UnixStream::connect(control).with_context(|| control.display().to_string())?;
    match role {
        "client" => client::work(&control),
        "server" => server::work(&control),
        _ => bail!("no worker is a {role}"),
    }
}
