//! The start-up probe: does the redirect behave on the running kernel as the guard expects it to? It runs the
//! real programs on tables of its own, with pairs of loopback sockets that nobody else sees.

mod checks;
mod pair;

use std::{fmt, io};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::pair::Bench;
use super::accel::AccelError;

/// Why the probe could not even begin.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// A program is refused.
    #[error(transparent)]
    Programs(#[from] AccelError),
    /// Maps are refused.
    #[error("the probe's tables: {0}")]
    Tables(#[from] EbpfError),
    /// A map can't be written.
    #[error("the probe's tables: {0}")]
    Map(#[from] MapError),
    /// The iterator that tells sockets' addresses is refused.
    #[error("the probe's list of sockets: {0}")]
    List(#[from] ProgramError),
    /// Sockets on loopback don't work.
    #[error("the probe's sockets on loopback: {0}")]
    Sockets(#[from] io::Error),
}

/// Something the redirect must do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Bytes arrive in the order they were sent, whatever path each took.
    Order,
    /// A redirected message wakes a reader that waits with epoll.
    WakeUp,
    /// A receiver that does not read stops its sender.
    BackPressure,
    /// Redirected bytes are charged to the receiver (`sk_rmem_alloc`).
    Charge,
    /// `FIONREAD` tells bytes that came by redirect.
    FionreadRedirected,
    /// `FIONREAD` tells bytes that came by TCP.
    FionreadTcp,
}

impl Check {
    /// All, in the order they run.
    pub const ALL: [Self; 6] = [
        Self::Order,
        Self::WakeUp,
        Self::BackPressure,
        Self::Charge,
        Self::FionreadRedirected,
        Self::FionreadTcp,
    ];

    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::WakeUp => "wake_up",
            Self::BackPressure => "back_pressure",
            Self::Charge => "charge",
            Self::FionreadRedirected => "fionread_redirected",
            Self::FionreadTcp => "fionread_tcp",
        }
    }

    /// Whether sockets that never ask `FIONREAD` can do without.
    const fn is_for_applications_only(self) -> bool {
        matches!(self, Self::FionreadRedirected | Self::FionreadTcp)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one check saw.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Which.
    pub check: Check,
    /// What was wrong; `None` where it passed.
    pub wrong: Option<String>,
}

/// What the probe saw with one arrangement of programs.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrangement {
    /// Whether the stream verdict takes bytes of TCP into the queue of redirected ones.
    pub stream_verdict: bool,
    /// What each check saw.
    pub outcomes: Vec<Outcome>,
}

impl Arrangement {
    /// Why the redirect must not be used here; `None` where it may.
    fn objection(&self, applications: bool) -> Option<String> {
        let matters = |outcome: &&Outcome| applications || !outcome.check.is_for_applications_only();
        let failed: Vec<String> = self
            .outcomes
            .iter()
            .filter(matters)
            .filter_map(|outcome| Some(format!("{}: {}", outcome.check, outcome.wrong.as_ref()?)))
            .collect();
        (!failed.is_empty()).then(|| failed.join("; "))
    }
}

/// What the probe found, per use.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Release of the kernel that was probed.
    pub kernel: String,
    /// Whether the stream verdict is used for applications' sockets; the mesh's own do without.
    pub stream_verdict: bool,
    /// Why applications' sockets are not enrolled; `None` where they may be.
    pub applications: Option<String>,
    /// Why the mesh's own sockets are not enrolled; `None` where they may be.
    pub own: Option<String>,
    /// What was tried.
    pub arrangements: Vec<Arrangement>,
}

impl Report {
    /// Chooses for applications: without the stream verdict if that suffices, since it costs; with it where it
    /// makes the difference. The mesh's own sockets never have it.
    #[must_use]
    pub fn of(kernel: String, arrangements: Vec<Arrangement>) -> Self {
        let bare = arrangements.iter().find(|it| !it.stream_verdict);
        let serving = arrangements.iter().find(|it| it.objection(true).is_none());
        let chosen = serving.or(bare);
        let objection = |arrangement: Option<&Arrangement>, applications| match arrangement {
            Some(arrangement) => arrangement.objection(applications),
            None => Some("nothing was tried".to_owned()),
        };
        Self {
            kernel,
            stream_verdict: chosen.is_some_and(|it| it.stream_verdict),
            applications: objection(chosen, true),
            own: objection(bare, false),
            arrangements,
        }
    }

