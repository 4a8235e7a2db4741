use std::sync::Arc;

use mesh_common::accel::Moved;
use mesh_common::packet::PacketCount;
use mesh_common::sock::{SockState, flag};

use super::*;
use crate::{
    model::desired::ObjectName,
    telemetry::{
        accounting::Growth,
        names::{Interface, Pod, Service, Workload},
    },
};

/// `shop/web-0` (workload 1, interface 7) and `shop/db-0` (workload 2); service 9 is `shop/web`.
fn names() -> Directory {
    let pod = |name: &str, workload: &str| Pod {
        name: name.into(),
        workload: Arc::new(Workload {
            namespace: "shop".into(),
            name: workload.into(),
            app: "a".into(),
            version: "v1".into(),
            canonical_service: "c".into(),
            canonical_revision: "r".into(),
        }),
    };
    let service = Service {
        name: Arc::new(ObjectName::new("shop", "web")),
        port: 80,
    };
    Directory {
        pods: [(1, pod("web-0", "web")), (2, pod("db-0", "db"))].into(),
        services: [(9, service)].into(),
        interfaces: [(7, Interface { pod: 1, netns: 4 })].into(),
        ..Directory::default()
    }
}

fn add(metrics: &Metrics, names: &Directory, happen: impl FnOnce(&mut Tally)) {
    let mut tally = Tally::default();
    happen(&mut tally);
    metrics.add(tally, names);
}

fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.render();
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    let mut lines: Vec<String> = lines.map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn tcp_series_have_istios_names_and_labels() {
    let metrics = Metrics::default();
    let sock = SockState {
        pod: 1,
        peer: 2,
        service: 9,
        ..SockState::default()
    };
    let growth = Growth {
        first: true,
        sent: 3,
        received: 4,
        redirected_sent: Moved {
            messages: 1,
            bytes: 2,
        },
        redirected_received: Moved::default(),
    };
    add(&metrics, &names(), |tally| tally.closed(&sock, growth));
    let labels = "{reporter=\"source\",source_workload=\"web\",source_workload_namespace=\"shop\",\
        source_principal=\"unknown\",source_app=\"a\",source_version=\"v1\",source_canonical_service=\"c\",\
        source_canonical_revision=\"r\",destination_workload=\"db\",destination_workload_namespace=\"shop\",\
        destination_principal=\"unknown\",destination_app=\"a\",destination_version=\"v1\",\
        destination_canonical_service=\"c\",destination_canonical_revision=\"r\",\
        destination_service=\"web.shop.svc.cluster.local\",destination_service_name=\"web\",\
        destination_service_namespace=\"shop\",request_protocol=\"tcp\",response_flags=\"-\",\
        connection_security_policy=\"none\"}";
    for (name, value) in [
        ("istio_tcp_connections_opened_total", 1),
        ("istio_tcp_connections_closed_total", 1),
        ("mesh_tcp_connections_failed_total", 0),
        ("mesh_redirected_sent_messages_total", 0),
        ("mesh_redirected_received_messages_total", 1),
        ("mesh_redirected_received_bytes_total", 2),
        ("istio_tcp_sent_bytes_total", 4),
        ("istio_tcp_received_bytes_total", 3),
    ] {
        assert_eq!(lines(&metrics, name), [format!("{name}{labels} {value}")]);
    }
    let accepted = SockState {
        flags: flag::PASSIVE,
        peer: 77,
        service: 0,
        ..sock
    };
    add(&metrics, &names(), |tally| tally.failed(&accepted));
    let failed = lines(&metrics, "mesh_tcp_connections_failed_total").remove(0);
    assert!(
        failed.contains(
            "reporter=\"destination\",source_workload=\"unknown\",source_workload_namespace=\"unknown\""
        ) && failed.contains("destination_workload=\"web\"")
            && failed.contains("destination_service=\"unknown\",destination_service_name=\"unknown\""),
        "{failed}"
    );
}

fn packets(sent: u64) -> PacketTotals {
    PacketTotals {
        tcp: PacketCount {
            sent_packets: sent,
            sent_bytes: sent * 100,
            ..PacketCount::default()
        },
        ..PacketTotals::default()
    }
}

