//! Addresses that pods may use beside their own: what is written for them.

use std::collections::BTreeSet;

use mesh_common::rules::SourceKey;

use crate::model::object::network_policy::Cidr;

/// One write to `SOURCES`. Each is idempotent.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SourceOp {
    /// The pod may use the addresses of the prefix.
    Allow(SourceKey),
    /// It may no longer.
    Forbid(SourceKey),
}

/// What the table should hold for pods, by workload id, and what they may use.
#[must_use]
pub fn wanted<'a>(pods: impl IntoIterator<Item = (u32, &'a [Cidr])>) -> BTreeSet<SourceKey> {
    let keys = |(workload, prefixes): (u32, &'a [Cidr])| {
        let key = move |prefix: &Cidr| SourceKey::new(workload, prefix.addr(), prefix.length().into());
        prefixes.iter().map(key)
    };
    pods.into_iter().flat_map(keys).collect()
}

/// The writes from what the table holds to what it should: what is taken away goes first, so that it finds no room where a
/// workload id has another owner now.
#[must_use]
pub fn plan(held: &BTreeSet<SourceKey>, wanted: &BTreeSet<SourceKey>) -> Vec<SourceOp> {
    let gone = held.difference(wanted).copied().map(SourceOp::Forbid);
    let new = wanted.difference(held).copied().map(SourceOp::Allow);
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn cidrs(texts: &[&str]) -> Vec<Cidr> {
        let cidr = |text: &&str| {
            let (ip, bits) = text.split_once('/').unwrap();
            let (ip, bits): (IpAddr, u8) = (ip.parse().unwrap(), bits.parse().unwrap());
            let family = if ip.is_ipv4() { 96 } else { 0 };
            Cidr::host(&ip.into()).shortened(family + bits).unwrap()
        };
        texts.iter().map(cidr).collect()
    }

    #[test]
    fn prefixes_are_each_pods_own() {
        let (one, two) = (cidrs(&["10.1.0.0/16", "fd00:1::/32"]), cidrs(&["10.1.0.0/16"]));
        let keys = wanted([(7, &one[..]), (8, &two[..]), (9, &[])]);
        let of = |workload| keys.iter().filter(|key| key.source.workload == workload).count();
        assert_eq!([7, 8, 9].map(of), [2, 1, 0]);
        assert!(keys.iter().any(|key| key.length == 32 + 96 + 16));
    }

    #[test]
    fn only_what_differs_is_written_and_what_goes_goes_first() {
        let (before, after) = (
            cidrs(&["10.1.0.0/16", "10.2.0.0/16"]),
            cidrs(&["10.2.0.0/16", "10.0.0.0/8"]),
        );
        let held = wanted([(7, &before[..])]);
        let next = wanted([(7, &after[..])]);
        let ops = plan(&held, &next);
        assert!(
            matches!(ops[..], [SourceOp::Forbid(_), SourceOp::Allow(_)]),
            "{ops:?}"
        );
        assert_eq!(plan(&next, &next), []);
        let all = plan(&next, &BTreeSet::new());
        assert!(all.iter().all(|op| matches!(op, SourceOp::Forbid(_))) && all.len() == 2);
    }
}