    /// Whether applications' sockets, or the mesh's own, may be enrolled, in words.
    #[must_use]
    pub fn word(&self, applications: bool) -> String {
        let objection = if applications {
            &self.applications
        } else {
            &self.own
        };
        objection
            .as_ref()
            .map_or_else(|| "possible".to_owned(), |why| format!("not possible: {why}"))
    }

    /// Whether each kind of sockets may be enrolled, by its name in metrics.
    #[must_use]
    pub fn uses(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("applications", self.applications.is_none()),
            ("own", self.own.is_none()),
        ]
    }

    /// A report that says the probe could not be made.
    #[must_use]
    pub fn impossible(kernel: String, why: &str) -> Self {
        Self {
            kernel,
            applications: Some(why.to_owned()),
            own: Some(why.to_owned()),
            ..Self::default()
        }
    }
}

/// Probes the running kernel; takes some tenths of a second.
///
/// # Errors
/// Where the programs or tables are refused, or loopback does not work.
pub fn run(kernel: String) -> Result<Report, ProbeError> {
    let plain = arrange(false)?;
    let suffices = plain.objection(true).is_none();
    let mut arrangements = vec![plain];
    if !suffices {
        arrangements.push(arrange(true)?);
    }
    Ok(Report::of(kernel, arrangements))
}

fn arrange(stream_verdict: bool) -> Result<Arrangement, ProbeError> {
    let mut bench = Bench::new(stream_verdict)?;
    let mut outcomes = Vec::new();
    for check in Check::ALL {
        let wrong = checks::run(check, &mut bench)?;
        outcomes.push(Outcome { check, wrong });
    }
    Ok(Arrangement {
        stream_verdict,
        outcomes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrangement(stream_verdict: bool, failing: &[Check]) -> Arrangement {
        let outcome = |check| Outcome {
            check,
            wrong: failing.contains(&check).then(|| "wrong".to_owned()),
        };
        Arrangement {
            stream_verdict,
            outcomes: Check::ALL.map(outcome).to_vec(),
        }
    }

    fn report(arrangements: &[Arrangement]) -> (bool, Option<String>, Option<String>) {
        let report = Report::of("6.1".to_owned(), arrangements.to_vec());
        (report.stream_verdict, report.applications, report.own)
    }

    #[test]
    fn the_cheapest_arrangement_that_serves_applications_wins() {
        let lacking = arrangement(false, &[Check::FionreadTcp]);
        let good = arrangement(true, &[]);
        assert_eq!(report(&[arrangement(false, &[])]), (false, None, None));
        assert_eq!(report(&[lacking, good]), (true, None, None));
    }

    #[test]
    fn own_sockets_do_without_fionread() {
        let lacking = |verdict| arrangement(verdict, &[Check::FionreadRedirected]);
        let why = Some("fionread_redirected: wrong".to_owned());
        assert_eq!(report(&[lacking(false), lacking(true)]), (false, why, None));
    }

    #[test]
    fn own_sockets_are_judged_without_the_stream_verdict() {
        let both = [arrangement(false, &[Check::Order]), arrangement(true, &[])];
        assert_eq!(report(&both), (true, None, Some("order: wrong".to_owned())));
        let both = [
            arrangement(false, &[Check::FionreadTcp]),
            arrangement(true, &[Check::Order]),
        ];
        let why = Some("fionread_tcp: wrong".to_owned());
        assert_eq!(report(&both), (false, why, None));
    }

    #[test]
    fn whatever_fails_for_all_keeps_everybody_out() {
        let broken = arrangement(false, &[Check::Order]);
        let why = Some("order: wrong".to_owned());
        assert_eq!(
            report(std::slice::from_ref(&broken)),
            (false, why.clone(), why.clone())
        );
        assert_eq!(report(&[broken.clone(), broken]), (false, why.clone(), why));
        assert!(report(&[]).2.is_some());
    }
}
