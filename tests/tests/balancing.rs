//! Which backend is chosen: at random, by hash or by affinity, out of which endpoints, and how soon changes
//! are seen.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::agent::NODE_NAME;
use harness::manifest::{self, Endpoint, Manifest, Port};
use harness::scene::{self, NAMESPACE, PORT, Shop, UNTOUCHED, all_vips, vips};
use harness::traffic::{ask_tcp, ask_udp_unconnected};
use harness::{Pod, Spread, patient, require_root, until};

const SOON: Duration = Duration::from_secs(3);
/// What a refusal, and a change in the tables, may take.
const AT_ONCE: Duration = Duration::from_millis(50);

fn ports() -> [Port; 2] {
    [
        Port::tcp(80).to(PORT).named("tcp"),
        Port::udp(80).to(PORT).named("udp"),
    ]
}

fn vip() -> SocketAddr {
    vips(10, 80)[0]
}

fn ask(client: &Pod, addr: SocketAddr) -> Result<String> {
    let answer = client.run(|| ask_tcp(addr));
    Ok(answer.with_context(|| format!("asking {addr}"))?.name)
}

/// Who answers over UDP, on a new socket.
fn ask_udp(client: &Pod, addr: SocketAddr) -> Result<String> {
    let any: SocketAddr = if addr.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let answer = client.run(|| ask_udp_unconnected(&UdpSocket::bind(any)?, addr));
    Ok(answer.with_context(|| format!("asking {addr} over UDP"))?.name)
}

/// Who answers how often.
fn spread(client: &Pod, addr: SocketAddr, count: u32) -> io::Result<Spread> {
    client.run(|| Spread::ask(count, || ask_tcp(addr).map(|answer| answer.name)))
}

/// Waits until exactly these answer, and checks that they do evenly.
#[track_caller]
fn settles(client: &Pod, addr: SocketAddr, names: &[&str]) {
    let mut last = String::from("nobody");
    let settled = until(SOON, || match spread(client, addr, 50) {
        Ok(spread) => {
            last = spread.to_string();
            spread.names().eq(names.iter().copied())
        }
        Err(error) => {
            last = error.to_string();
            false
        }
    });
    assert!(settled, "{addr} is answered by {last} instead of {names:?}");
    let spread = spread(client, addr, 150).expect("endpoints that answer");
    spread.assert_even(names);
}

/// Waits until nobody answers, and checks that this is said at once.
#[track_caller]
fn refuses(client: &Pod, addr: SocketAddr) {
    let refusal = || {
        client.run(|| {
            let start = Instant::now();
            let kind = ask_tcp(addr).map_err(|error| error.kind());
            (kind.err() == Some(ErrorKind::ConnectionRefused)).then(|| start.elapsed())
        })
    };
    assert!(until(SOON, || refusal().is_some()), "{addr} is still answered");
    // The shortest of some: how long the refusal itself takes, on a busy machine, too.
    let times: Option<Vec<_>> = (0..3).map(|_| refusal()).collect();
    let best = times.and_then(|times| times.into_iter().min());
    assert!(
        best.is_some_and(|best| best < patient(AT_ONCE)),
        "refusing took {best:?}"
    );
}

/// A slice of `web` with IPv4 endpoints.
fn slice(shop: &Shop, name: &str, endpoints: &[Endpoint]) -> Result<()> {
    let slice = manifest::endpoint_slice(NAMESPACE, "web", name, &ports(), endpoints);
    shop.sandbox.manifests().apply(&slice.set("addressType", "IPv4"))
}

fn ready(shop: &Shop, name: &str) -> Endpoint {
    Endpoint::ready(shop.backend(name).v4()).of(NAMESPACE, name)
}

