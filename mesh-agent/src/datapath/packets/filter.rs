//! Filters and qdiscs of an interface, as route netlink tells and takes them (`struct tcmsg`,
//! `include/uapi/linux/rtnetlink.h`, `pkt_sched.h` and `pkt_cls.h`).

use std::{collections::BTreeMap, io};

use netlink_packet_core::{DecodeError, NlaBuffer, NlasIterator};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption},
};

use crate::{
    datapath::hooks::Hook,
    sys::{bpf::AttachType, route},
};

/// Priority of our filters: before all that were given none (the kernel begins at 49,152), so that we also see
/// what those decide about; we let everything pass to them.
const PRIORITY: u16 = 109;
/// Handle of our filters: "mesh".
const HANDLE: u32 = u32::from_be_bytes(*b"mesh");
/// `ETH_P_ALL`, in network order.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();
/// Length of `struct tcmsg`.
const HEADER_LEN: usize = 20;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

/// What is in the place of an interface's clsact qdisc.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Qdisc {
    /// Nothing.
    None,
    /// clsact, with both directions.
    Clsact,
    /// The older kind, with one direction.
    Ingress,
}

/// A filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// Whether it sees what leaves by the interface.
    pub egress: bool,
    /// Priority; the smaller, the sooner.
    pub priority: u16,
    /// Handle; 0 for what stands for all of a priority.
    pub handle: u32,
    /// Kind of classifier.
    pub kind: String,
    /// Name, of those that run a program.
    pub name: Option<String>,
    /// Id of the program.
    pub program: Option<u32>,
}

/// The qdisc and what is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shelf {
    /// The qdisc.
    pub qdisc: Qdisc,
    /// Its filters.
    pub filters: Vec<Filter>,
}

impl Filter {
    /// Whether it is where ours is for a hook.
    pub fn has_our_place(&self, hook: Hook) -> bool {
        (self.egress, self.priority, self.handle) == (is_egress(hook), PRIORITY, HANDLE)
    }

    /// For messages.
    pub fn described(&self) -> String {
        let name = self.name.as_deref().unwrap_or("without a name");
        format!("{} {name}", self.kind)
    }

    #[cfg(test)]
    pub fn for_test(hook: Hook, name: &str) -> Self {
        Self {
            egress: is_egress(hook),
            priority: PRIORITY,
            handle: HANDLE,
            kind: TcFilterBpf::KIND.to_owned(),
            name: Some(name.to_owned()),
            program: Some(7),
        }
    }
}

/// Whether a hook's packets leave by the interface.
pub const fn is_egress(hook: Hook) -> bool {
    matches!(hook.attach, AttachType::TcxEgress)
}

/// What is in the place of clsact, by interface of the current network namespace; absent where nothing is.
///
/// # Errors
/// The kernel's.
pub fn qdiscs() -> io::Result<BTreeMap<u32, Qdisc>> {
    let request = message(0, TcHandle::UNSPEC, TcHandle::UNSPEC, 0, Vec::new());
    let answers = route::list(&RouteNetlinkMessage::GetQueueDiscipline(request))?;
    let qdisc = |answer: &route::Answer| {
        let header = TcHeader::parse(&answer.body).ok()?;
        if header.parent != TcHandle::CLSACT {
            return None;
        }
        let qdisc = match kind(&answer.body)?.as_str() {
            "clsact" => Qdisc::Clsact,
            _ => Qdisc::Ingress,
        };
        Some((u32::try_from(header.index).ok()?, qdisc))
    };
    Ok(answers.iter().filter_map(qdisc).collect())
}

/// Looks at an interface of the current network namespace; one that is gone has nothing.
///
/// # Errors
/// The kernel's.
pub fn look(ifindex: u32) -> io::Result<Shelf> {
    let qdisc = qdiscs()?.get(&ifindex).copied();
    open(ifindex, qdisc.unwrap_or(Qdisc::None))
}

/// Looks into the qdisc of an interface.
///
/// # Errors
/// The kernel's: ENODEV where the interface is gone.
pub fn open(ifindex: u32, qdisc: Qdisc) -> io::Result<Shelf> {
    let directions: &[TcHandle] = match qdisc {
        Qdisc::None => &[],
        Qdisc::Clsact => &[INGRESS, EGRESS],
        Qdisc::Ingress => &[INGRESS],
    };
    let mut filters = Vec::new();
    for parent in directions {
        let request = message(ifindex, TcHandle::UNSPEC, *parent, 0, Vec::new());
        let answers = route::list(&RouteNetlinkMessage::GetTrafficFilter(request))?;
        let read = |answer: &route::Answer| read(&answer.body, *parent == EGRESS).map_err(io::Error::other);
        let found = answers.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        // Ours are listed once as a filter, and once more as what stands for their priority.
        filters.extend(found.into_iter().filter(|filter| !is_our_priority(filter)));
    }
    Ok(Shelf { qdisc, filters })
}

