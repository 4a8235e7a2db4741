//! Parts of objects: ports and endpoints.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::agent::NODE_NAME;

/// A port of a Service or an `EndpointSlice`.
#[derive(Clone, Debug)]
pub struct Port {
    name: Option<String>,
    protocol: &'static str,
    number: u16,
    target: Value,
}

impl Port {
    /// TCP, to the same port of the pods.
    #[must_use]
    pub fn tcp(port: u16) -> Self {
        Self {
            name: None,
            protocol: "TCP",
            number: port,
            target: port.into(),
        }
    }

    /// UDP, to the same port of the pods.
    #[must_use]
    pub fn udp(port: u16) -> Self {
        Self {
            protocol: "UDP",
            ..Self::tcp(port)
        }
    }

    /// To another port of the pods: a number or a name.
    #[must_use]
    pub fn to(self, target: impl Into<Value>) -> Self {
        Self {
            target: target.into(),
            ..self
        }
    }

    /// With a name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// As it stands in a Service.
    pub(super) fn of_service(&self) -> Value {
        let mut port = json!({"protocol": self.protocol, "port": self.number, "targetPort": self.target});
        if let Some(name) = &self.name {
            port["name"] = name.as_str().into();
        }
        port
    }

    /// As it stands in a slice: the pods' number, and an empty name where the Service has none.
    pub(super) fn of_slice(&self) -> Value {
        let number = self.target.as_u64().unwrap_or(self.number.into());
        json!({"protocol": self.protocol, "port": number, "name": self.name.as_deref().unwrap_or_default()})
    }
}

/// An endpoint of an `EndpointSlice`.
#[derive(Clone, Debug)]
pub struct Endpoint(pub(super) Value);

impl Endpoint {
    /// Ready, on this node.
    #[must_use]
    pub fn ready(ip: IpAddr) -> Self {
        let conditions = json!({"ready": true, "serving": true, "terminating": false});
        Self(json!({"addresses": [ip], "conditions": conditions, "nodeName": NODE_NAME}))
    }

    /// With other conditions.
    #[must_use]
    pub fn conditions(mut self, ready: bool, serving: bool, terminating: bool) -> Self {
        self.0["conditions"] = json!({"ready": ready, "serving": serving, "terminating": terminating});
        self
    }

    /// In a zone.
    #[must_use]
    pub fn zone(mut self, zone: &str) -> Self {
        self.0["zone"] = zone.into();
        self
    }

    /// Meant for clients in this zone.
    #[must_use]
    pub fn hint(mut self, zone: &str) -> Self {
        self.0["hints"] = json!({"forZones": [{"name": zone}]});
        self
    }

    /// Meant for clients on this node, too.
    #[must_use]
    pub fn hint_node(mut self, node: &str) -> Self {
        self.0["hints"]["forNodes"] = json!([{"name": node}]);
        self
    }

    /// On another node.
    #[must_use]
    pub fn node(mut self, node: &str) -> Self {
        self.0["nodeName"] = node.into();
        self
    }

    /// Of a pod.
    #[must_use]
    pub fn of(mut self, namespace: &str, pod: &str) -> Self {
        self.0["targetRef"] = json!({"kind": "Pod", "namespace": namespace, "name": pod});
        self
    }
}