#[test]
fn random_is_even_and_told_nothing_else() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3", "web-4"];
    let shop = Shop::open("random", &names)?;
    let random = scene::service("web", 10, &ports()).annotation("mesh-agent.io/load-balancing", "random");
    shop.sell_as(&random, "web", &ports(), &names)?;
    shop.sell("default", 20, &ports(), &names)?;
    let _agent = shop.start()?;
    for number in [10, 20] {
        for vip in all_vips(number, 80) {
            let spread = spread(&shop.client, vip, 200)?;
            spread.assert_even(&names);
        }
    }
    // One draw says nothing about the next: with four backends, a quarter repeats.
    let mut same = Spread::default();
    let mut last = ask(&shop.client, vip())?;
    for _ in 0..400 {
        let next = ask(&shop.client, vip())?;
        same.add(if next == last { "same" } else { "other" });
        last = next;
    }
    same.assert_shares(&[("same", 0.25), ("other", 0.75)]);
    Ok(())
}

// Maglev

/// Services with the same backends, all with consistent hashing; their numbers begin at 100.
fn hashed(test_name: &str, services: u8, backends: &[&str]) -> Result<Shop> {
    let shop = Shop::open(test_name, backends)?;
    for number in 100..100 + services {
        let name = format!("web-{number}");
        let service = scene::service(&name, number, &ports());
        let service = service.annotation("mesh-agent.io/load-balancing", "maglev");
        shop.sell_as(&service, &name, &ports(), backends)?;
    }
    Ok(shop)
}

/// Who serves a client, by frontend: every service in both families.
fn assignment(client: &Pod, services: u8) -> Result<BTreeMap<SocketAddr, String>> {
    client.run(|| {
        let all = (100..100 + services).flat_map(|number| vips(number, 80));
        all.map(|addr| Ok((addr, ask_tcp(addr).with_context(|| addr.to_string())?.name)))
            .collect()
    })
}

#[test]
fn maglev_keeps_a_client_at_its_backend() -> Result<()> {
    require_root!();
    let shop = hashed("maglev-keep", 2, &["web-1", "web-2", "web-3"])?;
    let mut agent = shop.start()?;
    let mut kept = Vec::new();
    for vip in [all_vips(100, 80), all_vips(101, 80)].concat() {
        let first = ask(&shop.client, vip)?;
        assert_eq!(spread(&shop.client, vip, 60)?.count(&first), 60, "{vip}");
        kept.push((vip, first.clone()));
        // UDP is another frontend, but no less faithful.
        let first = ask_udp(&shop.client, vip)?;
        for _ in 0..20 {
            assert_eq!(ask_udp(&shop.client, vip)?, first, "{vip}, UDP");
        }
    }
    // An IPv4-mapped address is the same frontend.
    assert_eq!(kept[0].1, kept[2].1);
    agent.restart()?;
    for (vip, name) in kept {
        assert_eq!(ask(&shop.client, vip)?, name, "{vip} after a restart");
    }
    Ok(())
}

#[test]
fn maglev_spreads_clients_and_services() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3"];
    let services = 20;
    let shop = hashed("maglev-spread", services, &names)?;
    let mut clients = vec![shop.client.clone()];
    for number in 1..=9 {
        clients.push(shop.another_client(number)?);
    }
    let _agent = shop.start()?;
    let all = clients.iter().map(|client| assignment(client, services));
    let all = all.collect::<Result<Vec<_>>>()?;
    all.iter()
        .flat_map(BTreeMap::values)
        .cloned()
        .collect::<Spread>()
        .assert_even(&names);
    // Ten clients of one frontend all get the same backend once in 20,000 times.
    let several = |addr: &&SocketAddr| {
        let backends: BTreeSet<_> = all.iter().map(|assignment| &assignment[*addr]).collect();
        backends.len() > 1
    };
    let (several, frontends) = (all[0].keys().filter(several).count(), all[0].len());
    assert!(
        several + 2 >= frontends,
        "clients differ for only {several} of {frontends} frontends"
    );
    Ok(())
}

