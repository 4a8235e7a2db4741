use mesh_common::addr::Port;

use super::*;
use crate::cli::held::sample::{self, addr};

fn line((key, value): (Fields, Fields)) -> String {
    format!("{key} -> {value}")
}

fn said(set: u32, protocol: u8, port: u16, length: u8) -> String {
    let key = PolicyKey::new(set, 3, protocol, Port::new(port), length);
    line(rule(&sample::held(), key, key.allowing(7)))
}

#[test]
fn rules_name_their_policies_and_ports() {
    let held = sample::held();
    let listing = PolicyKey::listing(5, 3);
    let lines = [
        said(5, 6, 80, 16),
        said(5, 17, 8_080, 12),
        said(5, 132, 0, 0),
        said(9, 47, 0, 0),
        line(rule(&held, listing, listing.of_lengths(0b10011))),
    ];
    assert_eq!(
        lines,
        [
            "set=5 class=3 protocol=TCP ports=80 -> rule=7 allow=true direction=ingress \
             policies=shop/deny,shop/web",
            "set=5 class=3 protocol=UDP ports=8080-8095 -> rule=7 allow=true direction=ingress \
             policies=shop/deny,shop/web",
            "set=5 class=3 protocol=SCTP ports=all -> rule=7 allow=true direction=ingress \
             policies=shop/deny,shop/web",
            "set=9 class=3 protocol=others ports=all -> rule=7 allow=true",
            "set=5 class=3 listing=true -> prefixLengths=16,12,0 direction=ingress \
             policies=shop/deny,shop/web",
        ]
    );
}

#[test]
fn what_pods_and_addresses_are_to_policies_is_in_words() {
    let held = sample::held();
    let v4 = addr("10.0.1.1");
    let both = [v4, addr("fd00::1:1")];
    let prefix = |text, length| CidrKey {
        length,
        addr: addr(text),
    };
    let judged = PodRules::new(1, [5, NOTHING], rules::flag::AUDIT, [3, 4], both);
    let open = PodRules::new(4, [OPEN, OPEN], 0, [0, 9], [v4, Addr::default()]);
    let lines = [
        line(class(&held, v4, Tagged::new(3, 0, 0))),
        line(cidr(prefix("10.1.0.0", 96 + 16), 8)),
        line(cidr(prefix("fd00::", 64), 2)),
        line(cidr(prefix("::", 0), 1)),
        line(pod_rules(&held, 1, judged)),
        line(pod_rules(&held, 4, open)),
        line(source(&held, SourceKey::new(1, addr("192.0.2.0"), 96 + 24))),
        line(interface(&held, 70, InterfaceSlot::new(12, 2, flag::CLOSED))),
    ];
    assert_eq!(
        lines,
        [
            "address=10.0.1.1 -> pod=shop/client class=3",
            "prefix=10.1.0.0/16 -> class=8",
            "prefix=fd00::/64 -> class=2",
            "prefix=::/0 -> class=1",
            "pod=shop/client id=1 -> ingress=5 ingressPolicies=shop/deny,shop/web egress=nothing audit=true \
             addresses=10.0.1.1,fd00::1:1 classes=3,4",
            "pod=id:4 id=4 -> ingress=open egress=open audit=false addresses=10.0.1.1 classes=0",
            "pod=shop/client id=1 prefix=192.0.2.0/24 -> allowed=true",
            "place=70 ifindex=12 -> pod=shop/web-0 id=2 closed=true",
        ]
    );
}
