//! Standard input: who holds its other end decides how long this process lives.

use std::io::{BufRead as _, stdin};
use std::process::exit;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Watches standard input.
pub struct Leash(Receiver<()>);

impl Leash {
    /// Begins to watch. At the end of the input the process ends at once; the janitor cleans up.
    pub fn hold() -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            for _ in stdin().lock().lines().map_while(Result::ok) {
                // Nobody waits for a line, unless asked to keep everything.
                let _ = sender.send(());
            }
            exit(1);
        });
        Self(lines)
    }

    /// Waits for a line.
    pub fn line(&self) {
        // The other side never goes: it ends the process instead.
        let _ = self.0.recv();
    }
}