#[test]
fn maglev_moves_few_when_an_endpoint_goes() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3", "web-4", "web-5"];
    let services = 50;
    let shop = hashed("maglev-few", services, &names)?;
    let _agent = shop.start()?;
    let before = assignment(&shop.client, services)?;
    before.values().cloned().collect::<Spread>().assert_even(&names);
    let staff = |names: &[&str]| {
        (100..100 + services).try_for_each(|number| shop.staff(&format!("web-{number}"), &ports(), names))
    };
    staff(&["web-1", "web-2", "web-4", "web-5"])?;
    let mut after = BTreeMap::new();
    let gone = until(SOON, || {
        after = assignment(&shop.client, services).unwrap_or_default();
        !after.is_empty() && after.values().all(|name| name != "web-3")
    });
    assert!(gone, "{after:?}");
    let others = before.iter().filter(|(_, name)| *name != "web-3");
    let (moved, stayed): (Vec<_>, Vec<_>) = others.partition(|(addr, name)| after[*addr] != **name);
    println!(
        "{} of {} moved without need",
        moved.len(),
        moved.len() + stayed.len()
    );
    // A table of random draws would move three of four.
    assert!(
        moved.len() * 6 < stayed.len(),
        "{} moved, {} stayed",
        moved.len(),
        stayed.len()
    );
    // It comes back, and so does everyone.
    staff(&names)?;
    let back = || assignment(&shop.client, services).is_ok_and(|now| now == before);
    assert!(until(SOON, back), "not as before");
    Ok(())
}

// Affinity

/// A service whose clients keep their backends.
fn faithful(name: &str, number: u8, seconds: Option<u32>) -> Manifest {
    let service = scene::service(name, number, &ports()).set("spec.sessionAffinity", "ClientIP");
    match seconds {
        Some(seconds) => service.set("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds),
        None => service,
    }
}

#[test]
fn affinity_keeps_a_client_at_its_backend() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3", "web-4"];
    let shop = Shop::open("affinity", &names)?;
    let numbers = 100..116;
    for number in numbers.clone() {
        let name = format!("web-{number}");
        shop.sell_as(&faithful(&name, number, None), &name, &ports(), &names)?;
    }
    let clients = [
        shop.client.clone(),
        shop.another_client(1)?,
        shop.another_client(2)?,
    ];
    let _agent = shop.start()?;
    let mut all = Spread::default();
    for number in numbers {
        for client in &clients {
            for vip in vips(number, 80) {
                let first = ask(client, vip)?;
                assert_eq!(
                    spread(client, vip, 10)?.count(&first),
                    10,
                    "{vip} from {}",
                    client.name()
                );
                all.add(first);
                let first = ask_udp(client, vip)?;
                assert!(
                    (0..4).all(|_| ask_udp(client, vip).is_ok_and(|it| it == first)),
                    "{vip}, UDP"
                );
                all.add(first);
            }
        }
    }
    println!("backends of all clients: {all}");
    // All clients and services may share one's draw for TCP and UDP, so this is no count of single draws.
    assert!(all.names().eq(names), "{all}");
    Ok(())
}

#[test]
fn every_client_has_an_affinity_of_its_own() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2"];
    let shop = Shop::open("own-affinity", &names)?;
    let numbers = 100..160;
    for number in numbers.clone() {
        let name = format!("web-{number}");
        shop.sell_as(&faithful(&name, number, None), &name, &ports(), &names)?;
    }
    let other = shop.another_client(1)?;
    let _agent = shop.start()?;
    let (mut equal, mut first) = (Spread::default(), Spread::default());
    for number in numbers {
        let vip = vips(number, 80)[0];
        let both = [ask(&shop.client, vip)?, ask(&other, vip)?];
        assert_eq!([ask(&shop.client, vip)?, ask(&other, vip)?], both);
        equal.add(if both[0] == both[1] { "equal" } else { "different" });
        first.add(both[0].clone());
    }
    equal.assert_even(&["equal", "different"]);
    first.assert_even(&names);
    Ok(())
}

