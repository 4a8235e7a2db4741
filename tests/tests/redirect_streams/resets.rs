//! Connections that end badly: nobody hangs, and what each side sees is what it sees on TCP, or the one
//! difference that is known.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::twins::Path;
use harness::{Program, eventually, require, require_root, until};
use rustix::io::ioctl_fionread;
use rustix::process::Signal;
use socket2::SockRef;

use crate::block::{Block, PIECE};
use crate::line::{Line, PATIENCE, on_both};
use harness::dice::Dice;

/// Within this, an end must be seen.
const SOON: Duration = Duration::from_secs(5);

/// How reading ended.
#[derive(Debug, Eq, PartialEq)]
struct Read {
    bytes: usize,
    /// `None` for an ordinary end.
    error: Option<ErrorKind>,
}

/// Reads to the end. On an enrolled socket a call that already blocks when the reset comes ends with `EAGAIN`, and
/// only the next tells the reset.
fn read_all(mut from: &TcpStream, block: &Block) -> Read {
    let mut buffer = vec![0; PIECE];
    let mut bytes = 0;
    let mut again = 0;
    let error = loop {
        match from.read(&mut buffer) {
            Ok(0) => break None,
            Ok(got) => {
                block.check(bytes, &buffer[..got]);
                bytes += got;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && again == 0 => again += 1,
            Err(error) => break Some(error.kind()),
        }
    };
    Read { bytes, error }
}

/// Closes with a reset.
fn abort(stream: TcpStream) -> Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

/// Whether this tells a sender that nobody reads any more. Where TCP knows of no unread bytes it sends no reset, and
/// a redirecting sender that waits for room gives up by itself.
fn is_end(line: &Line<'_>, error: ErrorKind) -> bool {
    match error {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => true,
        ErrorKind::TimedOut => line.path == Path::Redirect,
        _ => false,
    }
}

/// Writes until that fails, which it must within a limit.
fn write_until_refused(mut to: &TcpStream, block: &Block, limit: Duration) -> Result<ErrorKind> {
    let start = Instant::now();
    loop {
        ensure!(start.elapsed() < limit, "nobody refuses");
        if let Err(error) = to.write_all(block.at(0, PIECE)) {
            return Ok(error.kind());
        }
    }
}

#[test]
fn a_reset_reaches_readers_behind_the_bytes_before_it() -> Result<()> {
    require_root!();
    let block = Block::new(61, 1_000);
    let [tcp, redirect] = on_both("reset", |line| {
        let mut seen = Vec::new();
        for bytes in [0, 1, 5_000] {
            // Unread bytes, then the reset.
            let (mut near, far) = line.pair()?;
            near.write_all(block.at(0, bytes))?;
            if bytes > 0 {
                line.assert_redirected(1)?;
            }
            assert!(until(SOON, || ioctl_fionread(&far).is_ok_and(|all| all == bytes as u64)));
            abort(near)?;
            thread::sleep(Duration::from_millis(20));
            seen.push(read_all(&far, &block));
            // A reader that waits.
            let (mut near, far) = line.pair()?;
            let read = thread::scope(|scope| {
                let reader = scope.spawn(|| read_all(&far, &block));
                near.write_all(block.at(0, bytes))?;
                thread::sleep(Duration::from_millis(20));
                abort(near)?;
                reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))
            })?;
            seen.push(read);
        }
        Ok(seen)
    })?;
    assert_eq!(tcp, redirect);
    let reset = Some(ErrorKind::ConnectionReset);
    assert_eq!(
        tcp[4],
        Read {
            bytes: 5_000,
            error: reset
        }
    );
    Ok(())
}