/// TCP packets the pod sent.
fn sent(metrics: &Metrics) -> Vec<String> {
    let lines = lines(metrics, "mesh_packets_total").into_iter();
    lines
        .filter(|line| line.contains("\"tcp\",direction=\"sent\""))
        .collect()
}

#[test]
fn packets_count_on_when_an_interface_is_made_anew() {
    let mut metrics = Metrics::default();
    let value = |count: u64| {
        [format!(
            "mesh_packets_total{{namespace=\"shop\",pod=\"web-0\",protocol=\"tcp\",direction=\"sent\"}} {count}"
        )]
    };
    metrics.packets(&[(7, packets(100))], &names());
    metrics.packets(&[(7, packets(100))], &names());
    assert_eq!(sent(&metrics), value(100));
    // Again under the same index, and then under another.
    metrics.packets(&[(7, packets(5))], &names());
    assert_eq!(sent(&metrics), value(105));
    let moved = Directory {
        interfaces: [(8, Interface { pod: 1, netns: 4 })].into(),
        ..names()
    };
    metrics.packets(&[(8, packets(3))], &moved);
    metrics.packets(&[(8, packets(4))], &moved);
    assert_eq!(sent(&metrics), value(109));
    metrics.packets(&[(7, packets(2))], &names());
    assert_eq!(
        sent(&metrics),
        value(111),
        "an index that was gone starts from nothing"
    );
}

#[test]
fn packets_of_a_pod_that_is_not_known_yet_are_told_once_it_is() {
    let mut metrics = Metrics::default();
    metrics.packets(&[(7, packets(9))], &Directory::default());
    assert_eq!(sent(&metrics), [""; 0]);
    metrics.packets(&[(7, packets(10))], &names());
    assert!(sent(&metrics)[0].ends_with(" 10"));
}

#[test]
fn an_interface_that_goes_to_another_pod_brings_it_nothing() {
    let mut metrics = Metrics::default();
    metrics.packets(&[(7, packets(100))], &names());
    let passed_on = Directory {
        interfaces: [(7, Interface { pod: 2, netns: 5 })].into(),
        ..names()
    };
    metrics.packets(&[(7, packets(6))], &passed_on);
    let sent = sent(&metrics);
    assert!(
        sent[0].contains("pod=\"db-0\"") && sent[0].ends_with(" 6"),
        "{sent:?}"
    );
    assert!(
        sent[1].contains("pod=\"web-0\"") && sent[1].ends_with(" 100"),
        "{sent:?}"
    );
}

