//! Five thousand policies over ten thousand pods; fewer where nothing is optimised.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::model::object::Labels;

pub(super) const POLICIES: usize = if cfg!(debug_assertions) { 500 } else { 5_000 };
pub(super) const PODS: usize = 2 * POLICIES;
pub(super) const NAMESPACES: usize = POLICIES / 10;
/// Pods of one node; what the largest have.
pub(super) const LOCAL: usize = 500;

const LIMIT: Duration = Duration::from_secs(2);

pub(super) fn labels<const N: usize>(labels: [(&str, String); N]) -> Labels {
    BTreeMap::from(labels.map(|(key, value)| (key.to_owned(), value))).into()
}

/// Two pods of each of ten apps in each namespace, so that each app is a class of its own.
fn pods() -> Vec<Pod> {
    let pod = |at: usize| Pod {
        name: ObjectName::new(format!("n{}", at % NAMESPACES), format!("p{at}")),
        labels: labels([
            ("app", format!("a{}", at / NAMESPACES / 2)),
            ("tier", format!("t{}", at % 3)),
        ]),
        addresses: vec![
            addr(&format!("10.{}.{}.{}", at >> 16, at >> 8 & 255, at & 255)),
            addr(&format!("fd00::{at:x}")),
        ],
        ports: vec![NamedPort {
            name: "http".to_owned(),
            transport: mesh_common::policy::Transport::Tcp,
            port: 8080,
        }],
    };
    (0..PODS).map(pod).collect()
}

pub(super) fn spec(at: usize) -> Value {
    let (app, other) = (
        format!("a{}", at / NAMESPACES % 10),
        format!("a{}", (at + 1) % 10),
    );
    let peers = json!([
        { "podSelector": { "matchLabels": { "app": other } } },
        { "namespaceSelector": { "matchLabels": { "team": format!("t{}", at % 50) } }, "podSelector": { "matchLabels": { "app": other } } },
        { "ipBlock": { "cidr": format!("172.16.{}.0/24", at % 256), "except": [format!("172.16.{}.{}/32", at % 256, at >> 8)] } },
    ]);
    json!({
        "podSelector": { "matchLabels": { "app": app } },
        "ingress": [{ "from": peers, "ports": [{ "port": "http" }, { "port": 30000, "endPort": 32767 }] }],
        "egress": [{ "to": peers, "ports": [{ "port": "http" }] }, { "ports": [{ "port": 53, "protocol": "UDP" }] }],
    })
}

pub(super) fn cluster() -> Cluster {
    let namespaces = (0..NAMESPACES).map(|at| {
        (
            format!("n{at}").into(),
            labels([("team", format!("t{}", at % 50))]),
        )
    });
    let policies = (0..POLICIES).map(|at| {
        let name = ObjectName::new(format!("n{}", at % NAMESPACES), format!("p{at}"));
        (
            name.clone(),
            policy(&name, serde_json::from_value(spec(at)).unwrap()),
        )
    });
    Cluster {
        namespaces: namespaces.collect(),
        pods: pods(),
        policies: policies.collect(),
    }
}

#[test]
fn all_is_made_anew_in_time() {
    let cluster = cluster();
    // The best of a few rounds counts, since other tests run beside.
    let rounds = (0..3).map(|_| {
        let start = Instant::now();
        let tables = Tables::new(&cluster, 0..LOCAL);
        (start.elapsed(), tables)
    });
    let (best, tables) = rounds.min_by_key(|(elapsed, _)| *elapsed).unwrap();
    eprintln!(
        "{POLICIES} policies, {PODS} pods: {best:?}; {} classes, {} prefixes, {} entries for {LOCAL} pods",
        tables.classes.count(),
        tables.classes.cidrs.len(),
        tables.entries.len(),
    );
    assert!(best < LIMIT, "{best:?}");
}
