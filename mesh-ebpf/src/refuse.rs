//! Refusing a socket or a datagram at once: counted, recorded, and an error to the caller.

use mesh_common::{
    addr::{Addr, Port},
    config,
    counter::Counter,
    flow::EventKind,
    policy::Denial,
    service::Frontend,
};

use crate::{context, count::count, emit, maps::CONFIG, permit::Place, pod::Pod};

/// Who asked for what.
pub struct Asked<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What it asked for.
    pub frontend: &'a Frontend,
    /// The service behind it.
    pub service: u32,
}

/// The service has no endpoint.
#[inline(always)]
pub fn no_endpoint(asked: &Asked<'_>, counter: Counter) -> i32 {
    refuse(asked, counter, EventKind::NoEndpoint)
}

/// The tables contradicted each other twice in a row: going on would mean guessing.
#[inline(always)]
pub fn inconsistent(asked: &Asked<'_>) -> i32 {
    refuse(asked, Counter::Inconsistent, EventKind::Inconsistent)
}

/// The pod is not known by its network namespace yet, and its namespace fails closed.
#[inline(always)]
pub fn pending(pod: &Pod, frontend: &Frontend) -> i32 {
    let asked = Asked {
        pod,
        frontend,
        service: 0,
    };
    refuse(&asked, Counter::Pending, EventKind::Pending)
}

/// A policy said no; that is counted and recorded already.
#[inline(always)]
pub fn denied() -> i32 {
    let forbids = CONFIG
        .get(0)
        .is_some_and(|config| config.flags & config::flag::DENY_WITH_EPERM != 0);
    if forbids {
        context::forbid()
    } else {
        context::refuse()
    }
}

#[inline(always)]
fn refuse(asked: &Asked<'_>, counter: Counter, event: EventKind) -> i32 {
    count(counter);
    let nowhere = Place::new(Addr::default(), Port::default());
    emit::refused(event, asked, &nowhere, &Denial::default());
    context::refuse()
}
