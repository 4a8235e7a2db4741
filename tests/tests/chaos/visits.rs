//! Who asks services whose pods come and go, and judges what comes of it.

use std::fmt;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::market::address;
use harness::traffic::{Conversation, ask_udp_unconnected};

use crate::PAUSE;
use crate::book::Colour;
use crate::town::{COLOURS, Town};

/// How long a connect, or an answer, may take: time for a SYN to be sent four times, and for neighbours to be found anew.
const LONGEST: Duration = Duration::from_secs(10);

/// What came of one visitor's questions.
#[derive(Debug)]
pub struct Visit {
    what: String,
    answered: usize,
    excused: usize,
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} answered, {} failed with their pod",
            self.what, self.answered, self.excused
        )
    }
}

/// A way of asking: once; gives how much was answered, and whether the rest was excused.
type Way = fn(&Town, Colour, &AtomicBool) -> Result<(usize, bool)>;

/// Asks each service by each way, until it is over; a fault ends everything.
pub fn all<'scope>(
    threads: &'scope Scope<'scope, '_>,
    town: &'scope Town,
    over: &'scope AtomicBool,
) -> Vec<ScopedJoinHandle<'scope, Result<Visit>>> {
    let ways: [(&str, Way); 4] = [
        ("connects", connect),
        ("streams", stream),
        ("more streams", stream),
        ("datagrams", datagrams),
    ];
    let visit = |colour: Colour, name: &str, way: Way| {
        let what = format!("{} of {}", name, COLOURS[colour].0);
        let visitor = &town.visitors[colour];
        threads.spawn(move || visitor.run(|| go_on(town, colour, what, way, over)))
    };
    let pairs = (0..COLOURS.len()).flat_map(|colour| ways.map(|(name, way)| (colour, name, way)));
    pairs
        .map(|(colour, name, way)| visit(colour, name, way))
        .collect()
}

fn go_on(town: &Town, colour: Colour, what: String, way: Way, over: &AtomicBool) -> Result<Visit> {
    let mut visit = Visit {
        what,
        answered: 0,
        excused: 0,
    };
    while !over.load(Ordering::Relaxed) {
        let asked = way(town, colour, over).with_context(|| visit.to_string());
        let (answered, excused) = asked.inspect_err(|_| over.store(true, Ordering::Relaxed))?;
        visit.answered += answered;
        visit.excused += usize::from(excused);
    }
    ensure!(visit.answered > 0, "{visit}");
    Ok(visit)
}

fn connect(town: &Town, colour: Colour, _: &AtomicBool) -> Result<(usize, bool)> {
    sleep(PAUSE);
    let (to, asked) = (address(COLOURS[colour].1, 80), Instant::now());
    match Conversation::open_within(LONGEST, to) {
        Ok(conversation) => {
            let answer = conversation.answer();
            ensure!(answer.peer_seen == to, "{answer:?}");
            town.book.may_answer(colour, &answer.name, asked)?;
            Ok((1, false))
        }
        Err(error) => {
            town.book.may_fail(colour, asked).context(error)?;
            Ok((0, true))
        }
    }
}

/// Talks to one pod as long as that lives.
fn stream(town: &Town, colour: Colour, over: &AtomicBool) -> Result<(usize, bool)> {
    let asked = Instant::now();
    let mut conversation = match Conversation::open_within(LONGEST, address(COLOURS[colour].1, 80)) {
        Ok(conversation) => conversation,
        Err(error) => {
            town.book.may_fail(colour, asked).context(error)?;
            return Ok((0, true));
        }
    };
    let name = conversation.answer().name.clone();
    town.book.may_answer(colour, &name, asked)?;
    let mut answered = 1;
    while !over.load(Ordering::Relaxed) {
        if let Err(error) = conversation.echo(b"still there?") {
            town.book
                .may_break(&name)
                .with_context(|| format!("after {answered} echoes: {error}"))?;
            return Ok((answered, true));
        }
        answered += 1;
        sleep(PAUSE);
    }
    Ok((answered, false))
}

/// Asks from one socket until a question stays without an answer.
fn datagrams(town: &Town, colour: Colour, over: &AtomicBool) -> Result<(usize, bool)> {
    let (to, socket) = (address(COLOURS[colour].1, 53), UdpSocket::bind("0.0.0.0:0")?);
    let mut answered = 0;
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        match ask_udp_unconnected(&socket, to) {
            Ok(answer) => {
                ensure!(answer.peer_seen == to, "{answer:?}");
                town.book.may_answer(colour, &answer.name, asked)?;
            }
            Err(error) => {
                let all = || format!("after {answered} answers: {error}");
                town.book.may_fail(colour, asked).with_context(all)?;
                return Ok((answered, true));
            }
        }
        answered += 1;
        sleep(PAUSE);
    }
    Ok((answered, false))
}
