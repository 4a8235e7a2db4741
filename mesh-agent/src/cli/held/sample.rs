//! A small mesh for the tests of everything that is shown.

use std::net::IpAddr;

use mesh_common::{
    addr::{Addr, Port, Protocol},
    service::{Algorithm, Backend, Frontend, Region, ServiceInfo, Slot},
    tag::Tagged,
    workload::{PodRef, flag},
};

use super::Held;
use crate::{
    app::names::{Names, PodName, ServiceName, SetName, UnenrolledName, UntouchedName},
    model::op::Observed,
};

/// An address.
pub fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// `shop/web` (maglev, affinity, two backends), `shop/db` (nothing behind it), and a service (id 9) and a
/// pod (id 4) without a name.
pub fn held() -> Held {
    Held::new(observed(), names(), [(4_026, [11, 12].into())].into())
}

fn names() -> Names {
    let service = |name: &str, port, port_name: &str| ServiceName {
        namespace: "shop".into(),
        name: name.into(),
        port,
        port_name: port_name.into(),
        protocol: "TCP".into(),
        labels: (name == "web").then_some(2),
        ..ServiceName::default()
    };
    let web = ServiceName {
        app_protocol: "http".into(),
        types: [("192.0.2.7:80".parse().unwrap(), "LoadBalancer".into())].into(),
        ..service("web", 80, "http")
    };
    let db = ServiceName {
        local_only: true,
        ..service("db", 5432, "")
    };
    let dns = UntouchedName {
        service: ServiceName {
            protocol: "UDP".into(),
            ..service("dns", 53, "")
        },
        frontends: vec![
            "10.96.0.9:53".parse().unwrap(),
            "[fd00:96::9]:53".parse().unwrap(),
        ],
        why: "address of the host".into(),
    };
    let pod = |name: &str, netns: Option<&str>, labels| PodName {
        namespace: "shop".into(),
        name: name.into(),
        netns: netns.map(Into::into),
        labels,
        ..PodName::default()
    };
    let coming = PodName {
        cgroup: Some("/sys/fs/cgroup/kubepods/pod6".into()),
        ..pod("web-2", None, Some(0))
    };
    let isolated = SetName {
        direction: "ingress".into(),
        policies: vec!["shop/deny".into(), "shop/web".into()],
    };
    Names {
        node: "node-1".into(),
        cgroup: "/sys/fs/cgroup".into(),
        services: [(1, web), (2, db)].into(),
        untouched: vec![dns],
        workloads: [
            (1, pod("client", Some("/run/netns/client"), None)),
            (2, pod("web-0", None, Some(0))),
            (3, pod("web-1", None, Some(1))),
            (5, pod("legacy", None, Some(1))),
            (6, coming),
        ]
        .into(),
        unenrolled: vec![
            UnenrolledName {
                pod: pod("legacy", None, Some(1)),
                why: "other-mesh (istio-proxy)".into(),
            },
            UnenrolledName {
                pod: pod("probe", None, None),
                why: "host-network".into(),
            },
        ],
        policy_sets: [(5, isolated)].into(),
        label_sets: Some(
            ["app=web,track=stable", "app=web,track=canary", "team=shop"]
                .map(Into::into)
                .into(),
        ),
    }
}

fn observed() -> Observed {
    let frontend = |ip: &str, port, protocol, id| {
        (
            Frontend::new(addr(ip), Port::new(port), protocol),
            Tagged::new(id, 0, 0),
        )
    };
    let backend = |ip: &str, workload| Backend {
        addr: addr(ip),
        port: Port::new(8080),
        reserved: 0,
        workload,
    };
    let info = |region, affinity_seconds| ServiceInfo {
        region,
        affinity_seconds,
        reserved: 0,
    };
    let slot = |backend, service| Slot { backend, service };
    let workload = |ip: &str, id, flags| (addr(ip), Tagged::new(id, flags, 0));
    Observed {
        frontends: vec![
            frontend("192.0.2.7", 80, Protocol::Tcp, 1),
            frontend("10.96.0.10", 80, Protocol::Tcp, 1),
            frontend("fd00:96::20", 5432, Protocol::Tcp, 2),
            frontend("10.96.0.53", 53, Protocol::Udp, 9),
        ],
        services: vec![
            (1, info(Region::new(0, 4, Algorithm::Maglev), 10_800)),
            (2, info(Region::new(0, 0, Algorithm::Random), 0)),
            (9, info(Region::new(4, 1, Algorithm::Random), 0)),
        ],
        regions: vec![
            (0, vec![slot(1, 1), slot(1, 1), slot(1, 1), slot(2, 1)]),
            (4, vec![slot(5, 9)]),
        ],
        backends: vec![
            (1, backend("10.0.1.2", 2)),
            (2, backend("10.0.1.3", 3)),
            (5, backend("10.0.9.9", 0)),
        ],
        members: vec![],
        workloads: vec![
            workload("10.0.1.1", 1, flag::LOCAL | flag::ENROLLED),
            workload("fd00::1:1", 1, flag::LOCAL | flag::ENROLLED),
            workload("10.0.1.2", 2, flag::ENROLLED),
            workload("10.0.1.3", 3, 0),
            workload("10.0.1.4", 4, flag::LOCAL | flag::ENROLLED),
            workload("10.0.1.5", 5, flag::LOCAL),
        ],
        pods: vec![
            (
                4_026,
                PodRef {
                    workload: Tagged::new(1, 0, 0),
                    seed: 0xabcd,
                    entered_ms: 0,
                },
            ),
            (
                4_027,
                PodRef {
                    workload: Tagged::new(4, 0, 0),
                    seed: 7,
                    entered_ms: 0,
                },
            ),
        ],
        pending: vec![(
            77,
            PodRef {
                workload: Tagged::new(6, flag::CLOSED, 0),
                seed: 9,
                entered_ms: 0,
            },
        )],
        touched: None,
    }
}
