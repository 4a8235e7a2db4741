//! What the guest tells: the output of the tests, and lines about the run itself, see `guest.sh`.

use std::process::ExitStatus;

use crate::test::{Skip, Tally};

/// What comes before a line about the run itself.
const PREFIX: &str = "guest: ";

/// How far the guest came.
#[derive(Debug, Default)]
pub struct Transcript {
    done: bool,
    /// The binary that began and did not end yet.
    running: Option<String>,
    failed: Vec<String>,
}

impl Transcript {
    /// Reads a line.
    pub fn read(&mut self, line: &str, tally: &mut Tally) {
        let line = line.trim_end_matches('\r');
        let Some(told) = line.strip_prefix(PREFIX) else {
            return tally.read(line);
        };
        let (what, about) = told.split_once(' ').unwrap_or((told, ""));
        match what {
            "begin" => self.running = about.split(' ').next().map(str::to_owned),
            "end" => self.end(about),
            "skip" => {
                if let Some(skip) = Skip::parse(about) {
                    tally.skip(skip);
                }
            }
            "done" => self.done = true,
            _ => {}
        }
    }

    fn end(&mut self, about: &str) {
        let name = about.split(' ').next().unwrap_or_default();
        if about != format!("{name} 0") {
            self.failed.push(name.to_owned());
        }
        self.running = None;
    }

    /// What went wrong, now that the machine ended with `status`.
    pub fn problems(&self, status: ExitStatus) -> Vec<String> {
        let mut problems: Vec<_> = self.failed.iter().map(|name| format!("{name} failed")).collect();
        if !self.done {
            let during = self.running.as_deref().unwrap_or("its start");
            problems.push(format!("the machine ended during {during} ({status})"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn read(text: &str) -> (Transcript, Tally) {
        let (mut transcript, mut tally) = Default::default();
        text.lines()
            .for_each(|line| Transcript::read(&mut transcript, line, &mut tally));
        (transcript, tally)
    }

    #[test]
    fn tests_and_skips_of_the_guest_are_counted() {
        let (transcript, tally) = read(
            "guest: begin services at 9.5 s\r\ntest a ... ok\r\ntest b ... ok\r\n\
             test result: ok. 2 passed; 0 failed; 0 ignored\r\nguest: end services 0\r\n\
             guest: skip SKIP b: needs tcx\r\nguest: done\r\n",
        );
        assert!(transcript.problems(ExitStatus::from_raw(0)).is_empty());
        assert_eq!((tally.passed, tally.failed, tally.skipped), (1, 0, 1));
    }

    #[test]
    fn a_guest_that_does_not_come_to_its_end_failed() {
        let (transcript, _) = read("guest: begin services at 9.5 s\ntest a ... ok\n");
        assert_eq!(
            transcript.problems(ExitStatus::from_raw(0)),
            ["the machine ended during services (exit status: 0)"]
        );
        let (transcript, _) = read("");
        assert!(transcript.problems(ExitStatus::from_raw(124 << 8))[0].contains("its start"));
    }

    #[test]
    fn a_binary_that_failed_or_crashed_is_named() {
        let (transcript, _) = read("guest: begin services at 9.5 s\nguest: end services 101\nguest: done\n");
        assert_eq!(transcript.problems(ExitStatus::from_raw(0)), ["services failed"]);
    }
}
