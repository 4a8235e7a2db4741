//! What the audience reads.

use std::io::{self, IsTerminal as _, Stdout, Write as _, stdout};
use std::time::Instant;

/// Numbers the steps and prints.
pub struct Narrator {
    step: u32,
    begun: Instant,
    colour: bool,
    out: Stdout,
}

impl Narrator {
    /// Begins; its clock runs from now on.
    pub fn begin() -> Self {
        Self {
            step: 0,
            begun: Instant::now(),
            colour: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            out: stdout(),
        }
    }

    /// The heading of the next step.
    pub fn step(&mut self, title: &str) -> io::Result<()> {
        self.step += 1;
        let seconds = self.begun.elapsed().as_secs_f64();
        let heading = format!("{}. {title}", self.step);
        self.print(&format!("\n{}  ({seconds:.1} s)\n", self.styled("1", &heading)))
    }

    /// A line of explanation.
    pub fn say(&self, text: &str) -> io::Result<()> {
        self.print(&format!("{}\n", self.styled("2", &format!("# {text}"))))
    }

    /// A command that is about to run, and where.
    pub fn command(&self, place: &str, command: &str) -> io::Result<()> {
        self.print(&format!(
            "{}\n",
            self.styled("36", &format!("{place}$ {command}"))
        ))
    }

    /// What a command printed.
    pub fn output(&self, text: &str) -> io::Result<()> {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        self.print(&format!("{text}{end}"))
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// An audience that went away is an error, not a panic.
    fn print(&self, text: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}
