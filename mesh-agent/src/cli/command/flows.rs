//! `flows`: what happens to the flows of this node's pods, as it happens.

use std::io::{self, Write};

use mesh_common::names::denial;

use crate::{
    app::admin::FlowQuery,
    cli::{
        args::{Format, verb::FlowArgs},
        failure::Failure,
        node::Node,
        output::{document, unit},
        scope::Scope,
    },
    telemetry::{
        denial::Refusal,
        flow::{FlowRecord, PACKETS, Peer},
    },
};

/// `flows`. Writes line by line, since following has no end.
///
/// # Errors
/// Where the agent is not there or ends, or the output can't be written.
pub fn run(node: &Node, scope: &Scope, args: &FlowArgs, format: Format) -> Result<(), Failure> {
    let query = FlowQuery {
        follow: args.follow,
        last: args.last,
        verdict: args.verdict,
    };
    let filter = Filter::new(scope, args)?;
    let mut out = io::stdout().lock();
    let mut broken = None;
    node.agent.flows(&query, |line| {
        let written = match serde_json::from_str::<FlowRecord>(line) {
            Ok(record) if filter.wants(&record) => write_record(&mut out, &record, format),
            Ok(_) => Ok(()),
            // Not a flow: what the agent has to say about the stream itself.
            Err(_) => writeln!(io::stderr(), "meshctl: {line}"),
        };
        // A reader that goes away ends the stream and is no failure (`meshctl flows | head`).
        written.inspect_err(|error| broken = Some(error.kind())).is_ok()
    })?;
    match broken {
        None | Some(io::ErrorKind::BrokenPipe) => Ok(()),
        Some(kind) => Err(Failure::failed(format!("writing the flows: {kind}"))),
    }
}

fn write_record(out: &mut impl Write, record: &FlowRecord, format: Format) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", document::json_line("Flow", record)),
        Format::Yaml => write!(out, "---\n{}", document::yaml_item("Flow", record)),
        Format::Name => writeln!(out, "flow/{}", name(record)),
        Format::Table => writeln!(out, "{}", line(record)),
        Format::Wide => writeln!(out, "{}{}", line(record), wide(record)),
    }?;
    out.flush()
}

/// The cookie of the socket, or the ends of a flow that no socket told of.
fn name(record: &FlowRecord) -> String {
    let address = |peer: &Peer| {
        peer.address
            .map_or_else(|| "?".to_owned(), |address| address.to_string())
    };
    match record.cookie {
        0 => format!("{}-{}", address(&record.source), address(&record.destination)),
        cookie => cookie.to_string(),
    }
}

struct Filter {
    namespace: Option<String>,
    pod: Option<(String, String)>,
    service: Option<(String, String)>,
}

impl Filter {
    fn new(scope: &Scope, args: &FlowArgs) -> Result<Self, Failure> {
        let object =
            |kind, text: &Option<String>| text.as_ref().map(|text| scope.object(kind, text)).transpose();
        Ok(Self {
            namespace: scope.namespace().map(ToOwned::to_owned),
            pod: object("pod", &args.pod)?,
            service: object("service", &args.service)?,
        })
    }

    fn wants(&self, record: &FlowRecord) -> bool {
        let ends = [&record.source, &record.destination];
        let namespace = self.namespace.as_ref();
        let pod = self.pod.as_ref();
        let service = record.service.as_ref();
        namespace.is_none_or(|namespace| ends.iter().any(|end| end.namespace == *namespace))
            && pod.is_none_or(|(namespace, pod)| {
                ends.iter()
                    .any(|end| end.namespace == *namespace && end.pod == *pod)
            })
            && self.service.as_ref().is_none_or(|(namespace, name)| {
                service.is_some_and(|service| service.namespace == *namespace && service.name == *name)
            })
    }
}

