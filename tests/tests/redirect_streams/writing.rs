//! Ways of writing: in pieces, held back, partly, and from a file.

use std::io::{self, ErrorKind, IoSlice, Write as _};

use anyhow::Result;
use harness::require_root;
use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::net::sockopt::{set_tcp_cork, set_tcp_nodelay};
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use crate::block::{Block, PIECE};
use crate::line::on_both;
use crate::play::relay;
use harness::dice::Dice;

/// Bytes of each stream.
const TOTAL: usize = 8 << 20;
const STAMPS: usize = 100_003;

/// Up to eight pieces of what is due, some empty.
fn pieces<'a>(due: &'a [u8], dice: &mut Dice) -> Vec<IoSlice<'a>> {
    let mut rest = due;
    let mut pieces = Vec::new();
    for _ in 0..=dice.below(8) {
        let len = if dice.one_in(5) {
            0
        } else {
            dice.size(8 << 10).min(rest.len())
        };
        let (piece, behind) = rest.split_at(len);
        pieces.push(IoSlice::new(piece));
        rest = behind;
    }
    pieces
}

#[test]
fn vectors_arrive_in_order() -> Result<()> {
    require_root!();
    let block = Block::new(81, STAMPS);
    on_both("vectors", |line| {
        let mut dice = Dice::new(82);
        let pair = line.pair()?;
        relay(&pair, &block, TOTAL, |mut near, due| {
            let pieces = pieces(due, &mut dice);
            if dice.one_in(4) {
                dice.pause(300);
            }
            if dice.one_in(2) {
                near.write_vectored(&pieces)
            } else {
                let mut none = SendAncillaryBuffer::default();
                Ok(sendmsg(near, &pieces, &mut none, SendFlags::NOSIGNAL)?)
            }
        })?;
        line.assert_redirected(50)
    })?;
    Ok(())
}

/// Each burst must arrive before the next is sent: nothing may be held back for good.
#[test]
fn corks_and_more_to_come_hold_nothing_back_for_good() -> Result<()> {
    const BURSTS: usize = 2_000;
    require_root!();
    let block = Block::new(83, STAMPS);
    on_both("cork", |line| {
        let mut dice = Dice::new(84);
        let (near, mut far) = line.pair()?;
        let mut position = 0;
        for burst in 0..BURSTS {
            let start = position;
            let corked = burst % 3 == 0;
            set_tcp_cork(&near, corked)?;
            set_tcp_nodelay(&near, burst % 2 == 0)?;
            let count = 1 + dice.below(6);
            for number in 0..count {
                let due = block.at(position, dice.size(4_000));
                let more = number + 1 < count && dice.one_in(2);
                let flags = if more { SendFlags::MORE } else { SendFlags::empty() };
                position += send(&near, due, flags | SendFlags::NOSIGNAL)?;
            }
            if corked {
                set_tcp_cork(&near, false)?;
            }
            let mut found = vec![0; position - start];
            io::Read::read_exact(&mut far, &mut found)?;
            block.check(start, &found);
        }
        line.assert_redirected(BURSTS as u64 / 4)
    })?;
    Ok(())
}

#[test]
fn what_a_partial_write_says_it_took_arrives_and_no_more() -> Result<()> {
    require_root!();
    let block = Block::new(85, STAMPS);
    on_both("partial", |line| {
        let pair = line.with_receive_buffer(64 << 10)?.pair()?;
        let mut dice = Dice::new(90);
        let mut refused = 0;
        relay(&pair, &block, 4 * TOTAL, |near, due| {
            let due = &due[..dice.size(due.len())];
            match send(near, due, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    refused += u32::from(sent < due.len());
                    Ok(sent)
                }
                Err(error) if io::Error::from(error).kind() == ErrorKind::WouldBlock => {
                    refused += 1;
                    // Long enough for the reader to read all, now and then.
                    dice.pause(5_000);
                    Ok(0)
                }
                Err(error) => Err(error.into()),
            }
        })?;
        assert!(refused > 0, "every write was whole");
        line.assert_redirected(1)
    })?;
    Ok(())
}

#[test]
fn small_writes_arrive_without_nodelay() -> Result<()> {
    require_root!();
    let block = Block::new(86, STAMPS);
    on_both("nagle", |line| {
        let mut dice = Dice::new(87);
        let pair = line.pair()?;
        pair.0.set_nodelay(false)?;
        relay(&pair, &block, 1 << 20, |mut near, due| {
            if dice.one_in(16) {
                dice.pause(300);
            }
            near.write(&due[..dice.size(200).min(due.len())])
        })?;
        line.assert_redirected(100)
    })?;
    Ok(())
}

#[test]
fn files_are_sent_whole() -> Result<()> {
    require_root!();
    let block = Block::new(88, STAMPS);
    let file = memfd_create("block", MemfdFlags::CLOEXEC)?;
    let mut filled = std::fs::File::from(file);
    for start in (0..TOTAL).step_by(PIECE) {
        filled.write_all(block.at(start, PIECE))?;
    }
    on_both("sendfile", |line| {
        let mut dice = Dice::new(89);
        let pair = line.pair()?;
        let mut position = 0_u64;
        relay(&pair, &block, TOTAL, |mut near, due| {
            if dice.one_in(4) {
                dice.pause(300);
            }
            let most = dice.size(due.len());
            let sent = if dice.one_in(3) {
                near.write(&due[..most])?
            } else {
                sendfile(near, &filled, Some(&mut { position }), most)?
            };
            position += sent as u64;
            Ok(sent)
        })?;
        line.assert_redirected(20)
    })?;
    Ok(())
}