#[test]
fn affinity_ends_with_its_time_out() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3", "web-4"];
    let shop = Shop::open("time-out", &names)?;
    let numbers = 100..160;
    for number in numbers.clone() {
        let name = format!("web-{number}");
        shop.sell_as(&faithful(&name, number, Some(1)), &name, &ports(), &names)?;
    }
    let _agent = shop.start()?;
    let draw = || -> Result<Vec<String>> {
        shop.client.run(|| {
            let ask = |number| Ok(ask_tcp(vips(number, 80)[0])?.name);
            numbers.clone().map(ask).collect()
        })
    };
    let (mut used, mut first) = (Instant::now(), draw()?);
    // Every use begins the second anew. On a busy machine the second may be over before its time.
    let mut kept = 0;
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(550));
        let (start, again) = (Instant::now(), draw()?);
        if used.elapsed() < Duration::from_millis(950) {
            assert_eq!(again, first);
            kept += 1;
        }
        (used, first) = (start, again);
        if kept == 2 {
            break;
        }
    }
    assert_eq!(
        kept, 2,
        "the machine is too busy to keep up with a time-out of a second"
    );
    thread::sleep(Duration::from_millis(1100));
    let changes = draw()?.into_iter().zip(first);
    let changes = changes.map(|(new, old)| if new == old { "same" } else { "new" });
    changes
        .collect::<Spread>()
        .assert_shares(&[("same", 0.25), ("new", 0.75)]);
    Ok(())
}

#[test]
fn affinity_lasts_as_long_as_its_endpoint() -> Result<()> {
    require_root!();
    let shop = Shop::open("endpoint", &["web-1", "web-2", "web-3", "web-4"])?;
    let web = faithful("web", 10, Some(600));
    shop.sell_as(&web, "web", &ports(), &["web-1", "web-2"])?;
    shop.sell("mirror", 20, &ports(), &["web-1", "web-2"])?;
    let _agent = shop.start()?;
    for vip in vips(10, 80) {
        let first = ask(&shop.client, vip)?;
        let datagrams = ask_udp(&shop.client, vip)?;
        // The mirror tells when the change is there.
        let change = |names: &[&str]| -> Result<()> {
            shop.staff("web", &ports(), names)?;
            shop.staff("mirror", &ports(), names)?;
            settles(&shop.client, vips(20, 80)[0], names);
            Ok(())
        };
        change(&["web-1", "web-2", "web-3", "web-4"])?;
        assert_eq!(spread(&shop.client, vip, 40)?.count(&first), 40, "more endpoints");
        assert_eq!(ask_udp(&shop.client, vip)?, datagrams);
        let rest: Vec<_> = ["web-1", "web-2", "web-3", "web-4"]
            .into_iter()
            .filter(|name| *name != first)
            .collect();
        change(&rest)?;
        let second = ask(&shop.client, vip)?;
        assert_ne!(second, first, "its endpoint is gone");
        assert_eq!(
            spread(&shop.client, vip, 40)?.count(&second),
            40,
            "another affinity"
        );
        change(&["web-1", "web-2", "web-3", "web-4"])?;
        assert_eq!(
            spread(&shop.client, vip, 40)?.count(&second),
            40,
            "the first one is back, too late"
        );
        change(&["web-1", "web-2"])?;
    }
    Ok(())
}

// Endpoints

#[test]
fn hints_keep_traffic_in_the_zone() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3"];
    let shop = Shop::open("zones", &names)?;
    let manifests = shop.sandbox.manifests();
    manifests.apply(&manifest::node(NODE_NAME, "east"))?;
    manifests.apply(&manifest::node("node-2", "west"))?;
    let hinted = |name: &str, zone: &str| ready(&shop, name).node("node-2").zone(zone).hint(zone);
    shop.sandbox
        .manifests()
        .apply(&scene::service("web", 10, &ports()))?;
    let (east, west) = (
        [hinted("web-1", "east"), hinted("web-2", "east")],
        hinted("web-3", "west"),
    );
    slice(&shop, "web-a", &east)?;
    slice(&shop, "web-b", std::slice::from_ref(&west))?;
    let _agent = shop.start()?;
    settles(&shop.client, vip(), &["web-1", "web-2"]);
    // The node moves.
    manifests.apply(&manifest::node(NODE_NAME, "west"))?;
    settles(&shop.client, vip(), &["web-3"]);
    // One without a hint, and hints mean nothing.
    slice(
        &shop,
        "web-a",
        &[ready(&shop, "web-1").zone("east"), hinted("web-2", "east")],
    )?;
    settles(&shop.client, vip(), &names);
    slice(&shop, "web-a", &east)?;
    settles(&shop.client, vip(), &["web-3"]);
    // Nothing for this zone: all, rather than none.
    slice(&shop, "web-b", &[])?;
    settles(&shop.client, vip(), &["web-1", "web-2"]);
    // A zone without a name.
    slice(&shop, "web-b", &[west])?;
    settles(&shop.client, vip(), &["web-3"]);
    manifests.apply(&Manifest::new("v1", "Node", None, NODE_NAME))?;
    settles(&shop.client, vip(), &names);
    Ok(())
}

