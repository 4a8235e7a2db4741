//! A service as kube-proxy makes it in its nftables mode: the address is translated by the node, in both
//! directions, for every packet of the connection.
//!
//! The rules are those of Kubernetes 1.33 for one Service with one endpoint per port, with the chains that every
//! packet of a new connection passes on its way. Answers have to pass the rules, too, or nobody translates them
//! back: the node's bridge shows them what it carries (`br_netfilter`, as Kubernetes asks of nodes with a bridge),
//! or, where the kernel can't, the server's route to the client leads through the node. The other nodes have no
//! rules and need neither.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use harness::Place;

use crate::side::{CLIENT, NODE, SERVER, SERVICE, Side};
use crate::workload::Workload;

/// Whether the bridge of a network namespace shows what it carries to the rules.
const BRIDGE_TO_RULES: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
/// The node must not tell the pods of the shorter way that the bridge is.
const REDIRECTS: [&str; 2] = [
    "/proc/sys/net/ipv4/conf/all/send_redirects",
    "/proc/sys/net/ipv4/conf/br0/send_redirects",
];

/// Makes the service on a node.
pub fn install(side: &Side) -> Result<()> {
    let node = side.sandbox.node();
    let file = side.sandbox.run_dir().join("kube-proxy.nft");
    fs::write(&file, rules()).with_context(|| file.display().to_string())?;
    run(&node, "nft", &["-f", &file.display().to_string()])?;
    if node.run(|| Path::new(BRIDGE_TO_RULES).exists()) {
        return node.run(|| write(BRIDGE_TO_RULES, "1"));
    }
    node.run(|| REDIRECTS.iter().try_for_each(|setting| write(setting, "0")))?;
    let (client, node) = (CLIENT.to_string(), NODE.to_string());
    run(
        side.server.place(),
        "ip",
        &["route", "add", &client, "via", &node, "dev", "eth0"],
    )
}

/// Makes the bridge of a node carry what it carries without showing it to rules, of which it has none.
pub fn without_rules(node: &Place) -> Result<()> {
    node.run(|| {
        if Path::new(BRIDGE_TO_RULES).exists() {
            write(BRIDGE_TO_RULES, "0")?;
        }
        Ok(())
    })
}

/// How many connections the kernel tracks at most.
pub fn most_connections() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok()?;
    text.trim().parse().ok()
}

fn rules() -> String {
    let (mut services, mut chains) = (String::new(), String::new());
    for workload in Workload::ALL {
        let port = workload.port();
        let (service, endpoint) = (
            format!("service-2QRHZV4L-shop/server/tcp/{workload}"),
            format!("endpoint-5OJB2KTY-shop/server/tcp/{workload}__{SERVER}/{port}"),
        );
        let _ = writeln!(services, "      {SERVICE} . tcp . {port} : goto {service},");
        let _ = write!(
            chains,
            r"
  chain {service} {{
    ip daddr {SERVICE} tcp dport {port} ip saddr != 10.0.0.0/16 jump mark-for-masquerade
    numgen random mod 1 vmap {{ 0 : goto {endpoint} }}
  }}
  chain {endpoint} {{
    ip saddr {SERVER} jump mark-for-masquerade
    meta l4proto tcp dnat to {SERVER}:{port}
  }}
"
        );
    }
    format!(
        r"table ip kube-proxy {{
  set cluster-ips {{ type ipv4_addr; elements = {{ {SERVICE} }}; }}
  set nodeport-ips {{ type ipv4_addr; elements = {{ {NODE} }}; }}
  map firewall-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map no-endpoint-services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map no-endpoint-nodeports {{ type inet_proto . inet_service : verdict; }}
  map service-nodeports {{ type inet_proto . inet_service : verdict; }}
  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {{
{services}    }}
  }}
  chain mark-for-masquerade {{ mark set mark or 0x4000; }}
  chain masquerading {{
    mark and 0x4000 == 0 return
    mark set mark xor 0x4000
    masquerade fully-random
  }}
  chain firewall-check {{ ip daddr . meta l4proto . th dport vmap @firewall-ips; }}
  chain service-endpoints-check {{ ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }}
  chain nodeport-endpoints-check {{ ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }}
  chain cluster-ips-check {{
    ip daddr @cluster-ips reject
    ip daddr 10.96.0.0/16 drop
  }}
  chain filter-prerouting-pre-dnat {{
    type filter hook prerouting priority dstnat - 10; policy accept;
    ct state new jump firewall-check
  }}
  chain filter-input {{
    type filter hook input priority -110; policy accept;
    ct state new jump nodeport-endpoints-check
    ct state new jump service-endpoints-check
  }}
  chain filter-forward {{
    type filter hook forward priority -110; policy accept;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }}
  chain filter-output {{
    type filter hook output priority -90; policy accept;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }}
  chain filter-output-pre-dnat {{
    type filter hook output priority -110; policy accept;
    ct state new jump firewall-check
  }}
  chain nat-prerouting {{ type nat hook prerouting priority dstnat; policy accept; jump services; }}
  chain nat-output {{ type nat hook output priority -100; policy accept; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority srcnat; policy accept; jump masquerading; }}
{chains}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }}
}}
"
    )
}

fn run(place: &Place, program: &str, args: &[&str]) -> Result<()> {
    let output = place.command(program).args(args).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {errors}", args.join(" "));
    Ok(())
}

/// `/proc/sys/net` shows the namespace of the thread that looks.
fn write(setting: &str, value: &str) -> Result<()> {
    fs::write(setting, value).with_context(|| setting.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_a_service_and_an_endpoint() {
        let rules = rules();
        for workload in Workload::ALL {
            let port = workload.port();
            assert!(
                rules.contains(&format!("{SERVICE} . tcp . {port} : goto")),
                "{rules}"
            );
            assert!(rules.contains(&format!("dnat to {SERVER}:{port}\n")), "{rules}");
        }
    }
}
