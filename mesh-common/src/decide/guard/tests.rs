//! The guard alone, and in a model of two sockets in which every interleaving is tried.

extern crate std;

use std::{collections::HashSet, vec::Vec};

use super::*;

const OPEN: View = View {
    size: 64,
    write_seq: 1_000,
    copied_seq: 1_000,
    queued: 0,
    receive_buffer: 2 * QUEUE_LIMIT,
    state: ESTABLISHED,
    shutdown: 0,
    layer_above: false,
};

#[test]
fn redirects_only_when_nothing_is_behind_and_the_queue_is_short() {
    let table = [
        (OPEN, Ok(())),
        (
            View {
                copied_seq: 999,
                ..OPEN
            },
            Err(Pass::Behind),
        ),
        // A peer that is ahead is no peer of ours.
        (
            View {
                copied_seq: 1_001,
                ..OPEN
            },
            Err(Pass::Behind),
        ),
        (View { state: 8, ..OPEN }, Err(Pass::Closing)),
        (View { shutdown: 1, ..OPEN }, Err(Pass::Closing)),
        (
            View {
                queued: QUEUE_LIMIT - 64,
                ..OPEN
            },
            Ok(()),
        ),
        (
            View {
                queued: QUEUE_LIMIT - 63,
                ..OPEN
            },
            Err(Pass::Full),
        ),
        (
            View {
                size: QUEUE_LIMIT,
                ..OPEN
            },
            Ok(()),
        ),
        (
            View {
                size: QUEUE_LIMIT + 1,
                ..OPEN
            },
            Err(Pass::Full),
        ),
        (
            View {
                queued: u32::MAX,
                size: u32::MAX,
                ..OPEN
            },
            Err(Pass::Full),
        ),
        (
            View {
                receive_buffer: 63,
                ..OPEN
            },
            Err(Pass::Full),
        ),
        (
            View {
                layer_above: true,
                ..OPEN
            },
            Err(Pass::LayerAbove),
        ),
    ];
    for (view, expected) in table {
        assert_eq!(judge(&view), expected, "{view:?}");
    }
}

/// How the kernel hands bytes of TCP to an enrolled reader.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Reader {
    /// They stay in TCP's queue, read after everything that was redirected.
    TwoQueues,
    /// The stream verdict moves them behind the redirected ones, into one queue.
    OneQueue,
}

/// Two sockets and what is between them; every message is one byte of sequence space and one record.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct World {
    /// Messages the sender has begun.
    begun: u8,
    /// A message that was judged to be redirected, and is not queued yet: the sender's lock is free then.
    judged: Option<u8>,
    on_the_way: Vec<u8>,
    tcp_queue: Vec<u8>,
    redirected: Vec<u8>,
    read: Vec<u8>,
    write_seq: u32,
    copied_seq: u32,
    enrolled: bool,
    switched_off: bool,
}

struct Model {
    messages: u8,
    queue: u32,
    reader: Reader,
    guard: fn(&View) -> Result<(), Pass>,
}

impl Model {
    fn start() -> World {
        World {
            begun: 0,
            judged: None,
            on_the_way: Vec::new(),
            tcp_queue: Vec::new(),
            redirected: Vec::new(),
            read: Vec::new(),
            write_seq: 77,
            copied_seq: 77,
            enrolled: false,
            switched_off: false,
        }
    }

    /// Everything that may happen next.
    fn next(&self, world: &World) -> Vec<World> {
        let mut worlds = Vec::new();
        let mut add = |change: &dyn Fn(&mut World)| {
            let mut next = world.clone();
            change(&mut next);
            worlds.push(next);
        };
        if let Some(message) = world.judged {
            add(&|next| {
                next.judged = None;
                next.redirected.push(message);
            });
        } else if world.begun < self.messages {
            add(&|next| self.send(next));
        }
        if !world.on_the_way.is_empty() {
            add(&|next| {
                let arrived = next.on_the_way.remove(0);
                match self.reader {
                    Reader::TwoQueues => next.tcp_queue.push(arrived),
                    Reader::OneQueue => next.redirected.push(arrived | TCP),
                }
            });
        }
        if !(world.redirected.is_empty() && world.tcp_queue.is_empty()) {
            add(&|next| Self::read(next));
        }
        if !world.enrolled {
            add(&|next| next.enrolled = true);
        }
        add(&|next| next.switched_off = !next.switched_off);
        worlds
    }

    fn send(&self, world: &mut World) {
        let message = world.begun;
        world.begun += 1;
        let view = View {
            // So that `queue` messages fill the queue.
            size: QUEUE_LIMIT / self.queue,
            write_seq: world.write_seq,
            copied_seq: world.copied_seq,
            queued: u32::try_from(world.redirected.len()).unwrap() * (QUEUE_LIMIT / self.queue),
            receive_buffer: QUEUE_LIMIT,
            state: ESTABLISHED,
            shutdown: 0,
            layer_above: false,
        };
        if world.enrolled && !world.switched_off && (self.guard)(&view).is_ok() {
            world.judged = Some(message);
        } else {
            world.write_seq += 1;
            world.on_the_way.push(message);
        }
    }

    fn read(world: &mut World) {
        let message = if world.redirected.is_empty() {
            world.tcp_queue.remove(0) | TCP
        } else {
            world.redirected.remove(0)
        };
        if message & TCP != 0 {
            world.copied_seq += 1;
        }
        world.read.push(message & !TCP);
    }

    /// The first world, of all that can come about, in which something is wrong; and how many there are.
    fn explore(&self) -> (Option<World>, usize) {
        let mut seen = HashSet::from([Self::start()]);
        let mut open = Vec::from([Self::start()]);
        while let Some(world) = open.pop() {
            let in_order = world
                .read
                .iter()
                .copied()
                .eq(0..u8::try_from(world.read.len()).unwrap());
            if !in_order || world.redirected.len() > self.queue as usize {
                return (Some(world), seen.len());
            }
            for next in self.next(&world) {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        (None, seen.len())
    }
}

/// Marks a message that came by TCP, where both kinds are in one queue.
const TCP: u8 = 0x80;

fn model(reader: Reader, guard: fn(&View) -> Result<(), Pass>) -> Model {
    Model {
        messages: 6,
        queue: 2,
        reader,
        guard,
    }
}

#[test]
fn no_interleaving_reorders_or_overfills() {
    let (wrong, worlds) = model(Reader::TwoQueues, judge).explore();
    assert_eq!(wrong, None);
    assert!(worlds > 1_000, "only {worlds} worlds were tried");
}

#[test]
fn nor_where_the_stream_verdict_makes_it_one_queue() {
    // TCP's own window bounds what comes that way, so only the order is of interest: the queue is large.
    let (wrong, worlds) = Model {
        queue: 64,
        ..model(Reader::OneQueue, judge)
    }
    .explore();
    assert_eq!(wrong, None);
    assert!(worlds > 1_000, "only {worlds} worlds were tried");
}

#[test]
fn the_model_finds_what_each_rule_is_for() {
    let blind_to_order = |view: &View| {
        judge(&View {
            copied_seq: view.write_seq,
            ..*view
        })
    };
    let blind_to_length = |view: &View| judge(&View { queued: 0, ..*view });
    for reader in [Reader::TwoQueues, Reader::OneQueue] {
        assert!(model(reader, blind_to_order).explore().0.is_some(), "{reader:?}");
    }
    assert!(model(Reader::TwoQueues, blind_to_length).explore().0.is_some());
}