#[test]
fn hints_for_nodes_go_before_those_for_zones() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3"];
    let shop = Shop::open("node-hints", &names)?;
    let manifests = shop.sandbox.manifests();
    manifests.apply(&manifest::node(NODE_NAME, "east"))?;
    manifests.apply(&scene::service("web", 10, &ports()))?;
    let hinted = |name: &str, zone: &str, node: &str| ready(&shop, name).hint(zone).hint_node(node);
    let zoned = [
        hinted("web-1", "east", NODE_NAME),
        hinted("web-2", "east", "node-2"),
    ];
    slice(&shop, "web-a", &zoned)?;
    slice(&shop, "web-b", &[hinted("web-3", "west", "node-3")])?;
    let _agent = shop.start()?;
    settles(&shop.client, vip(), &["web-1"]);
    // One that is meant for no node, and the zones count.
    slice(&shop, "web-b", &[ready(&shop, "web-3").hint("west")])?;
    settles(&shop.client, vip(), &["web-1", "web-2"]);
    slice(&shop, "web-b", &[ready(&shop, "web-3")])?;
    settles(&shop.client, vip(), &names);
    Ok(())
}

#[test]
fn local_traffic_stays_on_the_node() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3"];
    let shop = Shop::open("local", &names)?;
    let local = scene::service("web", 10, &ports()).set("spec.internalTrafficPolicy", "Local");
    let manifests = shop.sandbox.manifests();
    manifests.apply(&local)?;
    let here = |name| ready(&shop, name);
    let there = |name| ready(&shop, name).node("node-2");
    slice(&shop, "web-a", &[there("web-1"), there("web-2")])?;
    let _agent = shop.start()?;
    refuses(&shop.client, vip());
    let error = ask_udp(&shop.client, vip()).expect_err("nobody is here");
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    assert_eq!(kind, Some(ErrorKind::ConnectionRefused), "{error:#}");
    slice(&shop, "web-b", &[here("web-3")])?;
    settles(&shop.client, vip(), &["web-3"]);
    manifests.apply(&scene::service("web", 10, &ports()).set("spec.internalTrafficPolicy", "Cluster"))?;
    settles(&shop.client, vip(), &names);
    manifests.apply(&local)?;
    slice(&shop, "web-b", &[there("web-3")])?;
    refuses(&shop.client, vip());
    Ok(())
}

