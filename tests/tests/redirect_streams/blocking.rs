//! A blocking reader of a stream blocks until there is something to read.

use std::io::{ErrorKind, Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::require_root;

use crate::line::on_both;
use harness::scaled;

/// A one-way stream, with the switch off (all of it by TCP) and on; neither end waits for the other.
#[test]
fn a_blocking_reader_of_a_stream_is_not_told_to_try_again() -> Result<()> {
    require_root!();
    let lasting = Duration::from_millis(scaled(4_000, 500));
    on_both("block", |line| {
        for (on, size) in [
            (false, 64 << 10),
            (false, 1 << 10),
            (true, 64 << 10),
            (true, 1 << 10),
        ] {
            line.switch(on)?;
            let (mut near, mut far) = line.pair()?;
            let (sent, got) = thread::scope(|scope| -> Result<_> {
                let sender = scope.spawn(move || -> Result<u64> {
                    let (chunk, start, mut sent) = (vec![7; size], Instant::now(), 0);
                    while start.elapsed() < lasting {
                        near.write_all(&chunk)?;
                        sent += chunk.len() as u64;
                    }
                    Ok(sent)
                });
                let (mut buffer, mut got, mut again) = (vec![0; 64 << 10], 0, 0);
                loop {
                    match far.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => got += count as u64,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => again += 1,
                        Err(error) => return Err(error.into()),
                    }
                }
                println!(
                    "{:?} on={on} size={size}: {got} bytes, {again} times EAGAIN",
                    line.path
                );
                ensure!(
                    again == 0,
                    "{again} times EAGAIN after {got} bytes, switch {on}, writes of {size}"
                );
                let sent = sender
                    .join()
                    .map_err(|_| anyhow::anyhow!("the sender panicked"))??;
                Ok((sent, got))
            })?;
            ensure!(sent == got, "{sent} sent, {got} read");
        }
        Ok(())
    })?;
    Ok(())
}
