//! Kubernetes objects, as the API server would show them.

mod kind;
mod part;

use std::fmt;

use serde_json::{Value, json};

pub use kind::{endpoint_slice, namespace, node, pod, pod_of, service};
pub use part::{Endpoint, Port};

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest(Value);

impl Manifest {
    /// An object with nothing but its name; the uid is told by kind, namespace and name.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        let uid = format!("{}-{}-{name}", kind.to_lowercase(), namespace.unwrap_or_default());
        let mut metadata = json!({"name": name, "uid": uid});
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.into();
        }
        Self(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}))
    }

    /// With one more label.
    #[must_use]
    pub fn label(self, key: &str, value: &str) -> Self {
        self.metadata("labels", key, value)
    }

    /// With more labels.
    #[must_use]
    pub fn labels(self, labels: &[(&str, &str)]) -> Self {
        labels
            .iter()
            .fold(self, |object, (key, value)| object.label(key, value))
    }

    /// With one more annotation.
    #[must_use]
    pub fn annotation(self, key: &str, value: &str) -> Self {
        self.metadata("annotations", key, value)
    }

    /// With another uid, as a recreated object has.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        self.0["metadata"]["uid"] = uid.into();
        self
    }

    /// With a field set; the path has dots: `spec.externalTrafficPolicy`. What is missing is created.
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let field = path.split('.').fold(&mut self.0, |object, key| &mut object[key]);
        *field = value.into();
        self
    }

    /// With a condition in the status, `Ready` for example.
    #[must_use]
    pub fn condition(mut self, kind: &str, fulfilled: bool) -> Self {
        let status = if fulfilled { "True" } else { "False" };
        let conditions = &mut self.0["status"]["conditions"];
        let mut list = conditions.as_array().cloned().unwrap_or_default();
        list.retain(|condition| condition["type"] != kind);
        list.push(json!({"type": kind, "status": status}));
        *conditions = list.into();
        self
    }

    /// The object as a tree.
    #[must_use]
    pub fn tree(&self) -> Value {
        self.0.clone()
    }

    fn metadata(mut self, map: &str, key: &str, value: &str) -> Self {
        self.0["metadata"][map][key] = value.into();
        self
    }

    /// The file of this object in a directory of manifests.
    pub(crate) fn file_name(&self) -> String {
        let part = |value: &Value| value.as_str().unwrap_or("-").to_lowercase();
        let metadata = &self.0["metadata"];
        let [kind, namespace, name] = [&self.0["kind"], &metadata["namespace"], &metadata["name"]].map(part);
        format!("{kind}_{namespace}_{name}.json")
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Port, endpoint_slice, pod, service};

    #[test]
    fn service_and_its_slice() {
        let ip = "fd00::1:2".parse().expect("an address");
        let ports = [Port::tcp(80).to(8080).named("http")];
        let service = service("shop", "web", &[ip], &ports, &[("app", "web")]);
        assert_eq!(service.file_name(), "service_shop_web.json");
        assert_eq!(service.0["spec"]["ipFamilies"][0], "IPv6");
        assert_eq!(service.0["spec"]["ports"][0]["targetPort"], 8080);
        let slice = endpoint_slice("shop", "web", "web-abc", &ports, &[Endpoint::ready(ip)]);
        assert_eq!(slice.0["addressType"], "IPv6");
        assert_eq!(slice.0["ports"][0]["port"], 8080);
        assert_eq!(slice.0["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    }

    #[test]
    fn conditions_are_replaced_and_fields_created() {
        let pod = pod("shop", "web-1", &[], &[])
            .condition("Ready", false)
            .set("spec.deep.er", 1);
        assert_eq!(pod.0["status"]["conditions"].as_array().map(Vec::len), Some(1));
        assert_eq!(pod.0["status"]["conditions"][0]["status"], "False");
        assert_eq!(pod.0["spec"]["deep"]["er"], 1);
    }
}
