//! Follows the pods' network namespaces with the program at their listeners.

use std::{collections::BTreeMap, path::PathBuf};

use super::readiness::Readiness;
use crate::{
    datapath::{
        Ebpf,
        inbound::{Inbound, Namespaces},
        pins::Pins,
    },
    model::desired::PodKey,
    pods::assign::Assignment,
};

/// What is pending as long as connections to a pod are not judged.
pub const READINESS: &str = "listeners";

/// The program, and where it is.
pub struct Listeners {
    inbound: Inbound,
    readiness: Readiness,
    cookies: BTreeMap<PodKey, u64>,
    paths: BTreeMap<PodKey, PathBuf>,
    /// Where it is not, and why, by cookie; `None` until somebody tried.
    failed: Option<BTreeMap<u64, String>>,
}

impl Listeners {
    /// Loads the program, and takes over what a previous agent attached; nothing is followed yet. Where that fails the agent
    /// works, and is not ready.
    pub fn start(ebpf: &mut Ebpf, pins: &Pins, readiness: &Readiness) -> Option<Self> {
        match Inbound::start(ebpf, pins) {
            Ok(inbound) => Some(Self {
                inbound,
                readiness: readiness.clone(),
                cookies: BTreeMap::new(),
                paths: BTreeMap::new(),
                failed: None,
            }),
            Err(error) => {
                tracing::error!(%error, "connections to pods are not judged where they arrive");
                readiness.block(READINESS, error.to_string());
                None
            }
        }
    }

    /// Attaches to the namespaces that pods have now; does nothing where they have those they had.
    pub fn follow(&mut self, assignment: &Assignment) {
        let Assignment { cookies, paths, .. } = assignment;
        if self.failed.is_some() && (&self.cookies, &self.paths) == (cookies, paths) {
            return;
        }
        let before = self.namespaces();
        self.cookies.clone_from(cookies);
        self.paths.clone_from(paths);
        let mut fresh = self.namespaces();
        fresh.retain(|cookie, _| !before.contains_key(cookie));
        self.attach(&fresh);
    }

    /// Tries again where it could not be attached.
    pub fn retry(&mut self) {
        if self.failed.as_ref().is_some_and(|failed| !failed.is_empty()) {
            self.attach(&self.namespaces());
        }
    }

    /// Asks the kernel whether the program runs where it should, and mends what was taken away.
    pub fn keep(&mut self) {
        let namespaces = self.namespaces();
        let missing = self.inbound.verify(&namespaces);
        if missing.is_empty() {
            return;
        }
        self.tell(missing);
        self.attach(&namespaces);
        if self.failed.as_ref().is_some_and(BTreeMap::is_empty) {
            tracing::warn!("the program at pods' listeners is attached again where it was no longer");
        }
    }

    fn namespaces(&self) -> Namespaces {
        let handle = |(pod, &cookie)| Some((cookie, self.paths.get(pod)?.clone()));
        self.cookies.iter().filter_map(handle).collect()
    }

    /// Attaches what is missing, and asks the kernel about these.
    fn attach(&mut self, about: &Namespaces) {
        let errors = self.inbound.sync(&self.namespaces());
        let mut failed = self.inbound.verify(about);
        failed.extend(
            errors
                .into_iter()
                .map(|(cookie, error)| (cookie, error.to_string())),
        );
        self.tell(failed);
    }

    /// Says of which pods connections are not judged.
    fn tell(&mut self, failed: BTreeMap<u64, String>) {
        let mut lines = Vec::new();
        for (cookie, why) in &failed {
            let pod = self.cookies.iter().find(|(_, of)| *of == cookie);
            let pod = pod.map_or_else(|| format!("namespace {cookie}"), |(pod, _)| pod.to_string());
            if self.failed.as_ref().and_then(|before| before.get(cookie)) != Some(why) {
                tracing::warn!(pod, why, "connections to it are not judged where they arrive");
            }
            lines.push(format!("{pod}: {why}"));
        }
        self.failed = Some(failed);
        if lines.is_empty() {
            self.readiness.clear(READINESS);
        } else {
            self.readiness.block(READINESS, lines.join("; "));
        }
    }
}
