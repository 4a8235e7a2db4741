//! Where the kernel's tables of policies differ from what they should hold.

use mesh_common::abi::map;
use mesh_common::policy::{Direction, PolicyKey};
use mesh_common::rules::PodRules;

use super::Observed;
use crate::model::ledger::Drift;
use crate::model::ledger::drift::{compare, tagged_text};

/// Every entry that differs, in the order of the tables and their keys.
#[must_use]
pub fn drift(expected: &Observed, observed: &Observed) -> Vec<Drift> {
    let rules = |side: &Observed| {
        let rules = side.rules.iter();
        rules.map(|&(key, value)| (ordered(key), value)).collect()
    };
    [
        compare(
            map::POLICY,
            [expected, observed].map(rules),
            key_text,
            tagged_text,
        ),
        compare(
            map::CLASSES,
            [expected, observed].map(|side| side.classes.clone()),
            ToString::to_string,
            tagged_text,
        ),
        compare(
            map::CIDRS,
            [expected, observed].map(|side| side.cidrs.clone()),
            ToString::to_string,
            |class| format!("class {class}"),
        ),
        compare(
            map::POD_RULES,
            [expected, observed].map(|side| side.pods.clone()),
            |workload| format!("workload {workload}"),
            rules_text,
        ),
    ]
    .concat()
}

/// A key of rules in an order that reads well.
type Ordered = (u32, u32, u8, u16, u8);

const fn ordered(key: PolicyKey) -> Ordered {
    (key.set, key.peer, key.protocol, key.port.get(), key.length)
}

fn key_text((set, peer, protocol, port, length): &Ordered) -> String {
    format!("set {set}, class {peer}, protocol {protocol}, port {port}/{length}")
}

fn rules_text(rules: PodRules) -> String {
    let [ingress, egress] = Direction::ALL.map(|direction| rules.sets.of(direction));
    let [v4, v6] = rules.addrs;
    let classes = [v4, v6].map(|addr| rules.classes.towards(&addr));
    let flags = rules.sets.flags();
    format!("ingress {ingress}, egress {egress}, flags {flags:#x}, classes {classes:?} of {v4}, {v6}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_common::addr::{Addr, Port};
    use mesh_common::rules::CidrKey;

    #[test]
    fn every_difference_names_table_and_key() {
        let key = PolicyKey::new(3, 4, 6, Port::new(80), 16);
        let expected = Observed {
            rules: vec![(key, key.allowing(7))],
            cidrs: vec![(
                CidrKey {
                    length: 104,
                    addr: Addr::from_v4_word(u32::from_ne_bytes([10, 0, 0, 0])),
                },
                5,
            )],
            pods: vec![(
                9,
                PodRules::new(9, [1, 2], 0, [3, 4], [Addr::from_v4_word(1), Addr::default()]),
            )],
            ..Observed::default()
        };
        let texts = drift(&expected, &Observed::default());
        let texts: Vec<_> = texts
            .iter()
            .map(|drift| format!("{}[{}]", drift.table, drift.key))
            .collect();
        assert_eq!(
            texts,
            [
                "POLICY[set 3, class 4, protocol 6, port 80/16]",
                "CIDRS[10.0.0.0/8]",
                "POD_RULES[workload 9]",
            ]
        );
        assert_eq!(drift(&expected, &expected), []);
    }
}
