//! May this socket be enrolled for the redirect, as far as the mesh's own tables tell?

use crate::{accel::Enrolment, config, tag::Tagged, workload};

/// A pod of this node that is in the mesh.
const LOCAL: u8 = workload::flag::LOCAL | workload::flag::ENROLLED;

/// What the programs know at the end of the handshake.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// [`crate::config::Config::flags`].
    pub config: u32,
    /// Workload id of the socket's pod, known by its network namespace.
    pub pod: u32,
    /// Whether this is a socket of the mesh itself.
    pub own: bool,
    /// Whose the local address is, by `WORKLOADS`.
    pub local: Option<Tagged>,
    /// Whose the remote address is.
    pub remote: Option<Tagged>,
}

/// Workload id of the other end's pod.
///
/// # Errors
/// Why it stays with TCP.
#[inline(always)]
pub const fn judge(facts: &Facts) -> Result<u32, Enrolment> {
    let proved = if facts.own {
        config::flag::ACCEL_OWN
    } else {
        config::flag::ACCEL_APPLICATIONS
    };
    let off = config::flag::ACCEL_OFF | config::flag::DISABLED;
    if facts.config & off != 0 || facts.config & proved == 0 {
        return Err(Enrolment::Off);
    }
    // A pod with CAP_NET_ADMIN can give itself any address: the table says whose it is.
    match facts.local {
        Some(owner) if owner.id() == facts.pod => {}
        _ => return Err(Enrolment::ForeignAddress),
    }
    match facts.remote {
        Some(peer) if peer.flags() & LOCAL == LOCAL => {
            // What the mesh's own sockets talk to may be another of its own, which no address tells.
            if facts.own || peer.flags() & workload::flag::ACCELERATED != 0 {
                Ok(peer.id())
            } else {
                Err(Enrolment::PeerRefuses)
            }
        }
        _ => Err(Enrolment::PeerElsewhere),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::flag::{self as pod, ACCELERATED};

    const BOTH: u8 = super::LOCAL;

    fn facts() -> Facts {
        Facts {
            config: config::flag::ACCEL_APPLICATIONS,
            pod: 5,
            own: false,
            local: Some(Tagged::new(5, BOTH | ACCELERATED, 0)),
            remote: Some(Tagged::new(6, BOTH | ACCELERATED, 0)),
        }
    }

    #[test]
    fn both_ends_must_be_pods_of_this_node_that_consent() {
        let local = |id, flags| {
            judge(&Facts {
                local: Some(Tagged::new(id, flags, 0)),
                ..facts()
            })
        };
        let remote = |id, flags| {
            judge(&Facts {
                remote: Some(Tagged::new(id, flags, 0)),
                ..facts()
            })
        };
        assert_eq!(judge(&facts()), Ok(6));
        assert_eq!(local(7, BOTH | ACCELERATED), Err(Enrolment::ForeignAddress));
        assert_eq!(
            judge(&Facts {
                local: None,
                ..facts()
            }),
            Err(Enrolment::ForeignAddress)
        );
        assert_eq!(remote(5, BOTH | ACCELERATED), Ok(5), "a pod's own service");
        assert_eq!(remote(6, BOTH), Err(Enrolment::PeerRefuses));
        assert_eq!(
            remote(6, pod::ENROLLED | ACCELERATED),
            Err(Enrolment::PeerElsewhere)
        );
        assert_eq!(remote(6, pod::LOCAL | ACCELERATED), Err(Enrolment::PeerElsewhere));
        assert_eq!(
            judge(&Facts {
                remote: None,
                ..facts()
            }),
            Err(Enrolment::PeerElsewhere)
        );
    }

    #[test]
    fn the_probe_and_both_switches_come_first() {
        use config::flag;
        let with = |config, own| {
            judge(&Facts {
                config,
                own,
                ..facts()
            })
        };
        assert_eq!(with(0, false), Err(Enrolment::Off));
        assert_eq!(with(flag::ACCEL_OWN, false), Err(Enrolment::Off));
        assert_eq!(with(flag::ACCEL_OWN, true), Ok(6));
        assert_eq!(with(flag::ACCEL_APPLICATIONS, true), Err(Enrolment::Off));
        let all = flag::ACCEL_APPLICATIONS | flag::ACCEL_OWN;
        assert_eq!(with(all | flag::ACCEL_OFF, true), Err(Enrolment::Off));
        assert_eq!(with(all | flag::DISABLED, false), Err(Enrolment::Off));
    }

    #[test]
    fn own_sockets_need_no_consent_of_the_other_pod() {
        let facts = Facts {
            config: config::flag::ACCEL_OWN,
            own: true,
            remote: Some(Tagged::new(6, BOTH, 0)),
            ..facts()
        };
        assert_eq!(judge(&facts), Ok(6));
    }
}
