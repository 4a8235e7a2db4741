//! By clsact: a filter of our own in each direction of the interface's clsact qdisc, for kernels without tcx.
//!
//! Nothing of another tool's is touched: our filters are known by priority, handle and name together. Whether
//! the qdisc is ours stands in the names of our filters, so that it is never known wrongly: the qdisc and the
//! first filter are made in one system call, and go in one.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use thiserror::Error;

use super::{
    HOOKS,
    filter::{self, Filter, Qdisc, Shelf},
};
use crate::{datapath::hooks::Hook, sys::route};

/// Why a filter can't be attached.
#[derive(Debug, Error)]
pub enum ClsactError {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] io::Error),
    /// The other kind of qdisc in that place, e.g. for limiting a pod's bandwidth, knows one direction only.
    #[error(
        "another tool's ingress qdisc is in the place of clsact, so only packets from the pod can be seen"
    )]
    OneWay,
    /// Our priority and handle are taken.
    #[error("a filter of another tool, {0}, has our priority and handle")]
    Taken(String),
}

/// What has to be done so that a filter runs our program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Make the qdisc and put the filter in.
    Found,
    /// Put the filter in.
    Add,
    /// Replace our filter's program, without a gap.
    Replace,
}

/// Makes our filter run a program: a new one, or the one that is there from its next packet on.
///
/// # Errors
/// What is in the way, or the kernel's: ENODEV where the interface is gone.
pub fn attach(hook: Hook, ifindex: u32, program: BorrowedFd<'_>) -> Result<(), ClsactError> {
    let shelf = filter::look(ifindex)?;
    let step = plan(&shelf, hook)?;
    let name = name(hook, step == Step::Found || owns_qdisc(&shelf));
    let put = |flags| (flags, filter::put(hook, ifindex, program.as_raw_fd(), &name));
    let requests = match step {
        Step::Found => vec![
            (NLM_F_CREATE | NLM_F_EXCL, filter::make_qdisc(ifindex)),
            put(NLM_F_CREATE | NLM_F_EXCL),
        ],
        Step::Add => vec![put(NLM_F_CREATE | NLM_F_EXCL)],
        Step::Replace => vec![put(NLM_F_REPLACE)],
    };
    let outcomes = route::ask(requests)?;
    if step == Step::Found && matches!(&outcomes[..], [Err(_), Ok(_)]) {
        // Somebody made the qdisc just now: then it is not ours, and the name has to say so.
        let guest = filter::put(hook, ifindex, program.as_raw_fd(), hook.program);
        return all(route::ask(vec![(NLM_F_REPLACE, guest)])?);
    }
    all(outcomes)
}

/// Removes our filters from an interface, and the qdisc where it is ours and nobody else uses it; returns what
/// was removed. What is already gone is no error.
///
/// # Errors
/// The kernel's.
pub fn detach(ifindex: u32) -> io::Result<Vec<&'static str>> {
    let shelf = filter::look(ifindex)?;
    let ours: Vec<Hook> = HOOKS
        .into_iter()
        .filter(|hook| ours(&shelf, *hook).is_some())
        .collect();
    let requests = if owns_qdisc(&shelf) && shelf.filters.iter().all(is_ours) {
        vec![(0, filter::remove_qdisc(ifindex))]
    } else {
        let remove = |hook: &Hook| (0, filter::remove(*hook, ifindex));
        ours.iter().map(remove).collect()
    };
    for outcome in route::ask(requests)? {
        match outcome.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::ENOENT), _)) => {}
            Err((_, error)) => return Err(error),
        }
    }
    Ok(ours.iter().map(|hook| hook.program).collect())
}

/// Our filters in the current network namespace: hook, interface, id of the program.
///
/// # Errors
/// The kernel's.
pub fn installed() -> io::Result<Vec<(Hook, u32, Option<u32>)>> {
    let mut installed = Vec::new();
    for (ifindex, qdisc) in filter::qdiscs()? {
        let shelf = match filter::open(ifindex, qdisc) {
            // Interfaces come and go.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
            shelf => shelf?,
        };
        let found = |hook| ours(&shelf, hook).map(|filter| (hook, ifindex, filter.program));
        installed.extend(HOOKS.into_iter().filter_map(found));
    }
    Ok(installed)
}