/// One line for people.
fn line(record: &FlowRecord) -> String {
    let time = record
        .time
        .split_once('T')
        .map_or(record.time.as_str(), |(_, time)| time);
    let side = if record.reporter == "source" { "out" } else { "in" };
    let service = record.service.as_ref();
    let service =
        service.map(|service| format!(" ({}/{}:{})", service.namespace, service.name, service.port));
    let mut text = format!(
        "{time} {:<7} {:<3} {:<4} {} -> {}{}",
        record.event,
        side,
        record.protocol,
        end(&record.source, None),
        end(&record.destination, record.dialled),
        service.unwrap_or_default(),
    );
    if record.event == "closed" {
        let (sent, received) = (unit::bytes(record.bytes_sent), unit::bytes(record.bytes_received));
        let duration = unit::micros(record.duration_micros);
        text.extend([" sent ", &sent, " received ", &received, " in ", &duration]);
    }
    let reason = record.policy.as_ref().map_or_else(
        || Some(record.reason.clone()).filter(|reason| !reason.is_empty() && *reason != record.event),
        |refusal| Some(refused_by(refusal, &record.reason)),
    );
    let observed_by = Some("seen in packets".to_owned()).filter(|_| record.observed_by == PACKETS);
    let notes: Vec<String> = reason.into_iter().chain(observed_by).collect();
    if !notes.is_empty() {
        text.extend([" [", &notes.join(", "), "]"]);
    }
    text
}

/// Whose policies refused it, and where.
fn refused_by(refusal: &Refusal, reason: &str) -> String {
    let Refusal {
        direction,
        end,
        hook,
        policies,
        set,
    } = refusal;
    let place = match hook.as_str() {
        denial::LISTENER => "before the listener",
        denial::PACKET => "at the interface",
        _ => "at the socket",
    };
    let by = match (reason, policies.as_slice()) {
        (denial::NO_ROOM, _) => "no room for its rules".to_owned(),
        (denial::POLICY, []) => format!("rule set {set}"),
        (denial::POLICY, policies) => policies.join(", "),
        (other, _) => other.to_owned(),
    };
    format!("{direction} of the {end}, {place}: {by}")
}

fn wide(record: &FlowRecord) -> String {
    if let Some(refusal) = &record.policy {
        return format!(" set {}", refusal.set);
    }
    if record.observed_by == PACKETS {
        return format!(
            " datagrams {}/{}",
            record.datagrams_sent, record.datagrams_received
        );
    }
    let rtt = unit::micros(record.rtt_micros.into());
    format!(
        " segments {}/{} retransmits {} rtt {rtt} cookie {}",
        record.segments_sent, record.segments_received, record.retransmits, record.cookie
    )
}