#[test]
fn every_kernel_counter_is_told_by_its_kind() {
    let mut metrics = Metrics::default();
    let reading =
        |extra: u64| KernelCounter::ALL.map(|(counter, _)| (counter, u64::from(counter as u32) + 10 + extra));
    metrics.kernel(&reading(0));
    metrics.kernel(&reading(5));
    let text = metrics.render();
    for line in [
        "mesh_verdicts_total{verdict=\"translated\",reason=\"connect\",direction=\"egress\"} 15",
        "mesh_verdicts_total{verdict=\"refused\",reason=\"no_endpoint\",direction=\"egress\"} 16",
        "mesh_verdicts_total{verdict=\"translated\",reason=\"datagram\",direction=\"egress\"} 17",
        "mesh_verdicts_total{verdict=\"refused\",reason=\"datagram_no_endpoint\",direction=\"egress\"} 18",
        "mesh_verdicts_total{verdict=\"refused\",reason=\"inconsistent\",direction=\"egress\"} 20",
        "mesh_verdicts_total{verdict=\"refused\",reason=\"pending\",direction=\"egress\"} 25",
        "mesh_verdicts_total{verdict=\"allowed\",reason=\"policy\",direction=\"egress\"} 26",
        "mesh_verdicts_total{verdict=\"allowed\",reason=\"policy\",direction=\"ingress\"} 27",
        "mesh_verdicts_total{verdict=\"denied\",reason=\"policy\",direction=\"egress\"} 28",
        "mesh_verdicts_total{verdict=\"denied\",reason=\"policy\",direction=\"ingress\"} 29",
        "mesh_verdicts_total{verdict=\"audited\",reason=\"policy\",direction=\"egress\"} 30",
        "mesh_verdicts_total{verdict=\"audited\",reason=\"policy\",direction=\"ingress\"} 31",
        "mesh_losses_total{reason=\"storage_full\"} 21",
        "mesh_events_lost_total 22",
        "mesh_losses_total{reason=\"traffic_full\"} 23",
        "mesh_losses_total{reason=\"udp_traffic_full\"} 24",
        "mesh_verdicts_total{verdict=\"denied\",reason=\"spoofed\",direction=\"egress\"} 32",
        "mesh_verdicts_total{verdict=\"denied\",reason=\"stray\",direction=\"ingress\"} 33",
        "mesh_verdicts_total{verdict=\"denied\",reason=\"unreadable\",direction=\"egress\"} 34",
        "mesh_verdicts_total{verdict=\"denied\",reason=\"unreadable\",direction=\"ingress\"} 35",
        "mesh_verdicts_total{verdict=\"allowed\",reason=\"icmp\",direction=\"egress\"} 36",
        "mesh_verdicts_total{verdict=\"allowed\",reason=\"icmp\",direction=\"ingress\"} 37",
        "mesh_losses_total{reason=\"flow_quota\"} 38",
        "mesh_losses_total{reason=\"event_quota\"} 39",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}

#[test]
fn policies_are_counted() {
    let metrics = Metrics::default();
    metrics.policies(PolicyCounts {
        policies: 3,
        enforced: 12,
        unenforced: 1,
        audited: 2,
        problems: 4,
    });
    let text = metrics.render();
    for line in [
        "mesh_policies 3",
        "mesh_policy_pods{enforced=\"true\"} 12",
        "mesh_policy_pods{enforced=\"false\"} 1",
        "mesh_policy_audited_namespaces 2",
        "mesh_policy_problems 4",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
}

#[test]
fn churn_leaves_no_series_behind_and_live_ones_keep_their_value() {
    let mut metrics = Metrics::default();
    let sock = |pod, peer| SockState {
        pod,
        peer,
        service: 9,
        ..SockState::default()
    };
    let first = Growth {
        first: true,
        ..Growth::default()
    };
    let parties = Parties {
        pod: 1,
        peer: 2,
        service: 9,
        client: true,
    };
    metrics.packets(&[(7, packets(1))], &names());
    metrics.udp(parties, [1, 1, 1, 1], &names());
    add(&metrics, &names(), |tally| tally.grown(&sock(1, 2), first));
    add(&metrics, &names(), |tally| tally.grown(&sock(1, 0), first));
    let mut without_db = names();
    without_db.pods.remove(&2);
    let opened = |metrics: &Metrics| lines(metrics, "istio_tcp_connections_opened_total").len();
    metrics.sweep(Duration::from_secs(1), &without_db);
    assert_eq!(
        (opened(&metrics), lines(&metrics, "mesh_udp_bytes_total").len()),
        (2, 2)
    );
    metrics.sweep(Duration::from_secs(1) + KEEP, &without_db);
    assert_eq!(
        (opened(&metrics), lines(&metrics, "mesh_udp_bytes_total").len()),
        (1, 0)
    );
    assert_eq!(sent(&metrics).len(), 1, "the pod that sent them is there");
    for number in 0..1_000_u64 {
        let mut names = names();
        let workload = Workload {
            namespace: "shop".into(),
            name: format!("job-{number}"),
            ..Workload::default()
        };
        let pod = Pod {
            name: format!("job-{number}-x").into(),
            workload: Arc::new(workload),
        };
        names.pods.insert(3, pod);
        add(&metrics, &names, |tally| tally.grown(&sock(1, 3), first));
        metrics.sweep(KEEP * 2 + Duration::from_secs(number), &names);
    }
    // One a second, each gone after a second and kept ten minutes; and the one to nobody known.
    assert_eq!(opened(&metrics), usize::try_from(KEEP.as_secs()).unwrap() + 2);
}
