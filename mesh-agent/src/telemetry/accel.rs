//! What acceleration did for a connection, as records and `meshctl` show it.

use mesh_common::{
    accel::{Accel, Enrolment, Moved},
    decide::guard::Pass,
};
use serde::{Deserialize, Serialize};

/// By which path a connection's messages went, and why.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Acceleration {
    /// `enrolled`, or why the socket is not ([`Enrolment`]).
    pub state: String,
    /// The same in words.
    pub reason: String,
    /// Messages sent past TCP.
    pub redirected_messages_sent: u64,
    /// Their bytes.
    pub redirected_bytes_sent: u64,
    /// Messages that came past TCP.
    pub redirected_messages_received: u64,
    /// Their bytes.
    pub redirected_bytes_received: u64,
    /// Messages the guard left to TCP.
    pub tcp_messages_sent: u64,
    /// Their bytes.
    pub tcp_bytes_sent: u64,
    /// Why the last of these went by TCP ([`Pass`]); empty where none did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_tcp_reason: String,
}

impl Acceleration {
    /// What the socket's storage says; `None` where its pod does not ask for acceleration.
    #[must_use]
    pub fn of(accel: &Accel, received: Moved) -> Option<Self> {
        let unknown = || format!("unknown ({})", accel.enrolment);
        let enrolment = Enrolment::from_number(accel.enrolment);
        if enrolment == Some(Enrolment::NotAsked) {
            return None;
        }
        let pass = Pass::from_number(accel.last_pass).filter(|pass| *pass != Pass::Never);
        Some(Self {
            state: enrolment.map_or_else(unknown, |it| it.name().to_owned()),
            reason: enrolment.map_or_else(unknown, |it| it.text().to_owned()),
            redirected_messages_sent: accel.redirected.messages,
            redirected_bytes_sent: accel.redirected.bytes,
            redirected_messages_received: received.messages,
            redirected_bytes_received: received.bytes,
            tcp_messages_sent: accel.passed.messages,
            tcp_bytes_sent: accel.passed.bytes,
            last_tcp_reason: pass.map_or_else(String::new, |pass| pass.name().to_owned()),
        })
    }

    /// One line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let last = Pass::ALL
            .iter()
            .find(|pass| pass.name() == self.last_tcp_reason)
            .map(|pass| format!("; last by TCP: {}", pass.text()));
        format!("{}{}", self.reason, last.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_and_by_which_path() {
        let moved = |messages, bytes| Moved { messages, bytes };
        let accel = Accel {
            enrolment: Enrolment::Enrolled as u32,
            redirected: moved(2, 128),
            passed: moved(1, 64),
            last_pass: Pass::Behind as u32,
            ..Accel::default()
        };
        let shown = Acceleration::of(&accel, moved(3, 192)).unwrap();
        assert_eq!(
            (shown.state.as_str(), shown.redirected_messages_received),
            ("enrolled", 3)
        );
        assert_eq!(
            shown.text(),
            "enrolled: redirected whenever order and back-pressure allow it; \
             last by TCP: earlier bytes are on their way by TCP, or unread"
        );
    }

    #[test]
    fn a_socket_nobody_asked_for_says_nothing() {
        assert_eq!(Acceleration::of(&Accel::default(), Moved::default()), None);
        let refused = Accel {
            enrolment: Enrolment::PeerElsewhere as u32,
            ..Accel::default()
        };
        let shown = Acceleration::of(&refused, Moved::default()).unwrap();
        assert_eq!(shown.text(), "the other end is no pod of this node");
    }
}