fn plan(shelf: &Shelf, hook: Hook) -> Result<Step, ClsactError> {
    if shelf.qdisc == Qdisc::Ingress && filter::is_egress(hook) {
        return Err(ClsactError::OneWay);
    }
    if shelf.qdisc == Qdisc::None {
        return Ok(Step::Found);
    }
    let there = shelf.filters.iter().find(|filter| filter.has_our_place(hook));
    match there {
        None => Ok(Step::Add),
        Some(filter) if is_named(filter, hook) => Ok(Step::Replace),
        Some(filter) => Err(ClsactError::Taken(filter.described())),
    }
}

fn all(outcomes: Vec<route::Outcome>) -> Result<(), ClsactError> {
    Ok(outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))?)
}

/// Follows the name of a filter whose qdisc we made.
const OWNER: &str = "+clsact";

fn name(hook: Hook, owner: bool) -> String {
    let mark = if owner { OWNER } else { "" };
    format!("{}{mark}", hook.program)
}

fn ours(shelf: &Shelf, hook: Hook) -> Option<&Filter> {
    let mut filters = shelf.filters.iter();
    filters.find(|filter| filter.has_our_place(hook) && is_named(filter, hook))
}

fn is_ours(filter: &Filter) -> bool {
    HOOKS
        .into_iter()
        .any(|hook| filter.has_our_place(hook) && is_named(filter, hook))
}

fn is_named(filter: &Filter, hook: Hook) -> bool {
    let name = filter.name.as_deref();
    name.is_some_and(|name| name.strip_suffix(OWNER).unwrap_or(name) == hook.program)
}

fn owns_qdisc(shelf: &Shelf) -> bool {
    let marked = |filter: &Filter| filter.name.as_ref().is_some_and(|name| name.ends_with(OWNER));
    shelf
        .filters
        .iter()
        .any(|filter| is_ours(filter) && marked(filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Hook = HOOKS[0];
    const TO: Hook = HOOKS[1];

    fn shelf(qdisc: Qdisc, filters: &[Filter]) -> Shelf {
        Shelf {
            qdisc,
            filters: filters.to_vec(),
        }
    }

    #[test]
    fn the_qdisc_is_made_once_and_remembered() {
        let none = shelf(Qdisc::None, &[]);
        assert_eq!(plan(&none, FROM).unwrap(), Step::Found);
        let first = Filter::for_test(FROM, "mesh_from_pod+clsact");
        let made = shelf(Qdisc::Clsact, std::slice::from_ref(&first));
        assert_eq!(plan(&made, TO).unwrap(), Step::Add);
        assert_eq!(plan(&made, FROM).unwrap(), Step::Replace);
        assert!(owns_qdisc(&made));
        let guest = Filter::for_test(FROM, "mesh_from_pod");
        let guests = shelf(Qdisc::Clsact, &[guest]);
        assert!(!owns_qdisc(&guests));
        assert_eq!(plan(&guests, FROM).unwrap(), Step::Replace);
    }

    #[test]
    fn what_is_another_tools_stays() {
        let stranger = Filter::for_test(FROM, "cil_from_container");
        assert!(!is_ours(&stranger));
        let taken = shelf(Qdisc::Clsact, &[stranger]);
        assert!(matches!(plan(&taken, FROM), Err(ClsactError::Taken(name)) if name.contains("cil_from")));
        let mut elsewhere = Filter::for_test(FROM, "mesh_from_pod");
        elsewhere.priority += 1;
        assert!(!is_ours(&elsewhere), "the name alone is not enough");
        // The way out of one kind of qdisc leads into the way in of the other.
        let other_kind = shelf(Qdisc::Ingress, &[]);
        assert!(matches!(plan(&other_kind, TO), Err(ClsactError::OneWay)));
        assert_eq!(plan(&other_kind, FROM).unwrap(), Step::Add);
    }
}