/// The pod's name where it has one, else its address; what was dialled where there is no other end.
fn end(peer: &Peer, dialled: Option<std::net::SocketAddr>) -> String {
    let address = peer.address.or(dialled);
    let port = address.map_or(0, |address| address.port());
    match (peer.pod.as_str(), address) {
        ("", Some(address)) => address.to_string(),
        ("", None) => "?".to_owned(),
        (pod, _) if port == 0 => format!("{}/{pod}", peer.namespace),
        (pod, _) => format!("{}/{pod}:{port}", peer.namespace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::flow::ServiceRef;

    fn closed() -> FlowRecord {
        let peer = |pod: &str, address: &str| Peer {
            namespace: "shop".into(),
            pod: pod.into(),
            address: address.parse().ok(),
            attested_by: "cookie".into(),
        };
        FlowRecord {
            time: "2025-01-01T10:00:00.123Z".into(),
            event: "closed".into(),
            reason: "closed".into(),
            protocol: "TCP".into(),
            reporter: "source".into(),
            source: peer("client", "10.0.0.1:40000"),
            destination: peer("web-1", "10.0.0.2:8080"),
            dialled: "10.96.0.1:80".parse().ok(),
            service: Some(ServiceRef {
                namespace: "shop".into(),
                name: "web".into(),
                port: 80,
            }),
            bytes_sent: 100,
            bytes_received: 2_048,
            duration_micros: 1_500,
            cookie: 7,
            ..FlowRecord::default()
        }
    }

    #[test]
    fn a_connection_that_ended() {
        assert_eq!(
            line(&closed()),
            "10:00:00.123Z closed  out TCP  shop/client:40000 -> shop/web-1:8080 (shop/web:80) sent 100B received \
             2.0KiB in 1.500ms"
        );
    }

    #[test]
    fn a_refusal_shows_what_was_dialled() {
        let refused = FlowRecord {
            event: "refused".into(),
            reason: "no_endpoint".into(),
            source: Peer {
                address: None,
                ..closed().source
            },
            destination: Peer::default(),
            ..closed()
        };
        assert_eq!(
            line(&refused),
            "10:00:00.123Z refused out TCP  shop/client -> 10.96.0.1:80 (shop/web:80) [no_endpoint]"
        );
    }

    #[test]
    fn a_denial_names_the_policies_and_whose_they_are() {
        let refusal = Refusal {
            direction: "ingress".into(),
            end: "destination".into(),
            hook: "listener".into(),
            policies: vec!["shop/deny".into(), "shop/web".into()],
            set: 7,
        };
        let denied = FlowRecord {
            event: "denied".into(),
            reason: "policy".into(),
            reporter: "destination".into(),
            service: None,
            policy: Some(refusal.clone()),
            ..closed()
        };
        assert_eq!(
            line(&denied) + &wide(&denied),
            "10:00:00.123Z denied  in  TCP  shop/client:40000 -> shop/web-1:8080 [ingress of the destination, \
             before the listener: shop/deny, shop/web] set 7"
        );
        let at = |hook: &str, policies: &[&str], reason: &str| {
            let refusal = Refusal {
                hook: hook.into(),
                policies: policies.iter().map(ToString::to_string).collect(),
                ..refusal.clone()
            };
            refused_by(&refusal, reason)
        };
        for (hook, policies, reason, says) in [
            ("socket", &["shop/web"][..], "policy", "at the socket: shop/web"),
            ("socket", &[], "policy", "at the socket: rule set 7"),
            (
                "packet",
                &[],
                "no_room",
                "at the interface: no room for its rules",
            ),
            ("packet", &[], "spoofed", "at the interface: spoofed"),
        ] {
            assert_eq!(
                at(hook, policies, reason),
                format!("ingress of the destination, {says}")
            );
        }
    }

    #[test]
    fn a_udp_flow_says_where_it_was_seen() {
        let over = FlowRecord {
            reason: "idle".into(),
            protocol: "UDP".into(),
            observed_by: PACKETS.into(),
            datagrams_sent: 2,
            datagrams_received: 3,
            cookie: 0,
            ..closed()
        };
        assert_eq!(
            line(&over) + &wide(&over),
            "10:00:00.123Z closed  out UDP  shop/client:40000 -> shop/web-1:8080 (shop/web:80) sent 100B received \
             2.0KiB in 1.500ms [idle, seen in packets] datagrams 2/3"
        );
        let new = FlowRecord {
            event: "opened".into(),
            reason: String::new(),
            ..over
        };
        assert_eq!(
            line(&new),
            "10:00:00.123Z opened  out UDP  shop/client:40000 -> shop/web-1:8080 (shop/web:80) [seen in packets]"
        );
        assert_eq!(
            (name(&new), name(&closed())),
            ("10.0.0.1:40000-10.0.0.2:8080".into(), "7".into())
        );
    }

    #[test]
    fn filters_look_at_both_ends_and_the_service() {
        let filter = |namespace: Option<&str>, pod: Option<&str>, service: Option<&str>| Filter {
            namespace: namespace.map(Into::into),
            pod: pod.map(|pod| ("shop".into(), pod.into())),
            service: service.map(|service| ("shop".into(), service.into())),
        };
        assert!(filter(None, None, None).wants(&closed()));
        assert!(filter(Some("shop"), Some("web-1"), Some("web")).wants(&closed()));
        assert!(!filter(Some("other"), None, None).wants(&closed()));
        assert!(!filter(None, Some("web-2"), None).wants(&closed()));
        assert!(!filter(None, None, Some("cache")).wants(&closed()));
    }
}
