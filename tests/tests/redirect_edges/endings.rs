//! How connections end with bytes under way.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use harness::require_root;
use harness::twins::{Path, Twins};
use socket2::SockRef;

use crate::seen::{empties, entries};
use crate::stamped::{Stamp, connect};

#[test]
fn a_slow_reader_gets_all_that_was_sent_before_the_end() -> Result<()> {
    require_root!();
    for path in Path::BOTH {
        let twins = Twins::new("slow", path)?;
        for round in 0..8_usize {
            let (mut near, mut far) = connect(&twins)?;
            if round % 4 > 1 {
                // Fills at once, in every place where bytes wait.
                SockRef::from(&far).set_recv_buffer_size(4096)?;
            }
            let len = 2_000_000 / (round * round + 1);
            thread::scope(|scope| {
                let writer = scope.spawn(move || -> Result<()> {
                    let bytes = Stamp::default().next(len);
                    for piece in bytes.chunks(1 << (round + 9)) {
                        near.write_all(piece)?;
                    }
                    // By half or as a whole.
                    if round % 2 == 0 {
                        near.shutdown(Shutdown::Write)?;
                    }
                    Ok(())
                });
                sleep(Duration::from_millis(60));
                let mut stamp = Stamp::default();
                let mut bytes = vec![0; 30_000];
                loop {
                    let count = far
                        .read(&mut bytes)
                        .with_context(|| format!("round {round} at {}", stamp.count()))?;
                    stamp.check(&bytes[..count])?;
                    if count == 0 {
                        break;
                    }
                }
                let all = stamp.count();
                ensure!(all == len as u64, "{path:?}, round {round}: {all} of {len} bytes");
                writer.join().map_err(|_| anyhow!("panicked"))?
            })?;
        }
        assert!(empties(&twins.sandbox), "{:?}", entries(&twins.sandbox)?);
    }
    Ok(())
}
