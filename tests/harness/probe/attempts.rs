//! Many attempts at once, from where the calling thread stands.

use std::io::{self, Read as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::{Attempt, Made, Number, Outcome, Protocol, sctp};
use crate::wait::patient;

/// How long an answer may take that is expected: a lost SYN is repeated after a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// After this long without an answer that nobody expects there is none: of a connection, and of a datagram.
const REFUSED_WITHIN: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_millis(25);

/// Makes them all; what became of them, in their order.
pub(super) fn make(attempts: &[Attempt]) -> Vec<Made> {
    let mut round = Round::begin(attempts);
    while let Some(limit) = round.limit() {
        let left = limit.saturating_duration_since(Instant::now());
        // A last look, even where the time is over: this thread may have slept past it.
        round.look(left);
        if left.is_zero() {
            round.give_up();
        }
    }
    let begun = round.begun;
    let ended = round.ends.into_iter().zip(round.numbers);
    let made = ended.map(|(end, number)| {
        let (outcome, at) = end.unwrap_or((Outcome::Silent, begun));
        Made {
            outcome,
            took: at - begun,
            number,
        }
    });
    made.collect()
}

struct Round<'a> {
    attempts: &'a [Attempt],
    begun: Instant,
    numbers: Vec<Number>,
    /// What became of each so far.
    ends: Vec<Option<(Outcome, Instant)>>,
    ways: Vec<Way>,
    raw: Vec<(UdpSocket, bool)>,
}

/// A socket whose attempt is under way.
struct Way {
    at: usize,
    socket: Socket,
    is_connecting: bool,
}

impl<'a> Round<'a> {
    fn begin(attempts: &'a [Attempt]) -> Self {
        let mut round = Self {
            attempts,
            begun: Instant::now(),
            numbers: attempts.iter().map(|_| Number::next()).collect(),
            ends: vec![None; attempts.len()],
            ways: Vec::new(),
            raw: Vec::new(),
        };
        for (at, attempt) in attempts.iter().enumerate() {
            if let Err(error) = round.open(at, attempt) {
                round.end(at, failure(&error));
            }
        }
        round
    }

    fn open(&mut self, at: usize, attempt: &Attempt) -> io::Result<()> {
        let number = self.numbers[at];
        let way = match attempt.protocol {
            Protocol::Tcp => {
                let socket = Socket::new(Domain::for_address(attempt.to), Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                // No TIME_WAIT: there are many.
                socket.set_linger(Some(Duration::ZERO))?;
                begun(socket.connect(&attempt.to.into()))?;
                (socket, true)
            }
            Protocol::Udp => (send_udp(attempt.to, number)?, false),
            Protocol::Sctp => return self.send_sctp(attempt.to, number),
        };
        let (socket, is_connecting) = way;
        self.ways.push(Way {
            at,
            socket,
            is_connecting,
        });
        Ok(())
    }

    fn send_sctp(&mut self, to: SocketAddr, number: Number) -> io::Result<()> {
        if self.raw.iter().all(|(_, is_v4)| *is_v4 != to.is_ipv4()) {
            let socket = sctp::socket(Domain::for_address(to))?;
            self.raw.push((socket, to.is_ipv4()));
        }
        let packet = sctp::Packet {
            from: number.port(),
            to: to.port(),
            number,
            is_answer: false,
        };
        let found = self.raw.iter().find(|(_, is_v4)| *is_v4 == to.is_ipv4());
        let (socket, _) = found.ok_or(io::ErrorKind::NotFound)?;
        socket.send_to(&packet.bytes(), sctp::raw(to.ip())).map(drop)
    }

    fn end(&mut self, at: usize, outcome: Outcome) {
        self.ends[at].get_or_insert((outcome, Instant::now()));
    }

    /// Until when to wait for those that have not ended; `None` when all have.
    fn limit(&self) -> Option<Instant> {
        let open = self.attempts.iter().zip(&self.ends);
        let open = open.filter(|(_, end)| end.is_none());
        let limits = open.map(|(attempt, _)| match (attempt.hopeful, attempt.protocol) {
            (true, _) => PATIENCE,
            (false, Protocol::Tcp) => REFUSED_WITHIN,
            (false, _) => SILENCE,
        });
        limits.max().map(|limit| self.begun + patient(limit))
    }

    fn look(&mut self, left: Duration) {
        let of_ways = self.ways.iter().map(|way| {
            let what = if way.is_connecting {
                PollFlags::OUT
            } else {
                PollFlags::IN
            };
            PollFd::from_borrowed_fd(way.socket.as_fd(), what)
        });
        let of_raw = self.raw.iter();
        let of_raw = of_raw.map(|(socket, _)| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN));
        let mut fds: Vec<_> = of_ways.chain(of_raw).collect();
        let limit = Timespec::try_from(left).ok();
        // Interrupted is as good as nothing to do.
        let _ = poll(&mut fds, limit.as_ref());
        let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let ways = std::mem::take(&mut self.ways);
        for (mut way, ready) in ways.into_iter().zip(ready) {
            match if ready {
                way.advance(self.numbers[way.at])
            } else {
                None
            } {
                Some(outcome) => self.end(way.at, outcome),
                None => self.ways.push(way),
            }
        }
        self.read_sctp();
    }

    fn read_sctp(&mut self) {
        let mut buffer = [0; 2048];
        let mut answered = Vec::new();
        for (socket, is_v4) in &self.raw {
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                let packet = sctp::Packet::read(&buffer[..length], *is_v4);
                let number = packet.filter(|it| it.is_answer).map(|it| it.number);
                answered.extend(self.numbers.iter().position(|it| Some(*it) == number));
            }
        }
        for at in answered {
            self.end(at, Outcome::Answered);
        }
    }

    fn give_up(&mut self) {
        for at in 0..self.ends.len() {
            self.end(at, Outcome::Silent);
        }
    }
}

impl Way {
    /// The outcome, if there is one now.
    fn advance(&mut self, number: Number) -> Option<Outcome> {
        let step = if self.is_connecting {
            self.send(number)
        } else {
            self.read(number)
        };
        match step {
            Ok(true) => Some(Outcome::Answered),
            Ok(false) => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(failure(&error)),
        }
    }

    fn send(&mut self, number: Number) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        self.is_connecting = false;
        self.socket.send(&number.bytes()).map(|_| false)
    }

    fn read(&self, number: Number) -> io::Result<bool> {
        let mut buffer = [0; 16];
        let length = (&self.socket).read(&mut buffer)?;
        if buffer[..length] == number.bytes() {
            return Ok(true);
        }
        Err(io::Error::other(format!(
            "{length} bytes that are not ours came back"
        )))
    }
}

/// From sockets that are connected and from such that are not, by turns.
fn send_udp(to: SocketAddr, number: Number) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    if to.port().is_multiple_of(2) {
        socket.send_to(&number.bytes(), &to.into())?;
    } else {
        socket.connect(&to.into())?;
        socket.send(&number.bytes())?;
    }
    Ok(socket)
}

fn begun(connect: io::Result<()>) -> io::Result<()> {
    match connect {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        result => result,
    }
}

fn failure(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Outcome::Refused,
        _ => Outcome::Failed(error.to_string()),
    }
}