/// Makes the clsact qdisc.
pub fn make_qdisc(ifindex: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewQueueDiscipline(clsact(ifindex))
}

/// Removes the clsact qdisc with all filters.
pub fn remove_qdisc(ifindex: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelQueueDiscipline(clsact(ifindex))
}

/// Puts our filter in.
pub fn put(hook: Hook, ifindex: u32, program: i32, name: &str) -> RouteNetlinkMessage {
    let options = [
        TcFilterBpfOption::ProgFd(program.unsigned_abs()),
        TcFilterBpfOption::ProgName(name.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    let options = TcAttribute::Options(options.map(TcOption::Bpf).to_vec());
    RouteNetlinkMessage::NewTrafficFilter(ours(hook, ifindex, vec![options]))
}

/// Takes our filter out.
pub fn remove(hook: Hook, ifindex: u32) -> RouteNetlinkMessage {
    RouteNetlinkMessage::DelTrafficFilter(ours(hook, ifindex, Vec::new()))
}

const QDISC: TcHandle = TcHandle {
    major: u16::MAX,
    minor: 0,
};
const INGRESS: TcHandle = TcHandle {
    major: u16::MAX,
    minor: TcHandle::MIN_INGRESS,
};
const EGRESS: TcHandle = TcHandle {
    major: u16::MAX,
    minor: TcHandle::MIN_EGRESS,
};

fn clsact(ifindex: u32) -> TcMessage {
    let kind = vec![TcAttribute::Kind("clsact".to_owned())];
    message(ifindex, QDISC, TcHandle::CLSACT, 0, kind)
}

fn ours(hook: Hook, ifindex: u32, options: Vec<TcAttribute>) -> TcMessage {
    let parent = if is_egress(hook) { EGRESS } else { INGRESS };
    let info = u32::from(PRIORITY) << 16 | u32::from(ALL_PROTOCOLS);
    let kind = vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned())];
    message(ifindex, HANDLE.into(), parent, info, [kind, options].concat())
}

fn message(
    ifindex: u32,
    handle: TcHandle,
    parent: TcHandle,
    info: u32,
    attributes: Vec<TcAttribute>,
) -> TcMessage {
    let header = TcHeader {
        // The kernel's indices are positive; one that is not finds no interface.
        index: i32::try_from(ifindex).unwrap_or(-1),
        handle,
        parent,
        info,
        ..TcHeader::default()
    };
    TcMessage::from_parts(header, attributes)
}

/// What the kernel lists beside our filter: its priority, as long as only programs are in there.
fn is_our_priority(filter: &Filter) -> bool {
    filter.handle == 0 && filter.priority == PRIORITY && filter.kind == TcFilterBpf::KIND
}

/// Only what is needed is read: filters of other kinds have options that nobody here has to understand.
fn read(body: &[u8], egress: bool) -> Result<Filter, DecodeError> {
    let header = TcHeader::parse(body)?;
    let mut filter = Filter {
        egress,
        priority: u16::try_from(header.info >> 16).unwrap_or_default(),
        handle: header.handle.into(),
        kind: kind(body).unwrap_or_default(),
        name: None,
        program: None,
    };
    if filter.kind != TcFilterBpf::KIND {
        return Ok(filter);
    }
    let options = attributes(body.get(HEADER_LEN..).unwrap_or_default())
        .find(|attribute| attribute.kind() == TCA_OPTIONS);
    let Some(options) = options else {
        return Ok(filter);
    };
    for option in attributes(options.value()) {
        match option.kind() {
            TCA_BPF_NAME => filter.name = Some(text(option.value())),
            TCA_BPF_ID => filter.program = option.value().try_into().map(u32::from_ne_bytes).ok(),
            _ => {}
        }
    }
    Ok(filter)
}

fn kind(body: &[u8]) -> Option<String> {
    attributes(body.get(HEADER_LEN..)?)
        .find(|attribute| attribute.kind() == TCA_KIND)
        .map(|attribute| text(attribute.value()))
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;

    use super::*;
    use crate::datapath::packets::HOOKS;

    #[test]
    fn what_is_put_is_found_again() {
        let RouteNetlinkMessage::NewTrafficFilter(message) = put(HOOKS[1], 7, 5, "mesh_to_pod+clsact") else {
            panic!("another message");
        };
        assert_eq!(message.header.index, 7);
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        let filter = read(&body, true).unwrap();
        assert!(filter.has_our_place(HOOKS[1]) && !filter.has_our_place(HOOKS[0]));
        assert_eq!(filter.name.as_deref(), Some("mesh_to_pod+clsact"));
        assert_eq!(filter.described(), "bpf mesh_to_pod+clsact");
    }

    #[test]
    fn what_is_not_understood_is_still_a_filter() {
        let body = [&[0; 20][..], &[4, 0, 1, 0], &[255, 255, 2, 0]].concat();
        let filter = read(&body, false).unwrap();
        assert_eq!((filter.kind.as_str(), filter.name), ("", None));
        assert!(read(&[0; 3], false).is_err());
    }
}
