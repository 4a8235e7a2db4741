//! Network namespaces inside a pod: their sockets are nobody's, their packets the pod's.

use anyhow::{Context as _, Result, ensure};
use harness::probe::Protocol;
use harness::{Pod, Sandbox, require, require_root};

use crate::town::{Town, Version, at, confine, got_through, guard, nft, run};

/// A namespace in which nothing is yet. It has a place on the bridge like any pod, which is taken away.
fn empty(sandbox: &Sandbox) -> Result<Pod> {
    let pod = sandbox.pod("nested", &["10.0.7.7"])?;
    run(&pod.unenrolled(), "ip link set eth0 down")?;
    run(&pod.unenrolled(), "ip link set eth0 name old")?;
    Ok(pod)
}

/// Whether the nested namespace reaches the server.
fn reaches(town: &Town, protocol: Protocol, family: usize) -> Result<bool> {
    let nested = town.nested.as_ref().context("no nested namespace")?;
    // Its processes are the pod's, so they are in its cgroup.
    let inside = town.client.place().with_netns_of(nested.place());
    Ok(got_through(&town.attempt(
        &inside,
        protocol,
        at(&town.server, 80)[family],
    )))
}

fn both(town: Town, ways: &[crate::town::Way]) -> Result<()> {
    let (guard, confine) = (guard(), confine());
    let versions: [Version<'_>; 2] = [&[("shop/guard", &guard)], &[("shop/confine", &confine)]];
    town.closes(&versions, ways)
}

/// The pod gives its only interface away, addresses and all, and takes it back.
fn with_the_interface(town: &Town, protocol: Protocol, family: usize) -> Result<bool> {
    let nested = town.nested.as_ref().context("no nested namespace")?;
    let addresses = town.client.ips().iter().map(|ip| {
        let rest = if ip.is_ipv4() {
            "/16 dev eth0"
        } else {
            "/64 dev eth0 nodad"
        };
        format!("ip addr add {ip}{rest}")
    });
    let addresses: Vec<_> = addresses.collect();
    let hand = |from: &Pod, to: &Pod| -> Result<()> {
        let to_netns = format!("ip link set eth0 netns {}", to.netns().display());
        run(&from.unenrolled(), &to_netns)?;
        for line in &addresses {
            run(&to.unenrolled(), line)?;
        }
        run(&to.unenrolled(), "ip link set eth0 up").map(drop)
    };
    hand(&town.client, nested)?;
    let result = reaches(town, protocol, family);
    hand(nested, &town.client)?;
    result
}

#[test]
fn a_namespace_that_gets_the_pods_interface() -> Result<()> {
    require_root!();
    let mut town = Town::build("nested-eth0")?;
    town.nested = Some(empty(&town.sandbox)?);
    both(
        town,
        &[
            ("TCP", |town| with_the_interface(town, Protocol::Tcp, 0)),
            ("UDP", |town| with_the_interface(town, Protocol::Udp, 0)),
            ("SCTP", |town| with_the_interface(town, Protocol::Sctp, 0)),
            ("TCP over IPv6", |town| with_the_interface(town, Protocol::Tcp, 1)),
            ("UDP over IPv6", |town| with_the_interface(town, Protocol::Udp, 1)),
        ],
    )
}

/// Behind the pod, which forwards, as containers inside a pod are.
fn behind(test_name: &str) -> Result<Town> {
    let mut town = Town::build(test_name)?;
    let nested = empty(&town.sandbox)?;
    let client = town.client.unenrolled();
    let netns = nested.netns().display().to_string();
    run(
        &client,
        &format!("ip link add inner type veth peer name outer netns {netns}"),
    )?;
    run(&client, "ip addr add 10.99.0.1/24 dev inner")?;
    run(&client, "ip link set inner up")?;
    run(&nested.unenrolled(), "ip addr add 10.99.0.2/24 dev outer")?;
    run(&nested.unenrolled(), "ip link set outer up")?;
    run(&nested.unenrolled(), "ip route add 10.0.0.0/16 via 10.99.0.1")?;
    client.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?;
    town.nested = Some(nested);
    Ok(town)
}

#[test]
fn a_namespace_behind_the_pod() -> Result<()> {
    require_root!();
    require!(harness::require::program("nft"));
    let town = behind("nested-nat")?;
    let rules =
        "table ip nat { chain out { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }\n";
    let loaded = nft(&town.client.unenrolled(), &town.sandbox.run_dir(), rules);
    require!(loaded.map_err(|error| format!("masquerading in a pod: {error:#}")));
    both(
        town,
        &[
            ("TCP", |town| reaches(town, Protocol::Tcp, 0)),
            ("UDP", |town| reaches(town, Protocol::Udp, 0)),
            ("SCTP", |town| reaches(town, Protocol::Sctp, 0)),
        ],
    )
}

/// Nor with an address that is not the pod's, where the server knows the way back.
#[test]
fn a_namespace_behind_the_pod_with_its_own_address() -> Result<()> {
    require_root!();
    let town = behind("nested-routed")?;
    run(
        &town.server.unenrolled(),
        "ip route add 10.99.0.0/24 via 10.0.1.3",
    )?;
    ensure!(reaches(&town, Protocol::Udp, 0)?, "the way there is not laid");
    both(
        town,
        &[
            ("TCP", |town| reaches(town, Protocol::Tcp, 0)),
            ("UDP", |town| reaches(town, Protocol::Udp, 0)),
        ],
    )
}
