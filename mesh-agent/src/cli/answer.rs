//! What a command has to say.

use std::io::{self, Write};

use mesh_common::names::exit;

use super::failure::Failure;

/// Text for standard output, and the exit code that goes with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The exit code.
    pub exit: u8,
}

impl Answer {
    /// All is well.
    pub fn good(text: String) -> Self {
        Self { text, exit: exit::OK }
    }

    /// Good where the thing asked about is.
    pub fn of(text: String, good: bool) -> Self {
        let exit = if good { exit::OK } else { exit::FAILURE };
        Self { text, exit }
    }

    /// Prints it. A reader that has seen enough (`| head`) is no failure.
    pub fn print(&self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(self.text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::failed(format!("standard output: {error}")))
            }
            _ => Ok(()),
        }
    }
}
