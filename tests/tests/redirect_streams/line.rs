//! Connections between the twins, and what went over them by redirect.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::twins::{Path, Twins};
use mesh_agent::datapath::{listing, pins::Pins};
use mesh_common::accel::Moved;
use socket2::SockRef;

/// Nothing that works takes as long; set on every socket, so that what hangs fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The client's end and the server's.
pub type Pair = (TcpStream, TcpStream);

/// Runs a test on plain TCP, then on the redirect, each with pods and an agent of its own.
pub fn on_both<T>(name: &str, mut test: impl FnMut(&Line<'_>) -> Result<T>) -> Result<[T; 2]> {
    let mut on = |path| {
        let twins = Twins::new(name, path)?;
        test(&Line::new(&twins, path)?).with_context(|| format!("on {path:?}"))
    };
    Ok([on(Path::Tcp)?, on(Path::Redirect)?])
}

/// A listener in the server's pod, and all it takes to reach it.
#[derive(Debug)]
pub struct Line<'a> {
    pub twins: &'a Twins,
    pub path: Path,
    listener: TcpListener,
}

impl<'a> Line<'a> {
    fn new(twins: &'a Twins, path: Path) -> Result<Self> {
        let listener = twins.listen()?;
        Ok(Self {
            twins,
            path,
            listener,
        })
    }

    /// Another line, whose server's sockets have a receive buffer of this many bytes.
    pub fn with_receive_buffer(&self, bytes: usize) -> Result<Self> {
        let line = Self::new(self.twins, self.path)?;
        SockRef::from(&line.listener).set_recv_buffer_size(bytes)?;
        Ok(line)
    }

    /// One connection.
    pub fn pair(&self) -> Result<Pair> {
        self.pairs(1)?.pop().context("a connection")
    }

    /// Connections that block, with [`PATIENCE`], and send at once.
    pub fn pairs(&self, count: usize) -> Result<Vec<Pair>> {
        let to = self.listener.local_addr()?;
        let connect = || {
            let near = TcpStream::connect(to)?;
            let (far, _) = self.listener.accept()?;
            for end in [&near, &far] {
                end.set_nodelay(true)?;
                end.set_read_timeout(Some(PATIENCE))?;
                end.set_write_timeout(Some(PATIENCE))?;
            }
            Ok((near, far))
        };
        let all: io::Result<Vec<Pair>> = self.twins.client.run(|| (0..count).map(|_| connect()).collect());
        Ok(all?)
    }

    /// The switch of the node, for connections that are open, too.
    pub fn switch(&self, on: bool) -> Result<()> {
        let verb = if on { "enable" } else { "disable" };
        let done = self.twins.sandbox.meshctl(["accel", verb])?;
        ensure!(done.status.success(), "accel {verb}: {done:?}");
        Ok(())
    }

    /// What all open sockets sent: by redirect, and by TCP although they are enrolled.
    pub fn sent(&self) -> Result<(Moved, Moved)> {
        let flows = listing::read(&Pins::new(&self.twins.sandbox.bpffs()))?;
        let sum = |part: fn(&mesh_common::accel::Accel) -> Moved| {
            let parts = flows.iter().map(|flow| part(&flow.sock.accel));
            parts.fold(Moved::default(), Moved::plus)
        };
        Ok((sum(|accel| accel.redirected), sum(|accel| accel.passed)))
    }

    /// # Panics
    ///
    /// Unless open sockets sent at least so many messages by redirect; none, on plain TCP.
    #[track_caller]
    pub fn assert_redirected(&self, least: u64) -> Result<()> {
        let (redirected, passed) = self.sent()?;
        match self.path {
            Path::Tcp => assert_eq!(redirected, Moved::default()),
            Path::Redirect => {
                assert!(
                    redirected.messages >= least,
                    "redirected {redirected:?}, passed {passed:?}"
                );
            }
        }
        Ok(())
    }
}
