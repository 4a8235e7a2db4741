//! Very many short connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::twins::{Path, Twins};
use harness::{require_root, until};
use mesh_agent::datapath::{pins::Pins, readings::Readings};
use mesh_common::accel::Moved;
use mesh_common::flow::Traffic;

use crate::seen::{empties, entries};
use crate::stamped::patient;

const THREADS: u32 = 2;
const LEN: usize = 48;

/// How many; the control shows no more with as many.
const fn connections(path: Path) -> u32 {
    match path {
        Path::Tcp => 2_000,
        Path::Redirect => 10_000,
    }
}

#[test]
fn ten_thousand_short_connections_are_right_to_the_byte() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let twins = Twins::new("crowd", path)?;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn({
                        let twins = &twins;
                        move || talk(twins, thread, connections(path))
                    })
                })
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("panicked"))?)
        })?;
        assert!(empties(&twins.sandbox), "{:?}", entries(&twins.sandbox)?);
        let readings = Readings::open(&Pins::new(&twins.sandbox.bpffs()))?;
        let count = u64::from(connections(path));
        let totals = || -> Result<Vec<Traffic>> {
            Ok(readings.traffic()?.into_iter().map(|(_, total)| total).collect())
        };
        let ended = |all: &[Traffic]| all.iter().all(|total| total.closed == count);
        assert!(until(Duration::from_secs(5), || totals().is_ok_and(|all| ended(&all))));
        let totals = totals()?;
        let [one, other] = totals[..] else {
            panic!("{totals:?}")
        };
        let bytes = count * LEN as u64;
        for total in [one, other] {
            assert_eq!(
                (total.opened, total.closed, total.failed),
                (count, count, 0),
                "{total:?}"
            );
            assert_eq!(
                (total.bytes_sent, total.bytes_received),
                (bytes, bytes),
                "{total:?}"
            );
        }
        assert_eq!(one.redirected_sent, other.redirected_received);
        assert_eq!(other.redirected_sent, one.redirected_received);
        let all = one.redirected_sent.plus(other.redirected_sent);
        println!("{path:?}: {all:?} of {} messages", 2 * count);
        match path {
            Path::Tcp => assert_eq!(all, Moved::default()),
            // The first may come before the other end is enrolled, or be told of.
            Path::Redirect => assert!(all.messages > count, "{all:?}"),
        }
    }
    Ok(())
}

/// Questions and answers, one connection each; either end closes first, or the client resets.
fn talk(twins: &Twins, thread: u32, connections: u32) -> Result<()> {
    let listener = twins.listen()?;
    let to = listener.local_addr()?;
    twins.client.run(|| {
        for number in (thread..connections).step_by(THREADS as usize) {
            let mut near = patient(TcpStream::connect(to)?)?;
            let mut far = patient(listener.accept()?.0)?;
            let mut bytes = [0; LEN];
            let message: Vec<_> = number.to_be_bytes().into_iter().cycle().take(LEN).collect();
            near.write_all(&message)?;
            far.read_exact(&mut bytes)?;
            ensure!(bytes[..] == message, "question {number}");
            far.write_all(&bytes)?;
            bytes.fill(0);
            near.read_exact(&mut bytes)?;
            ensure!(bytes[..] == message, "answer {number}");
            match number % 3 {
                0 => drop((near, far)),
                1 => drop((far, near)),
                _ => {
                    socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO))?;
                    drop(near);
                }
            }
        }
        Ok(())
    })
}