#[test]
fn a_reset_stops_both_directions_under_load() -> Result<()> {
    require_root!();
    let block = Block::new(62, 64 << 10);
    on_both("load", |line| {
        let mut dice = Dice::new(63);
        for (near, far) in line.pairs(60)? {
            let wait = Duration::from_micros(dice.below(20_000) as u64);
            let reads = dice.one_in(2);
            let start = Instant::now();
            let refused = thread::scope(|scope| {
                let sender = scope.spawn(|| write_until_refused(&near, &block, PATIENCE));
                let mut buffer = vec![0; PIECE];
                while reads && start.elapsed() < wait {
                    let _ = (&far).read(&mut buffer)?;
                }
                thread::sleep(wait.saturating_sub(start.elapsed()));
                abort(far)?;
                sender
                    .join()
                    .map_err(|_| anyhow::anyhow!("the sender panicked"))?
            })?;
            assert!(
                matches!(refused, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
                "{refused}"
            );
            assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
            // The error was told; what follows is an end.
            let after = (&near).read(&mut [0]);
            let ended = matches!(&after, Ok(0))
                || matches!(&after, Err(error) if error.kind() == ErrorKind::ConnectionReset);
            assert!(ended, "{after:?}");
        }
        Ok(())
    })?;
    Ok(())
}

/// A reader that is killed: a process that accepts, and never reads.
fn idle_reader(line: &Line<'_>, port: u16) -> Result<(Program, TcpStream)> {
    const READER: &str = "import socket, sys, time\n\
        server = socket.create_server((sys.argv[1], int(sys.argv[2])))\n\
        connection, _ = server.accept()\n\
        print('accepted', flush=True)\n\
        time.sleep(1000)\n";
    let server = line.twins.server.v4();
    let port_text = port.to_string();
    let launch = line.twins.server.command("python3").args(["-S", "-c", READER]);
    let reader = launch.arg(server.to_string()).arg(port_text).start()?;
    let to = SocketAddr::new(server, port);
    let stream = eventually(PATIENCE, || line.twins.client.run(|| TcpStream::connect(to)))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    ensure!(
        until(PATIENCE, || reader.log().contains("accepted")),
        "{}",
        reader.tail()
    );
    Ok((reader, stream))
}

/// What a sender sees after its reader was killed: how its reading ends, and which error its next writes get.
fn aftermath(mut stream: &TcpStream, block: &Block) -> Result<(Read, ErrorKind)> {
    let read = read_all(stream, block);
    let start = Instant::now();
    loop {
        ensure!(start.elapsed() < SOON, "writing goes on");
        if let Err(error) = stream.write(b"more") {
            return Ok((read, error.kind()));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn senders_see_that_their_reader_was_killed() -> Result<()> {
    require_root!();
    require!(harness::require::program("python3"));
    let block = Block::new(64, 64 << 10);
    let [tcp, redirect] = on_both("killed", |line| {
        let mut seen = Vec::new();
        for (port, bytes) in [(7000, 0), (7001, 5_000)] {
            let (reader, mut stream) = idle_reader(line, port)?;
            stream.write_all(block.at(0, bytes))?;
            if bytes > 0 {
                line.assert_redirected(1)?;
                // By TCP they need a moment.
                thread::sleep(Duration::from_millis(20));
            }
            reader.signal(Signal::KILL)?;
            seen.push(aftermath(&stream, &block)?);
        }
        Ok(seen)
    })?;
    let read = |error| Read { bytes: 0, error };
    let broken = ErrorKind::BrokenPipe;
    // With nothing unread, both see an ordinary end.
    assert_eq!(tcp[0], (read(None), broken));
    assert_eq!(redirect[0], tcp[0]);
    // With unread bytes TCP resets; of redirected ones it does not know.
    assert_eq!(tcp[1], (read(Some(ErrorKind::ConnectionReset)), broken));
    assert_eq!(redirect[1], (read(None), broken));
    Ok(())
}

#[test]
fn senders_that_wait_for_room_see_that_their_reader_was_killed() -> Result<()> {
    require_root!();
    require!(harness::require::program("python3"));
    let block = Block::new(65, 64 << 10);
    let took = on_both("blocked", |line| {
        let (reader, mut stream) = idle_reader(line, 7002)?;
        // Goes by redirect, as the others are too large for.
        stream.write_all(block.at(0, 1))?;
        let (refused, took) = thread::scope(|scope| -> Result<_> {
            let sender = scope.spawn(|| write_until_refused(&stream, &block, PATIENCE));
            // Time enough to fill all buffers.
            thread::sleep(Duration::from_millis(500));
            ensure!(!sender.is_finished(), "nothing stops the sender");
            line.assert_redirected(1)?;
            let killed = Instant::now();
            reader.signal(Signal::KILL)?;
            let refused = sender
                .join()
                .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
            Ok((refused, killed.elapsed()))
        })?;
        assert!(is_end(line, refused), "{refused} after {took:?}");
        Ok(took)
    })?;
    println!("TCP {:?}, redirect {:?}", took[0], took[1]);
    assert!(took.iter().all(|took| *took < SOON), "{took:?}");
    Ok(())
}

/// A reader that said before that it writes no more says nothing when it closes. Takes up to 25 seconds: the agent looks
/// every ten for senders that wait for nobody, and believes the second look.
#[test]
fn slow_senders_that_wait_for_room_see_that_a_half_closed_reader_closed() -> Result<()> {
    const TWO_LOOKS: Duration = Duration::from_secs(25);
    require_root!();
    let block = Block::new(68, 64 << 10);
    let took = on_both("half", |line| {
        let (mut near, far) = line.pair()?;
        let (other_near, other_far) = line.pair()?;
        for stream in [&near, &other_near] {
            stream.set_write_timeout(Some(2 * TWO_LOOKS))?;
        }
        near.write_all(block.at(0, 1))?;
        (&other_near).write_all(block.at(0, 1))?;
        line.assert_redirected(2)?;
        for reader in [&far, &other_far] {
            reader.shutdown(Shutdown::Write)?;
        }
        thread::scope(|scope| -> Result<_> {
            let sender = scope.spawn(|| write_until_refused(&near, &block, 2 * TWO_LOOKS));
            // Its reader lives, and takes its time.
            let other = scope.spawn(|| write_until_refused(&other_near, &block, 2 * TWO_LOOKS));
            thread::sleep(Duration::from_millis(500));
            ensure!(
                !sender.is_finished() && !other.is_finished(),
                "nothing stops the senders"
            );
            let closed = Instant::now();
            drop(far);
            let joined = sender.join();
            let refused = joined.map_err(|_| anyhow::anyhow!("the sender panicked"))??;
            let took = closed.elapsed();
            println!("{:?}: {refused} after {took:?}", line.path);
            ensure!(took < TWO_LOOKS, "{refused} after {took:?}");
            ensure!(
                is_end(line, refused)
                    || line.path == Path::Redirect && refused == ErrorKind::ConnectionAborted,
                "{refused}"
            );
            ensure!(!other.is_finished(), "the other sender was ended, too");
            // The line is written after the sender was ended.
            let expected = usize::from(line.path == Path::Redirect);
            let ended = || line.twins.agent.log().matches("its reader is gone").count();
            ensure!(
                until(Duration::from_secs(2), || ended() == expected),
                "{}",
                ended()
            );
            abort(other_far)?;
            let joined = other.join();
            let refused = joined.map_err(|_| anyhow::anyhow!("the sender panicked"))??;
            ensure!(is_end(line, refused), "{refused}");
            Ok(took)
        })
    })?;
    assert!(took[0] < SOON, "{took:?}");
    Ok(())
}

/// As a killed one, but within this process, many times, and at any moment.
#[test]
fn senders_see_that_their_reader_closed() -> Result<()> {
    require_root!();
    let block = Block::new(66, 64 << 10);
    on_both("gone", |line| {
        let mut dice = Dice::new(67);
        for (near, far) in line.pairs(24)? {
            let start = Instant::now();
            let refused = thread::scope(|scope| -> Result<ErrorKind> {
                let sender = scope.spawn(|| write_until_refused(&near, &block, PATIENCE));
                dice.pause(5_000);
                let mut some = vec![0; dice.size(PIECE)];
                let _ = (&far).read(&mut some)?;
                drop(far);
                sender
                    .join()
                    .map_err(|_| anyhow::anyhow!("the sender panicked"))?
            })?;
            assert!(is_end(line, refused), "{refused}");
            assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        }
        Ok(())
    })?;
    Ok(())
}
