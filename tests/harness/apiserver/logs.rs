//! `pods/log`: what containers said.

use std::collections::BTreeMap;

use hyper::http::request::Parts;

use super::failure::{Answer, Failure};
use super::route::Target;
use super::shared::Shared;
use super::write;

/// What containers said, by namespace, pod, and whether it was the container before.
#[derive(Debug, Default)]
pub struct Logs(BTreeMap<(String, String, bool), String>);

impl Logs {
    /// Replaces what one said.
    pub fn set(&mut self, namespace: &str, pod: &str, previous: bool, text: &str) {
        self.0
            .insert((namespace.into(), pod.into(), previous), text.into());
    }
}

/// What the container said. A pod has one here, whatever it is called.
pub fn read(shared: &Shared, target: &Target, head: &Parts) -> Answer<String> {
    write::find(&shared.store(), target)?;
    let query = head.uri.query().unwrap_or_default();
    let previous =
        form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "previous" && value == "true");
    let (namespace, pod) = (target.namespace.clone(), target.name.clone().unwrap_or_default());
    let found = shared
        .logs()
        .0
        .get(&(namespace.unwrap_or_default(), pod.clone(), previous))
        .cloned();
    match found {
        Some(text) => Ok(text),
        None if previous => Err(Failure::bad_request(format!(
            "previous terminated container in pod {pod:?} not found"
        ))),
        None => Ok(String::new()),
    }
}
