//! The `NetworkPolicy` objects of a node, switched as one.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// The file with all policies.
const FILE: &str = "policies.yaml";
/// A policy that selects no pod, and is there always: that its newest generation is in force tells that those are gone
/// that the file had before.
const MARK: &str = "mark/mark";

/// Writes policies and waits for the kernel to have them.
#[derive(Debug, Default)]
pub struct Policies {
    generation: AtomicI64,
}

impl Policies {
    /// Makes these, by `namespace/name` and spec, the only ones, and waits until they are in force.
    pub fn switch(&self, sandbox: &Sandbox, policies: &[(&str, &Value)]) -> Result<()> {
        let generation = self.write(sandbox, policies)?;
        let names = policies.iter().map(|(name, _)| *name);
        wait(sandbox, &names.chain([MARK]).collect::<Vec<_>>(), generation)
    }

    /// As [`Self::switch`], without waiting; the generation they have.
    pub fn write(&self, sandbox: &Sandbox, policies: &[(&str, &Value)]) -> Result<i64> {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let nobody = json!({"podSelector": {"matchLabels": {"mark": "nobody"}}});
        let mut text = String::new();
        for (name, spec) in policies.iter().copied().chain([(MARK, &nobody)]) {
            writeln!(text, "---\n{}", object(name, spec, generation)?)?;
        }
        sandbox.manifests().write(FILE, &text)?;
        Ok(generation)
    }
}

/// Waits until this generation of these policies is in the node's kernel.
pub fn wait(sandbox: &Sandbox, names: &[&str], generation: i64) -> Result<()> {
    let generation = generation.to_string();
    let wait = |name: &str| -> Result<()> {
        let args = ["policy", "wait", name, "--generation", &generation];
        let output = sandbox.meshctl(args)?;
        ensure!(output.status.success(), "meshctl {}: {output:?}", args.join(" "));
        Ok(())
    };
    thread::scope(|scope| {
        let waits: Vec<_> = names.iter().map(|name| scope.spawn(|| wait(name))).collect();
        let mut ends = waits
            .into_iter()
            .map(|it| it.join().map_err(|_| anyhow!("a wait panicked"))?);
        ends.try_for_each(|end| end)
    })
}

fn object(name: &str, spec: &Value, generation: i64) -> Result<Value> {
    let (namespace, own) = name.split_once('/').context("a policy without a namespace")?;
    // Of another generation, and still the same object.
    let uid = format!("networkpolicy-{namespace}-{own}");
    Ok(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": own, "uid": uid, "generation": generation},
        "spec": spec,
    }))
}
