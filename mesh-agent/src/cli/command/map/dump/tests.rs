use std::path::Path;

use mesh_common::{
    abi::MAPS,
    addr::Port,
    service::{Algorithm, Region},
};

use super::*;
use crate::cli::held::sample;

fn line((key, value): (Fields, Fields)) -> String {
    format!("{key} -> {value}")
}

#[test]
fn what_the_agent_writes_is_in_words() {
    let held = sample::held();
    let addr = sample::addr("10.0.1.2");
    let lines = [
        line(pod(&held, 4_026, held.pods[&4_026])),
        line(pending(&held, 77, held.pending[&77])),
        line(workload(&held, addr, held.workloads[&addr])),
        line(frontend(
            &held,
            Frontend::new(addr, Port::new(80), Protocol::Udp),
            Tagged::new(2, 0, 0),
        )),
        line(service(
            &held,
            1,
            ServiceInfo {
                region: Region::new(8, 4, Algorithm::Maglev),
                affinity_seconds: 5,
                reserved: 0,
            },
        )),
        line(slot(
            &held,
            8,
            Slot {
                backend: 1,
                service: 1,
            },
        )),
        line(backend(&held, 5, held.backends[&5])),
        line(member(
            &held,
            Member {
                service: 1,
                backend: 2,
            },
            1,
        )),
        line(configuration(
            0,
            Config {
                abi: 1,
                flags: config::flag::DISABLED | config::flag::POLICED | config::flag::DENY_WITH_EPERM,
                generation: 3,
                policy: 7,
                ..Config::default()
            },
        )),
    ];
    assert_eq!(
        lines,
        [
            "netns=4026 -> pod=shop/client id=1 seed=0000abcd enteredMs=0",
            "cgroup=77 -> pod=shop/web-2 id=6 seed=00000009 closed=true",
            "address=10.0.1.2 -> pod=shop/web-0 id=2 local=false enrolled=true",
            "frontend=10.0.1.2:80 protocol=UDP -> service=shop/db id=2",
            "id=1 -> service=shop/web offset=8 slots=4 algorithm=maglev affinitySeconds=5",
            "slot=8 -> backend=1 address=10.0.1.2:8080 service=shop/web",
            "id=5 -> address=10.0.9.9:8080",
            "service=shop/web backend=2 -> address=10.0.1.3:8080",
            "index=0 -> abi=1 disabled=true watched=false pending=false policed=true denyWithEperm=true \
             policyGeneration=7 generation=3 writtenNs=0",
        ]
    );
}

#[test]
fn what_the_programs_write_is_in_words() {
    let held = sample::held();
    let (addr, port) = (sample::addr("10.0.1.2"), Port::new(53));
    let (local, remote) = (sample::addr("10.0.1.1"), addr);
    let lines = [
        line(affinity(
            &held,
            AffinityKey {
                netns: 4_026,
                service: 1,
                reserved: 0,
            },
            Affinity {
                last_ns: 9,
                backend: 1,
                reserved: 0,
            },
        )),
        line(udp_flow(
            &held,
            UdpFlowKey {
                socket: 7,
                service: 9,
                reserved: 0,
            },
            UdpFlow {
                backend: 5,
                reserved: 0,
            },
        )),
        line(udp_peer(
            &held,
            UdpPeerKey {
                socket: 7,
                addr,
                port,
                reserved: [0; 3],
            },
            UdpPeer {
                addr: local,
                port,
                reserved: 0,
                service: 9,
            },
        )),
        line(udp_service(
            &held,
            UdpServiceKey {
                netns: 4_026,
                addr,
                port,
                reserved: [0; 3],
            },
            9,
        )),
        line(traffic(
            &held,
            TrafficKey { pod: 1, service: 0 },
            Traffic {
                opened: 3,
                bytes_sent: 7,
                ..Traffic::default()
            },
        )),
        line(udp_traffic(
            &held,
            UdpKey {
                local,
                remote,
                local_port: port,
                remote_port: port,
                ifindex: 4,
            },
            UdpTraffic {
                sent_datagrams: 1,
                sent_bytes: 30,
                ..UdpTraffic::default()
            },
        )),
    ];
    assert_eq!(
        lines,
        [
            "netns=4026 pod=shop/client service=shop/web -> backend=1 address=10.0.1.2:8080 lastNs=9",
            "socket=7 service=id:9 -> backend=5 address=10.0.9.9:8080",
            "socket=7 peer=10.0.1.2:53 -> asked=10.0.1.1:53 service=id:9",
            "netns=4026 pod=shop/client peer=10.0.1.2:53 -> service=id:9",
            "pod=shop/client -> opened=3 closed=0 failed=0 bytesSent=7 bytesReceived=0",
            "ifindex=4 local=10.0.1.1:53 remote=10.0.1.2:53 -> pod=shop/client sentDatagrams=1 sentBytes=30 \
             receivedDatagrams=0 receivedBytes=0",
        ]
    );
    let mut counted = PacketTotals::default();
    counted.udp.sent_packets = 5;
    assert!(line(packets(4, counted)).contains("ifindex=4 -> tcpSentPackets=0"));
    assert!(line(packets(4, counted)).contains("udpSentPackets=5"));
}

#[test]
fn zero_elements_and_entries_told_twice_are_left_out() {
    let held = sample::held();
    let elements = vec![
        (0, Slot::default()),
        (
            1,
            Slot {
                backend: 1,
                service: 1,
            },
        ),
    ];
    let entries = used(elements, |index, value| slot(&held, index, value));
    assert_eq!(
        output::list(&entries, Format::Table).unwrap(),
        "KEY      VALUE\nslot=1   backend=1 address=10.0.1.2:8080 service=shop/web\n"
    );
    let pod_ref = held.pods[&4_026];
    let twice = shown(vec![(4_026, pod_ref), (7, pod_ref), (4_026, pod_ref)], |k, v| {
        pod(&held, k, v)
    });
    assert_eq!(twice.len(), 2);
    assert_eq!(
        output::list(&twice[..1], Format::Json).unwrap(),
        r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "MapEntryList",
  "items": [
    {
      "key": {
        "netns": 4026
      },
      "value": {
        "pod": "shop/client",
        "id": 1,
        "seed": "0000abcd",
        "enteredMs": 0
      }
    }
  ]
}
"#
    );
}

#[test]
fn every_map_is_read_as_itself_or_told_elsewhere() {
    let nowhere = Pins::new(Path::new("/nonexistent"));
    let read = |name| read(&nowhere, &sample::held(), Duration::ZERO, name);
    for spec in MAPS.iter().filter(|spec| elsewhere(spec.name).is_none()) {
        let error = read(spec.name).expect(spec.name).expect_err(spec.name);
        let sums = [map::TRAFFIC, map::PACKETS, map::UDP_TRAFFIC].contains(&spec.name);
        // The sums are opened together, the counters first.
        let expected = if sums { map::COUNTERS } else { spec.name };
        assert_eq!(error.map, expected);
    }
    assert!(read("ANOTHER").is_none());
}
