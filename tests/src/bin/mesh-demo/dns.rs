//! The name server of the demonstration: knows the services, answers over UDP.
//!
//! No name server is among the programs that the demonstration installs, and the mesh does not care.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use harness::Pod;

/// How long it may take to notice that it is to end.
const POLL: Duration = Duration::from_millis(50);
const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;

/// What it knows.
const ZONE: [(&str, IpAddr); 4] = [
    (
        "web.shop.svc.cluster.local",
        IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)),
    ),
    (
        "web.shop.svc.cluster.local",
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10)),
    ),
    (
        "cache.shop.svc.cluster.local",
        IpAddr::V4(Ipv4Addr::new(10, 96, 0, 20)),
    ),
    (
        "dns.kube-system.svc.cluster.local",
        IpAddr::V4(Ipv4Addr::new(10, 96, 0, 53)),
    ),
];

/// A name server in a pod; ends on drop.
pub struct NameServer {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Begins to answer on port 53 of the pod's addresses.
    pub fn start(pod: &Pod) -> io::Result<Self> {
        // A socket stays in the network namespace and the cgroup of the thread that made it.
        let socket = pod.run(|| UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 53))))?;
        socket.set_read_timeout(Some(POLL))?;
        let ending = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ending);
        let thread = thread::Builder::new()
            .name("dns".into())
            .spawn(move || serve(&socket, &told))?;
        Ok(Self {
            ending,
            thread: Some(thread),
        })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it was printed already.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, ending: &AtomicBool) {
    let mut buffer = [0; 512];
    while !ending.load(Ordering::Relaxed) {
        if let Ok((length, client)) = socket.recv_from(&mut buffer)
            && let Some(reply) = reply(&buffer[..length])
        {
            // A client that is gone misses nothing.
            let _ = socket.send_to(&reply, client);
        }
    }
}

/// The answer to a query of one question (RFC 1035, section 4); nothing to what is none.
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let (name, end) = read_name(query)?;
    let question = query.get(HEADER..end + 4)?;
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let known = || ZONE.iter().filter(|(known, _)| *known == name);
    let records: Vec<_> = known().filter_map(|(_, ip)| record(*ip, kind)).collect();
    let no_such_name = u8::from(known().next().is_none()) * 3;
    let mut reply = query[..2].to_vec();
    // A response, authoritative; recursion as desired, and available.
    reply.extend([0x84 | (query[2] & 1), 0x80 | no_such_name, 0, 1, 0]);
    reply.push(u8::try_from(records.len()).ok()?);
    reply.extend([0; 4]);
    reply.extend(question);
    reply.extend(records.concat());
    Some(reply)
}

/// A record of the question's name, if the address is of the wanted kind.
fn record(ip: IpAddr, wanted: u16) -> Option<Vec<u8>> {
    /// The name at the beginning of the question.
    const NAME: [u8; 2] = [0xc0, 0x0c];
    const CLASS_AND_LIFETIME: [u8; 6] = [0, 1, 0, 0, 0, 5];
    let (kind, data) = match ip {
        IpAddr::V4(ip) => (A, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
    };
    let length = u16::try_from(data.len()).ok()?.to_be_bytes();
    let parts = [
        &NAME,
        &kind.to_be_bytes()[..],
        &CLASS_AND_LIFETIME,
        &length,
        &data,
    ];
    (kind == wanted).then(|| parts.concat())
}

/// The question's name in lower case, and where it ends.
fn read_name(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = query.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, 1, 0x20, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, u8::try_from(kind).unwrap(), 0, 1]);
        query
    }

    #[test]
    fn each_kind_of_address_is_answered_with_its_own() {
        let reply = |kind| reply(&query("Web.shop.svc.cluster.local", kind)).unwrap();
        assert!(reply(A).ends_with(&[0, 4, 10, 96, 0, 10]));
        let v6: Ipv6Addr = "fd00:96::10".parse().unwrap();
        assert!(reply(AAAA).ends_with(&v6.octets()));
        let answers = [A, AAAA, 16].map(|kind| reply(kind)[7]);
        assert_eq!(answers, [1, 1, 0]);
        assert_eq!(reply(A)[..4], [0xab, 0xcd, 0x85, 0x80]);
    }

    #[test]
    fn an_unknown_name_does_not_exist() {
        assert_eq!(reply(&query("example.org", A)).unwrap()[3], 0x83);
    }

    #[test]
    fn what_is_no_query_has_no_answer() {
        let query = query("web.shop", A);
        for length in 0..query.len() {
            assert_eq!(reply(&query[..length]), None, "{length}");
        }
    }
}