#[test]
fn slices_add_up() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3", "web-4"];
    let shop = Shop::open("slices", &names)?;
    let manifests = shop.sandbox.manifests();
    manifests.apply(&scene::service("web", 10, &ports()))?;
    slice(&shop, "web-a", &[ready(&shop, "web-1"), ready(&shop, "web-2")])?;
    slice(&shop, "web-b", &[ready(&shop, "web-3")])?;
    // A copy, as there is one while endpoints move between slices, counts once.
    slice(&shop, "web-c", &[ready(&shop, "web-4"), ready(&shop, "web-1")])?;
    let _agent = shop.start()?;
    settles(&shop.client, vip(), &names);
    manifests.delete(&manifest::endpoint_slice(
        NAMESPACE,
        "web",
        "web-c",
        &ports(),
        &[],
    ))?;
    settles(&shop.client, vip(), &["web-1", "web-2", "web-3"]);
    // Every slice has a port of its own for the same name.
    let _server = shop
        .backend("web-4")
        .serve_tcp(([0_u16; 8], 9000).into(), "web-4-new")?;
    let other = [Port::tcp(80).to(9000).named("tcp")];
    let moved = manifest::endpoint_slice(NAMESPACE, "web", "web-d", &other, &[ready(&shop, "web-4")]);
    manifests.apply(&moved)?;
    settles(&shop.client, vip(), &["web-1", "web-2", "web-3", "web-4-new"]);
    for name in ["web-a", "web-b"] {
        manifests.delete(&manifest::endpoint_slice(NAMESPACE, "web", name, &ports(), &[]))?;
    }
    settles(&shop.client, vip(), &["web-4-new"]);
    // A slice of another namespace, and one of another service.
    let foreign = manifest::endpoint_slice("else", "web", "web-e", &ports(), &[ready(&shop, "web-1")]);
    manifests.apply(&foreign)?;
    let other = manifest::endpoint_slice(NAMESPACE, "other", "web-f", &ports(), &[ready(&shop, "web-2")]);
    manifests.apply(&other)?;
    slice(&shop, "web-g", &[ready(&shop, "web-3")])?;
    settles(&shop.client, vip(), &["web-3", "web-4-new"]);
    Ok(())
}

#[test]
fn only_endpoints_that_are_ready_or_else_those_that_end() -> Result<()> {
    require_root!();
    let names = ["web-1", "web-2", "web-3"];
    let shop = Shop::open("conditions", &names)?;
    shop.sandbox
        .manifests()
        .apply(&scene::service("web", 10, &ports()))?;
    let ending = |name: &str| ready(&shop, name).conditions(false, true, true);
    let starting = |name: &str| ready(&shop, name).conditions(false, false, false);
    let done = |name: &str| ready(&shop, name).conditions(false, false, true);
    slice(
        &shop,
        "web-a",
        &[ready(&shop, "web-1"), starting("web-2"), ending("web-3")],
    )?;
    let _agent = shop.start()?;
    settles(&shop.client, vip(), &["web-1"]);
    slice(
        &shop,
        "web-a",
        &[ending("web-1"), starting("web-2"), ending("web-3")],
    )?;
    settles(&shop.client, vip(), &["web-1", "web-3"]);
    slice(
        &shop,
        "web-a",
        &[done("web-1"), starting("web-2"), ending("web-3")],
    )?;
    settles(&shop.client, vip(), &["web-3"]);
    slice(&shop, "web-a", &[done("web-1"), starting("web-2"), done("web-3")])?;
    refuses(&shop.client, vip());
    slice(
        &shop,
        "web-a",
        &[done("web-1"), ready(&shop, "web-2"), ending("web-3")],
    )?;
    settles(&shop.client, vip(), &["web-2"]);
    Ok(())
}

#[test]
fn endpoints_of_a_selector() -> Result<()> {
    require_root!();
    let shop = Shop::open("selector", &["web-1", "web-2", "web-3"])?;
    let manifests = shop.sandbox.manifests();
    let pod = |name: &str| {
        let labels = [("app", "web"), ("name", name)];
        manifest::pod_of(NAMESPACE, shop.backend(name), &labels)
    };
    let ips = vips(10, 80).map(|addr| addr.ip());
    manifests.apply(&manifest::service(
        NAMESPACE,
        "web",
        &ips,
        &ports(),
        &[("app", "web")],
    ))?;
    manifests.apply_all([&pod("web-1"), &pod("web-2").condition("Ready", false)])?;
    let _agent = shop.start()?;
    let client = &shop.client;
    settles(client, vip(), &["web-1"]);
    settles(client, vips(10, 80)[1], &["web-1"]);
    manifests.apply_all([&pod("web-2"), &pod("web-3")])?;
    settles(client, vip(), &["web-1", "web-2", "web-3"]);
    settles(client, vips(10, 80)[1], &["web-1", "web-2", "web-3"]);
    // Its label changes; another ends; the third is deleted.
    manifests.apply(&pod("web-3").label("app", "other"))?;
    settles(client, vip(), &["web-1", "web-2"]);
    manifests.apply(&pod("web-1").set("metadata.deletionTimestamp", "2026-01-01T00:00:00Z"))?;
    settles(client, vip(), &["web-2"]);
    manifests.delete(&pod("web-2"))?;
    settles(client, vip(), &["web-1"]);
    manifests.delete(&pod("web-1"))?;
    refuses(client, vip());
    // A slice, even an empty one, and the selector says nothing.
    manifests.apply(&pod("web-2"))?;
    settles(client, vip(), &["web-2"]);
    slice(&shop, "web-a", &[ready(&shop, "web-3")])?;
    settles(client, vip(), &["web-3"]);
    slice(&shop, "web-a", &[])?;
    refuses(client, vip());
    Ok(())
}

