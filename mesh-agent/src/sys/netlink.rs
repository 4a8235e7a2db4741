//! Netlink: requests that go out in one system call, and what comes back.

use std::io;

use netlink_sys::{Socket, SocketAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// Its type.
    pub kind: u16,
    /// `NLM_F_…`; `NLM_F_REQUEST` comes by itself. Something has to make the kernel answer: a dump, or an acknowledgement.
    pub flags: u16,
    /// What follows its header.
    pub body: Vec<u8>,
}

/// A message that answers a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Its type.
    pub kind: u16,
    /// What follows its header.
    pub body: Vec<u8>,
}

/// What came of one request.
pub type Outcome = io::Result<Vec<Answer>>;

/// Asks a part of the kernel (`NETLINK_…`) in the network namespace of the calling thread; what came of each request, in order.
///
/// All requests go out in one system call and the kernel carries them out before it returns: whoever kills this
/// process meets either none of them or all.
///
/// # Errors
/// Where the requests can't be sent or the answers not be read.
pub fn exchange(protocol: isize, requests: &[Request]) -> io::Result<Vec<Outcome>> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut replies = Replies::to(requests.len());
    socket.send(&bytes(requests)?, 0)?;
    while !replies.are_complete() {
        let (datagram, _) = socket.recv_from_full()?;
        replies.read(&datagram)?;
    }
    Ok(replies.outcomes)
}

/// As [`exchange`] with one request.
///
/// # Errors
/// The kernel's, too.
pub fn ask(protocol: isize, request: Request) -> Outcome {
    exchange(protocol, &[request])?.pop().unwrap_or(Ok(Vec::new()))
}

/// The requests one behind the other, numbered from 0, each padded to four bytes.
fn bytes(requests: &[Request]) -> io::Result<Vec<u8>> {
    const NLM_F_REQUEST: u16 = 1;
    let mut bytes = Vec::new();
    for (number, Request { kind, flags, body }) in (0..).zip(requests) {
        let header = Header {
            len: u32::try_from(size_of::<Header>() + body.len()).map_err(io::Error::other)?,
            kind: *kind,
            flags: NLM_F_REQUEST | flags,
            request: number,
            port: 0,
        };
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Ok(bytes)
}

/// `struct nlmsghdr`.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct Header {
    len: u32,
    kind: u16,
    flags: u16,
    request: u32,
    port: u32,
}

/// What came back so far.
struct Replies {
    outcomes: Vec<Outcome>,
    complete: Vec<bool>,
}

impl Replies {
    fn to(requests: usize) -> Self {
        Self {
            outcomes: (0..requests).map(|_| Ok(Vec::new())).collect(),
            complete: vec![false; requests],
        }
    }

    fn are_complete(&self) -> bool {
        self.complete.iter().all(|complete| *complete)
    }

    /// Reads a datagram of answers.
    fn read(&mut self, mut datagram: &[u8]) -> io::Result<()> {
        /// `NLMSG_ERROR`, which with the error 0 is an acknowledgement, and `NLMSG_DONE`.
        const LAST: [u16; 2] = [2, 3];
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged netlink answer");
        while !datagram.is_empty() {
            let (header, _) = Header::read_from_prefix(datagram).map_err(|_| damaged())?;
            let len = header.len as usize;
            let body = datagram.get(size_of::<Header>()..len).ok_or_else(damaged)?;
            datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
            let number = header.request as usize;
            let Some(outcome) = self.outcomes.get_mut(number) else {
                continue;
            };
            if LAST.contains(&header.kind) {
                self.complete[number] = true;
                let (error, _) = i32::read_from_prefix(body).map_err(|_| damaged())?;
                if error != 0 {
                    *outcome = Err(io::Error::from_raw_os_error(error.wrapping_neg()));
                }
            } else if let Ok(answers) = outcome {
                answers.push(Answer {
                    kind: header.kind,
                    body: body.to_vec(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, request: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(16 + body.len()).unwrap();
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend([kind.to_ne_bytes(), [0, 0]].concat());
        bytes.extend([request.to_ne_bytes(), [0; 4]].concat());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn answers_find_their_requests() {
        let mut replies = Replies::to(2);
        let exists = (-libc::EEXIST).to_ne_bytes();
        let datagram = [message(2, 0, &exists), message(36, 1, b"abc")].concat();
        replies.read(&datagram).unwrap();
        assert!(!replies.are_complete());
        replies.read(&message(2, 1, &[0; 4])).unwrap();
        assert!(replies.are_complete());
        let error = replies.outcomes[0].as_ref().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
        let answers = replies.outcomes[1].as_ref().unwrap();
        assert_eq!((answers[0].kind, answers[0].body.as_slice()), (36, &b"abc"[..]));
    }

    #[test]
    fn damaged_answers_are_errors() {
        let mut replies = Replies::to(1);
        assert!(replies.read(&[1, 2, 3]).is_err());
        let mut short = message(2, 0, &[0; 4]);
        short[0] = 200;
        assert!(replies.read(&short).is_err());
    }

    #[test]
    fn requests_are_numbered_and_padded() {
        let request = |body: &[u8]| Request {
            kind: 7,
            flags: 4,
            body: body.to_vec(),
        };
        let bytes = bytes(&[request(&[1; 5]), request(&[2])]).unwrap();
        assert_eq!(bytes.len(), 24 + 20);
        let header = |at: usize| Header::read_from_prefix(&bytes[at..]).unwrap().0;
        assert_eq!((header(0).len, header(0).kind, header(0).flags), (21, 7, 5));
        assert_eq!((header(24).len, header(24).request), (17, 1));
    }
}
