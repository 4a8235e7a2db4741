//! The thread that starts every program.
//!
//! `PDEATHSIG` ends a program when the *thread* that started it ends. Started by a thread of
//! [`Place::run`](crate::Place::run) or of one test it would die too early; this one ends with the process.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result};

type Reply = Sender<io::Result<Child>>;

/// Handle of the thread.
#[derive(Debug)]
pub struct Launcher {
    orders: Sender<(Command, Reply)>,
}

impl Launcher {
    /// Starts the thread, where the caller stands.
    pub fn start() -> Result<Self> {
        let (orders, inbox) = channel();
        let run = move || serve(&inbox);
        thread::Builder::new()
            .name("launcher".into())
            .spawn(run)
            .context("starting the launcher")?;
        Ok(Self { orders })
    }

    /// Starts `command`.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = channel();
        let gone = || io::Error::other("the launcher ended");
        self.orders.send((command, reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

fn serve(inbox: &Receiver<(Command, Reply)>) {
    for (mut command, reply) in inbox {
        // Whoever asked waits for the answer.
        let _ = reply.send(command.spawn());
    }
}