#[test]
fn a_service_goes_and_comes_back() -> Result<()> {
    require_root!();
    let shop = Shop::open("goes", &["web-1", "cart-1"])?;
    let manifests = shop.sandbox.manifests();
    let _underlay = shop.underlay(&vips(10, 80))?;
    shop.sell("web", 10, &ports(), &["web-1"])?;
    shop.staff("cart", &ports(), &["cart-1"])?;
    let _agent = shop.start()?;
    settles(&shop.client, vip(), &["web-1"]);
    manifests.delete(&scene::service("web", 10, &ports()))?;
    settles(&shop.client, vip(), &[UNTOUCHED]);
    // Another service gets its address.
    manifests.apply(&scene::service("cart", 10, &ports()))?;
    settles(&shop.client, vip(), &["cart-1"]);
    manifests.delete(&scene::service("cart", 10, &ports()))?;
    manifests.apply(&scene::service("web", 10, &ports()).uid("another"))?;
    settles(&shop.client, vip(), &["web-1"]);
    // Its port is another one.
    manifests.apply(&scene::service("web", 10, &[Port::tcp(81).to(PORT).named("tcp")]))?;
    settles(&shop.client, vip(), &[UNTOUCHED]);
    settles(&shop.client, vips(10, 81)[0], &["web-1"]);
    Ok(())
}

// Changes

#[test]
fn a_change_is_in_the_kernel_soon() -> Result<()> {
    require_root!();
    let shop = Shop::open("soon", &["web-1", "web-2"])?;
    shop.sell("web", 10, &ports(), &["web-1"])?;
    for number in 100..150 {
        shop.sell(&format!("web-{number}"), number, &ports(), &["web-1", "web-2"])?;
    }
    let _agent = shop.start()?;
    let mut times = Vec::new();
    for name in ["web-2", "web-1"].into_iter().cycle().take(21) {
        let time = shop.client.run(|| -> Result<Duration> {
            let start = Instant::now();
            shop.staff("web", &ports(), &[name])?;
            while ask_tcp(vip())?.name != name {
                ensure!(start.elapsed() < patient(SOON), "{name} never answered");
            }
            Ok(start.elapsed())
        })?;
        times.push(time);
    }
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("changes were seen after {median:?} (median), at most {worst:?}");
    assert!(median < patient(AT_ONCE), "{times:?}");
    Ok(())
}

/// What the threads of the churn share.
#[derive(Default)]
struct Churn {
    over: AtomicBool,
    connects: AtomicU32,
    datagrams: AtomicU32,
}

