//! Readers that wait before there is anything to read, or anybody to send it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use harness::twins::{Path, Twins};
use harness::{require_root, until};
use rustix::io::ioctl_fionread;
use socket2::{Domain, Socket, Type};

use crate::stamped::patient;

const MOMENT: Duration = Duration::from_millis(200);
/// More than the handshake takes.
const LONG: Duration = Duration::from_millis(1_600);

/// Takes the server's pod off the network, or puts it back.
fn link(twins: &Twins, state: &str) -> Result<()> {
    let done = twins
        .server
        .command("ip")
        .args(["link", "set", "eth0", state])
        .output()?;
    ensure!(done.status.success(), "{done:?}");
    Ok(())
}

/// What a reader gets that began to wait before the SYN was answered, and when.
fn waited(twins: &Twins, switch: &str) -> Result<(io::Result<usize>, Duration)> {
    let listener = twins.listen()?;
    let to = listener.local_addr()?;
    let socket = twins
        .client
        .run(|| Socket::new(Domain::IPV4, Type::STREAM, None))?;
    socket.set_read_timeout(Some(LONG))?;
    // The first SYN is lost; the second comes after a second.
    link(twins, "down")?;
    scope(|scope| {
        let dialling = scope.spawn(|| twins.client.run(|| socket.connect(&to.into())));
        sleep(MOMENT);
        let reading = scope.spawn(|| {
            let started = Instant::now();
            let read = (&socket).read(&mut [0; 5]);
            (read, started.elapsed())
        });
        sleep(MOMENT);
        link(twins, "up")?;
        dialling.join().map_err(|_| anyhow!("panicked"))??;
        let far = patient(listener.accept()?.0)?;
        let done = twins.sandbox.meshctl(["accel", switch])?;
        ensure!(done.status.success(), "{done:?}");
        (&far).write_all(b"hello")?;
        let (read, after) = reading.join().map_err(|_| anyhow!("panicked"))?;
        if read.is_err() {
            // They are there for who asks again.
            let mut bytes = [0; 5];
            (&socket).read_exact(&mut bytes)?;
            ensure!(&bytes == b"hello");
        }
        Ok((read, after))
    })
}

/// Programs that ask first how much there is (nginx, Java, .NET) must be told of what came before `accept()`.
#[test]
fn bytes_that_came_before_accept_are_told_by_fionread() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let twins = Twins::new("before", path)?;
        let listener = twins.listen()?;
        let to = listener.local_addr()?;
        for _ in 0..20 {
            let near = patient(twins.client.run(|| TcpStream::connect(to))?)?;
            (&near).write_all(&[1; 100])?;
            let far = patient(listener.accept()?.0)?;
            let told = || ioctl_fionread(&far);
            assert!(until(MOMENT, || told() == Ok(100)), "{path:?}: {:?}", told());
            (&far).read_exact(&mut [0; 60])?;
            assert_eq!(told()?, 40, "{path:?}");
            (&near).write_all(&[2; 100])?;
            assert!(until(MOMENT, || told() == Ok(140)), "{path:?}: {:?}", told());
        }
    }
    Ok(())
}

/// A limit like those of [`crate::limits`]: what is enrolled during `recv()` leaves it waiting in TCP's own
/// queue, where no byte comes any more, by whichever path. Nobody waits on the accepting side that early.
#[test]
fn a_reader_that_waited_before_the_handshake_is_not_woken() -> Result<()> {
    require_root!();
    for (path, switch) in [
        (Path::Tcp, "enable"),
        (Path::Redirect, "enable"),
        (Path::Redirect, "disable"),
    ] {
        let twins = Twins::new("early", path)?;
        let (read, after) = waited(&twins, switch)?;
        println!("{path:?} {switch}: {read:?} after {after:?}");
        if path == Path::Tcp {
            assert_eq!(read?, 5);
        } else {
            assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
            assert!(after >= LONG, "{after:?}");
        }
    }
    Ok(())
}
