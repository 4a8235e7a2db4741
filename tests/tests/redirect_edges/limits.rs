//! What an enrolled socket cannot do as TCP does: it can't be repaired from here, so both owners must consent.
//! A change of any row is noticed here, and belongs into the documentation.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use harness::twins::{Path, Twins};
use harness::{require_root, until};
use mesh_common::accel::Enrolment;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::handshakes::usual;
use crate::raw;
use crate::seen::{enrolments, redirected};
use crate::stamped::connect;

const MOMENT: Duration = Duration::from_millis(120);

/// A connection whose next message goes the way of the path.
fn pair(test_name: &str, path: Path) -> Result<(Twins, TcpStream, TcpStream)> {
    let twins = Twins::new(test_name, path)?;
    let (near, far) = connect(&twins)?;
    let found: [Enrolment; 2] = enrolments(&twins.sandbox, &near, &far)?;
    assert_eq!(found, [usual(path); 2]);
    Ok((twins, near, far))
}

fn readable(socket: &TcpStream, limit: Duration) -> Result<bool> {
    let limit = Timespec::try_from(limit)?;
    Ok(poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit))? > 0)
}

#[test]
fn splice_never_sees_the_bytes() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let (twins, mut near, mut far) = pair("splice", path)?;
        // It would wait for as long as that, SPLICE_F_NONBLOCK or not.
        far.set_read_timeout(Some(MOMENT))?;
        for accel in ["enable", "disable"] {
            // Switched off, the bytes come by TCP, to a socket that is enrolled all the same.
            let done = twins.sandbox.meshctl(["accel", accel])?;
            assert!(done.status.success(), "{done:?}");
            near.write_all(&[7; 100])?;
            assert!(readable(&far, MOMENT)?);
            let (read, write) = raw::pipe()?;
            let moved = raw::splice(&far, &write, 100);
            println!("{path:?} {accel}: {moved:?}");
            match path {
                Path::Tcp => assert_eq!(moved?, 100),
                Path::Redirect => {
                    assert_eq!(moved.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
                    far.read_exact(&mut [0; 100])?;
                }
            }
            drop(read);
        }
    }
    Ok(())
}

#[test]
fn msg_waitall_returns_short() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let (_twins, mut near, far) = pair("waitall", path)?;
        let count = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut bytes = [0; 20];
                recv(&far, &mut bytes, RecvFlags::WAITALL).map(|(_, count)| count)
            });
            sleep(MOMENT);
            near.write_all(&[1; 10])?;
            sleep(MOMENT);
            near.write_all(&[2; 10])?;
            let read = reader.join().map_err(|_| anyhow!("panicked"))?;
            anyhow::Ok(read?)
        })?;
        println!("{path:?}: {count}");
        let expected = match path {
            Path::Tcp => 20,
            Path::Redirect => 10,
        };
        assert_eq!(count, expected, "{path:?}");
    }
    Ok(())
}

#[test]
fn so_rcvlowat_is_ignored() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let (_twins, mut near, far) = pair("lowat", path)?;
        raw::set(&far, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 20)?;
        near.write_all(&[1; 10])?;
        let early = readable(&far, MOMENT)?;
        println!("{path:?}: readable {early}");
        assert_eq!(early, path == Path::Redirect, "{path:?}");
        near.write_all(&[1; 10])?;
        assert!(readable(&far, MOMENT)?, "{path:?}");
    }
    Ok(())
}

#[test]
fn urgent_bytes_come_in_line() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let (_twins, mut near, mut far) = pair("urgent", path)?;
        near.write_all(b"ab")?;
        send(&near, b"!", SendFlags::OOB)?;
        sleep(MOMENT);
        let mut urgent = [0; 1];
        recv(&far, &mut urgent, RecvFlags::OOB | RecvFlags::DONTWAIT)?;
        let mut bytes = [0; 8];
        let mut count = far.read(&mut bytes)?;
        if readable(&far, Duration::ZERO)? {
            count += far.read(&mut bytes[count..])?;
        }
        match path {
            Path::Tcp => assert_eq!((urgent, &bytes[..count]), (*b"!", &b"ab"[..])),
            // Whatever comes first is taken for the urgent byte.
            Path::Redirect => assert_eq!((urgent, &bytes[..count]), (*b"a", &b"b!"[..])),
        }
    }
    Ok(())
}

#[test]
fn msg_zerocopy_is_never_completed() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let (_twins, near, mut far) = pair("zerocopy", path)?;
        raw::set(&near, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)?;
        let sent = vec![5; 20_000];
        let zerocopy = SendFlags::from_bits_retain(u32::try_from(libc::MSG_ZEROCOPY)?);
        let count = send(&near, &sent, zerocopy)?;
        let mut bytes = vec![0; count];
        far.read_exact(&mut bytes)?;
        assert_eq!(bytes, sent[..count], "{path:?}");
        let notices = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
        let notified = until(2 * MOMENT, || recv(&near, &mut [0; 1], notices).is_ok());
        println!("{path:?}: notified {notified}");
        assert_eq!(notified, path == Path::Tcp, "{path:?}");
    }
    Ok(())
}

#[test]
fn a_blocking_read_after_ones_own_shutdown_fails_at_once() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let (twins, mut near, mut far) = pair("halfclose", path)?;
        near.write_all(b"question")?;
        near.shutdown(Shutdown::Write)?;
        let (read, after) = thread::scope(|scope| {
            let answering = scope.spawn(|| {
                sleep(2 * MOMENT);
                far.write_all(b"answer")
            });
            let started = Instant::now();
            let mut bytes = [0; 8];
            let read = near.read(&mut bytes);
            let after = started.elapsed();
            answering.join().map_err(|_| anyhow!("panicked"))??;
            anyhow::Ok((read, after))
        })?;
        println!("{path:?}: {read:?} after {after:?}");
        match path {
            Path::Tcp => assert_eq!(read?, 6),
            Path::Redirect => {
                assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
                assert!(after < MOMENT, "{after:?}");
                // Who asks again gets it.
                assert!(readable(&near, MOMENT)?);
                let mut answer = [0; 6];
                near.read_exact(&mut answer)?;
                assert_eq!(&answer, b"answer");
            }
        }
        println!("{:?}", redirected(&twins, &far)?);
    }
    Ok(())
}