impl Churn {
    /// Asks service after service until it is over; checks that it is always answered by its own backends.
    fn ask(&self, shop: &Shop, services: &[(&str, u8, bool)], udp: bool) -> Result<()> {
        let counter = if udp { &self.datagrams } else { &self.connects };
        shop.client.run(|| {
            while !self.over.load(Ordering::Relaxed) {
                for &(name, number, always) in services {
                    let addr = vips(number, 80)[0];
                    let answer = if udp {
                        ask_udp_unconnected(&UdpSocket::bind("0.0.0.0:0")?, addr)
                    } else {
                        ask_tcp(addr)
                    };
                    let count = counter.fetch_add(1, Ordering::Relaxed);
                    let answer = match answer {
                        Ok(answer) => answer.name,
                        // One that is being made anew may have no endpoints for a moment.
                        Err(error) if !always && error.kind() == ErrorKind::ConnectionRefused => continue,
                        Err(error) => {
                            let what = format!("{name}, number {count}, UDP: {udp}");
                            return Err(anyhow::Error::from(error).context(what));
                        }
                    };
                    let own = answer.split('-').next() == Some(name) || (!always && answer == UNTOUCHED);
                    ensure!(own, "{name} is answered by {answer}, number {count}, UDP: {udp}");
                }
            }
            Ok(())
        })
    }
}

/// Two services lose and gain endpoints all the time, and others are deleted and made, so that ids and
/// regions of the tables go from one to another.
#[test]
fn no_connection_goes_astray_while_everything_changes() -> Result<()> {
    require_root!();
    let backends = [
        "web-1", "web-2", "web-3", "cart-1", "cart-2", "cart-3", "mail-1", "news-1",
    ];
    let shop = Shop::open("churn", &backends)?;
    shop.sell("web", 10, &ports(), &backends[..3])?;
    shop.sell("cart", 20, &ports(), &backends[3..6])?;
    shop.staff("mail", &ports(), &["mail-1"])?;
    shop.staff("news", &ports(), &["news-1"])?;
    let services = [
        ("web", 10, true),
        ("cart", 20, true),
        ("mail", 30, false),
        ("news", 40, false),
    ];
    let _underlay = shop.underlay(&[vips(30, 80)[0], vips(40, 80)[0]])?;
    let agent = shop.start()?;
    let churn = Churn::default();
    let manifests = shop.sandbox.manifests();
    let change = |round: usize| -> Result<()> {
        // One, two or three endpoints, never the same as before; the two move in opposite ways.
        let sets = [&[0][..], &[1, 2], &[0, 1, 2], &[2], &[0, 1], &[1]];
        let of = |service: &str, set: &[usize]| {
            let names: Vec<_> = set.iter().map(|it| format!("{service}-{}", it + 1)).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            shop.staff(service, &ports(), &names)
        };
        of("web", sets[round % 6])?;
        of("cart", sets[5 - round % 6])?;
        let (mail, news) = (
            scene::service("mail", 30, &ports()),
            scene::service("news", 40, &ports()),
        );
        match round % 4 {
            0 => manifests.apply(&mail).and(manifests.delete(&news)),
            2 => manifests.delete(&mail).and(manifests.apply(&news)),
            _ => Ok(()),
        }
    };
    let results = thread::scope(|scope| {
        let asking = [
            scope.spawn(|| churn.ask(&shop, &services, false)),
            scope.spawn(|| churn.ask(&shop, &services, true)),
        ];
        let begun = Instant::now();
        let mut changed = Ok(());
        for round in 0.. {
            let enough = round >= 100 && churn.connects.load(Ordering::Relaxed) >= 2_000;
            let dead = asking.iter().any(thread::ScopedJoinHandle::is_finished)
                || begun.elapsed() > Duration::from_secs(20);
            if enough || dead || changed.is_err() {
                println!("{round} changes in {:?}", begun.elapsed());
                break;
            }
            changed = change(round);
            thread::sleep(Duration::from_millis(8));
        }
        churn.over.store(true, Ordering::Relaxed);
        let asked = asking.map(|it| it.join().expect("no panic"));
        asked.into_iter().fold(changed, Result::and)
    });
    let counts = [&churn.connects, &churn.datagrams].map(|it| it.load(Ordering::Relaxed));
    println!("{} connects, {} datagrams", counts[0], counts[1]);
    results?;
    assert!(counts[0] >= 2_000, "only {} connects", counts[0]);
    // It ends as it was asked to, and the agent is content.
    shop.staff("web", &ports(), &["web-2"])?;
    settles(&shop.client, vip(), &["web-2"]);
    assert_eq!(agent.ready()?.status, 200);
    Ok(())
}
