//! Policies read back as text, in the words `kubectl` uses for selectors.

use std::fmt;

use super::{IpBlock, Peer, PortRange, PortRule, Requirement, Selector};

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.requirements().peekable();
        if rest.peek().is_none() {
            return f.write_str("all");
        }
        for (at, (key, requirement)) in rest.enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            let list = |values: &std::collections::BTreeSet<String>| {
                values.iter().map(String::as_str).collect::<Vec<_>>().join(",")
            };
            match requirement {
                Requirement::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
                Requirement::In(values) => write!(f, "{key} in ({})", list(values)),
                Requirement::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
                Requirement::Exists => f.write_str(key),
                Requirement::DoesNotExist => write!(f, "!{key}"),
            }?;
        }
        Ok(())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods {
                namespaces: None,
                pods,
            } => write!(f, "pods {pods}"),
            Self::Pods {
                namespaces: Some(namespaces),
                pods,
            } => write!(f, "pods {pods} in namespaces {namespaces}"),
            Self::Block(block) => write!(f, "{block}"),
        }
    }
}

impl fmt::Display for IpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cidr)?;
        for (at, hole) in self.except.iter().enumerate() {
            write!(f, "{} {hole}", if at == 0 { " except" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for PortRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = self.transport.name();
        match &self.range {
            PortRange::All => write!(f, "{transport}"),
            PortRange::Numbers { first, last } if first == last => write!(f, "{transport}/{first}"),
            PortRange::Numbers { first, last } => write!(f, "{transport}/{first}-{last}"),
            PortRange::Named(name) => write!(f, "{transport}/{name}"),
        }
    }
}
