//! Senders that wait for a reader who is gone.
//!
//! A reader that had done `shutdown(SHUT_WR)` says nothing when it closes later, unless bytes are unread. TCP knows nothing of
//! those that were redirected, or that the stream verdict took out of its queue. So it sends no reset, and a sender that waits
//! for room would wait for the time-outs of TCP. Destroying the sender's socket tells it.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    net::SocketAddr,
    path::Path,
};

use mesh_common::{
    accel::{Enrolment, SocketKey},
    flow::LiveFlow,
    sock::SockState,
};

use crate::sys::{
    netns,
    sock_diag::{self, DestroyError, Socket, States},
};

/// Sockets whose peer has closed, at the last look, with the bytes that were acknowledged.
#[derive(Debug, Default)]
pub struct Suspects(HashMap<u64, u32>);

impl Suspects {
    /// Looks: takes all live connections and the keys of the enrolled sockets. Gives the sockets that may
    /// wait for nobody: enrolled, what they sent went past TCP, the peer's half is closed and its socket no longer
    /// enrolled, and none of their bytes was acknowledged since the look before.
    pub fn look(&mut self, flows: &[LiveFlow], enrolled: &HashSet<SocketKey>) -> Vec<SockState> {
        let now = flows.iter().filter(|flow| is_suspect(flow, enrolled));
        let (mut next, mut twice) = (HashMap::new(), Vec::new());
        for LiveFlow { sock, tcp, .. } in now {
            if self.0.get(&sock.cookie) == Some(&tcp.snd_una) {
                twice.push(*sock);
            }
            next.insert(sock.cookie, tcp.snd_una);
        }
        self.0 = next;
        twice
    }
}

fn is_suspect(flow: &LiveFlow, enrolled: &HashSet<SocketKey>) -> bool {
    let LiveFlow { sock, tcp, .. } = flow;
    let state = u8::try_from(tcp.state).unwrap_or(u8::MAX);
    sock.accel.enrolment == Enrolment::Enrolled as u32
        // So the peer was where it is looked for: only an enrolled socket of that pod can have had them.
        && sock.accel.redirected.messages > 0
        && States::CLOSE_WAIT.contain(state)
        && !enrolled.contains(&sock.key().peer(sock.accel.peer))
}

/// Destroys a suspect's socket if it has bytes for a reader who is gone; says whether it did. Takes the handles of its
/// network namespace and of its peer's.
///
/// # Errors
/// Where a namespace can't be entered or asked; the kernel's refusal to destroy.
pub fn release(suspect: &SockState, own: &Path, peer: &Path) -> io::Result<Result<bool, DestroyError>> {
    let local = SocketAddr::new(suspect.local_addr.into(), suspect.local_port.get());
    let remote = SocketAddr::new(suspect.remote_addr.into(), suspect.remote_port.get());
    let reader = netns::run_in(File::open(peer)?, || sock_diag::find_tcp(remote, local))?;
    if reader.is_some_and(|reader| !reader.is_orphan()) {
        return Ok(Ok(false));
    }
    netns::run_in(File::open(own)?, || {
        let sender = sock_diag::find_tcp(local, remote)?;
        let sender = sender.filter(|sender| sender.cookie == suspect.cookie && waits(sender));
        Ok(sender.map_or(Ok(false), |sender| sock_diag::destroy(&sender)))
    })
}

/// Whether somebody has the socket, and bytes of it wait to be acknowledged.
const fn waits(sender: &Socket) -> bool {
    States::CLOSE_WAIT.contain(sender.state) && sender.unacknowledged > 0 && !sender.is_orphan()
}

#[cfg(test)]
mod tests {
    use mesh_common::{
        accel::{Accel, Moved},
        addr::Port,
        flow::TcpFigures,
    };

    use super::*;

    const CLOSE_WAIT: u32 = 8;

    fn flow() -> LiveFlow {
        let redirected = Moved {
            messages: 1,
            bytes: 1,
        };
        LiveFlow {
            sock: SockState {
                pod: 1,
                cookie: 7,
                local_port: Port::new(80),
                accel: Accel {
                    sk: 1,
                    peer: 2,
                    redirected,
                    enrolment: Enrolment::Enrolled as u32,
                    ..Accel::default()
                },
                ..SockState::default()
            },
            tcp: TcpFigures {
                state: CLOSE_WAIT,
                snd_una: 100,
                ..TcpFigures::default()
            },
            ..LiveFlow::default()
        }
    }

    fn twice(first: LiveFlow, second: LiveFlow) -> Vec<u64> {
        let mut suspects = Suspects::default();
        let enrolled = HashSet::from([flow().sock.key()]);
        assert_eq!(suspects.look(&[first], &enrolled), []);
        let found = suspects.look(&[second], &enrolled);
        found.iter().map(|sock| sock.cookie).collect()
    }

    #[test]
    fn who_stands_still_beside_a_closed_peer_is_suspect_at_the_second_look() {
        assert_eq!(twice(flow(), flow()), [7]);
        let with = |change: fn(&mut LiveFlow)| {
            let mut flow = flow();
            change(&mut flow);
            flow
        };
        assert_eq!(twice(flow(), with(|flow| flow.tcp.snd_una = 101)), [0; 0]);
        assert_eq!(twice(flow(), with(|flow| flow.sock.cookie = 8)), [0; 0]);
        let others: [fn(&mut LiveFlow); 3] = [
            |flow| flow.tcp.state = 1,
            |flow| flow.sock.accel.redirected.messages = 0,
            |flow| flow.sock.accel.enrolment = Enrolment::Off as u32,
        ];
        for change in others {
            assert_eq!(twice(with(change), with(change)), [0; 0]);
        }
    }

    #[test]
    fn a_peer_that_is_enrolled_reads() {
        let mut suspects = Suspects::default();
        let enrolled = HashSet::from([flow().sock.key().peer(2)]);
        for _ in 0..3 {
            assert_eq!(suspects.look(&[flow()], &enrolled), []);
        }
    }
}
