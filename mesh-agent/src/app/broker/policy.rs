//! Whether the agent is started again, and when.

use std::{fmt, time::Duration};

use mesh_common::names::exit;
use rustix::process::Signal;

/// The pause before the second restart in a row; the first comes at once.
const FIRST: Duration = Duration::from_secs(1);
/// No pause is longer.
const LONGEST: Duration = Duration::from_mins(1);
/// An agent that ran this long did not crash because of how it was started: what follows is a first restart.
const LONG: Duration = Duration::from_mins(5);
/// An agent that gives up sooner refuses to run.
const REFUSAL: Duration = Duration::from_secs(30);
/// What shells add to the number of the signal that ended a process.
const SIGNALLED: u8 = 128;

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// By itself, with this code.
    Exited(u8),
    /// By the signal of this number.
    Killed(i32),
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// The end, with this code.
    End(u8),
    /// The agent is started again after a pause.
    Restart(Duration),
}

/// The restarts so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restarts {
    /// The pause before the next one.
    pause: Duration,
}

impl Restarts {
    /// What comes after an agent that was not told to end, and ran that long.
    ///
    /// What the agent has to say about its end must reach whoever started the container: it ended well, was used
    /// wrongly, or refuses to run here. Anything else (a signal, a panic, an error after it had been running) is a
    /// crash.
    pub fn next(&mut self, end: End, ran: Duration) -> Next {
        match end {
            End::Exited(code @ (exit::OK | exit::USAGE)) => return Next::End(code),
            End::Exited(code @ exit::FAILURE) if ran < REFUSAL => return Next::End(code),
            _ => {}
        }
        if ran >= LONG {
            self.pause = Duration::ZERO;
        }
        let pause = self.pause;
        self.pause = (pause * 2).clamp(FIRST, LONGEST);
        Next::Restart(pause)
    }
}

impl End {
    /// The exit code of whoever told it to end: one that ended by the signal it was told by ended well.
    pub fn code_when_told(self) -> u8 {
        let asked = [Signal::TERM, Signal::INT].map(Signal::as_raw);
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) if asked.contains(&signal) => exit::OK,
            Self::Killed(signal) => u8::try_from(signal).map_or(exit::FAILURE, |signal| SIGNALLED | signal),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "exit code {code}"),
            Self::Killed(signal) => write!(formatter, "signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: End = End::Killed(9);
    const SHORT: Duration = Duration::from_secs(2);

    fn pauses(restarts: &mut Restarts, count: usize) -> Vec<u64> {
        let mut pause = |_| match restarts.next(KILLED, SHORT) {
            Next::Restart(pause) => pause.as_secs(),
            Next::End(code) => panic!("ended with {code}"),
        };
        (0..count).map(&mut pause).collect()
    }

    #[test]
    fn pauses_double_until_it_ran_for_long() {
        let mut restarts = Restarts::default();
        assert_eq!(pauses(&mut restarts, 9), [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(restarts.next(KILLED, LONG), Next::Restart(Duration::ZERO));
        assert_eq!(pauses(&mut restarts, 2), [1, 2]);
    }

    #[test]
    fn what_the_agent_says_itself_is_passed_on() {
        let mut restarts = Restarts::default();
        for code in [exit::OK, exit::FAILURE, exit::USAGE] {
            assert_eq!(restarts.next(End::Exited(code), SHORT), Next::End(code));
        }
        for code in [exit::OK, exit::USAGE] {
            assert_eq!(restarts.next(End::Exited(code), LONG), Next::End(code));
        }
    }

    #[test]
    fn crashes_are_not() {
        let panicked = End::Exited(101);
        for (end, ran) in [
            (KILLED, SHORT),
            (panicked, SHORT),
            (End::Exited(exit::FAILURE), REFUSAL),
        ] {
            let next = Restarts::default().next(end, ran);
            assert_eq!(next, Next::Restart(Duration::ZERO), "{end}");
        }
    }

    #[test]
    fn codes_when_told() {
        assert_eq!(End::Exited(0).code_when_told(), 0);
        assert_eq!(End::Exited(1).code_when_told(), 1);
        assert_eq!(End::Killed(15).code_when_told(), 0);
        assert_eq!(KILLED.code_when_told(), 137);
    }
}
