//! Who the ends of a question are.

use std::net::IpAddr;

use mesh_common::{addr::Addr, policy::Transport};

use super::super::{Destination, ExplainQuery, From, PolicyView, Standing, WrongEnd};
use super::{EndAnswer, Sight};
use crate::model::{
    desired::ObjectName,
    policy::{Cluster, Owner, Party, Source},
};

/// An end with the address it has in a flow.
pub(super) struct Role {
    pod: Option<ObjectName>,
    /// How it stands, where it is a pod.
    pub(super) standing: Option<Standing>,
    /// Its place in the cluster, where policies can select it.
    place: Option<usize>,
    /// Its address.
    pub(super) addr: Addr,
    host: bool,
    unsettled: bool,
}

/// A pod, or whoever has an address, before an address is chosen.
struct End {
    role: Role,
    addresses: Vec<Addr>,
}

/// A flow: source, destination, port.
type Flow = (Role, Role, u16);

/// The flows that are meant: one, or to a Service one to each of its endpoints.
pub(super) fn parties(
    view: &impl PolicyView,
    cluster: &Cluster,
    query: &ExplainQuery,
    transport: Transport,
) -> Result<Vec<Flow>, String> {
    let from: From = query.from.parse().map_err(|error: WrongEnd| error.to_string())?;
    let to: Destination = query.to.parse().map_err(|error: WrongEnd| error.to_string())?;
    let source = || match &from {
        From::Pod(pod) => of_pod(view, cluster, pod),
        From::Address(address) => Ok(of_address(view, cluster, (*address).into())),
    };
    let destinations = match &to {
        Destination::Pod(pod, port) => vec![(of_pod(view, cluster, pod)?, *port)],
        Destination::Address(address) => {
            vec![(of_address(view, cluster, address.ip().into()), address.port())]
        }
        Destination::Service(service, port) => {
            let endpoints = view.endpoints(service, *port, transport as u8);
            let endpoints = endpoints.ok_or_else(|| {
                format!(
                    "service {service} has no port {port} over {} that the agent knows: see `meshctl service list`",
                    transport.name()
                )
            })?;
            if endpoints.is_empty() {
                return Err(format!(
                    "service {service} has no endpoint for port {port}, so that nothing is reached: see `meshctl \
                     service show {service}`"
                ));
            }
            let known = endpoints.into_iter();
            known
                .map(|(addr, port)| (of_address(view, cluster, addr), port.get()))
                .collect()
        }
    };
    let is_service = matches!(to, Destination::Service(..));
    let mut flows = Vec::new();
    for (destination, port) in destinations {
        match source()?.towards(destination) {
            Some((source, destination)) => flows.push((source, destination, port)),
            // A Service may have endpoints of a family that the source does not speak.
            None if is_service => {}
            None => return Err(no_common_family(&from, &to)),
        }
    }
    if flows.is_empty() {
        return Err(no_common_family(&from, &to));
    }
    Ok(flows)
}

fn no_common_family(from: &From, to: &Destination) -> String {
    format!("{from} and {to} have no addresses of the same family")
}

fn of_pod(view: &impl PolicyView, cluster: &Cluster, name: &ObjectName) -> Result<End, String> {
    let standing = view.standing(name);
    let standing = standing.ok_or_else(|| format!("pod {name} is not known to the agent, or has ended"))?;
    let place = cluster.pods.iter().position(|pod| pod.name == *name);
    let (addresses, host) = match (&standing, place) {
        (Standing::HostNetwork { here, addresses }, _) => (addresses.clone(), *here),
        (_, Some(place)) => (cluster.pods[place].addresses.clone(), false),
        (_, None) => (Vec::new(), false),
    };
    let first = addresses.first().copied();
    let role = Role {
        pod: Some(name.clone()),
        standing: Some(standing),
        place,
        addr: first.ok_or_else(|| format!("pod {name} has no address yet"))?,
        host,
        unsettled: false,
    };
    Ok(End { role, addresses })
}

fn of_address(view: &impl PolicyView, cluster: &Cluster, addr: Addr) -> End {
    let owner = cluster.owner(&addr);
    let pod = match owner {
        Owner::Pod(pod) => Some(pod.name.clone()),
        Owner::Nobody | Owner::Unsettled => None,
    };
    let role = Role {
        standing: pod.as_ref().and_then(|pod| view.standing(pod)),
        place: pod
            .as_ref()
            .and_then(|name| cluster.pods.iter().position(|pod| pod.name == *name)),
        host: pod.is_none() && view.is_own_address(&addr),
        pod,
        addr,
        unsettled: matches!(owner, Owner::Unsettled),
    };
    End {
        role,
        addresses: vec![addr],
    }
}

impl End {
    /// Both with addresses of one family, the first they have in common.
    fn towards(self, other: Self) -> Option<(Role, Role)> {
        let mut pairs = self
            .addresses
            .iter()
            .flat_map(|own| other.addresses.iter().map(move |theirs| (*own, *theirs)));
        let (own, theirs) = pairs.find(|(own, theirs)| own.is_v4() == theirs.is_v4())?;
        let with = |role: Role, addr| Role { addr, ..role };
        Some((with(self.role, own), with(other.role, theirs)))
    }
}

impl Role {
    pub(super) fn party(&self) -> Party {
        Party {
            pod: self.place,
            addr: self.addr,
        }
    }

    pub(super) fn source(&self) -> Source {
        if self.host {
            Source::Host
        } else {
            Source::Party(self.party())
        }
    }

    /// The namespace of the pod; empty where it is none.
    pub(super) fn namespace(&self) -> &str {
        self.pod.as_ref().map_or("", |pod| &pod.namespace)
    }

    pub(super) fn answer(&self) -> EndAnswer {
        let recognised_by = match self.standing {
            _ if self.host => Sight::Host,
            Some(Standing::Here { .. }) => Sight::Cookie,
            _ => Sight::Address,
        };
        EndAnswer {
            pod: self.pod.as_ref().map(ToString::to_string),
            address: IpAddr::from(self.addr).to_string(),
            recognised_by,
            unsettled: self.unsettled,
        }
    }
}
