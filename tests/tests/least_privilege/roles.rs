//! The rules of the `ClusterRole`, which the API server grants the agent and nothing else.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::apiserver::{AGENT, Rule};
use harness::cluster::{Backend, Cluster};
use harness::{eventually, require_root, shipped};

const SOON: Duration = Duration::from_secs(10);

/// A cluster with the service `web`, number 10, whose agent has these rules.
fn cluster(test_name: &str, rules: Vec<Rule>) -> Result<(Cluster, Backend)> {
    let cluster = Cluster::open(test_name)?;
    let web = cluster.backend("web", 11)?;
    cluster.sell("web", 10, &[&web])?;
    cluster.server.restrict(AGENT, rules);
    Ok((cluster, web))
}

/// What the manifest grants, verb by verb and resource by resource.
fn grants() -> Result<Vec<Rule>> {
    Ok(shipped::rules()?.iter().flat_map(Rule::split).collect())
}

#[test]
fn with_the_rules_of_the_manifest_nothing_is_refused() -> Result<()> {
    require_root!();
    let (cluster, _web) = cluster("granted", shipped::rules()?)?;
    let agent = cluster.agent().start()?;
    assert_eq!(cluster.ask(10)?, "web");
    cluster.agrees()?;
    eventually(SOON, || {
        let requests = cluster.server.requests();
        for rule in grants()?.iter().filter(|rule| is_following(rule)) {
            let asked = |verb: &str, resource: &str| {
                let mut same = requests.iter();
                same.any(|it| it.verb == verb && it.resource == resource && it.status == 200)
            };
            ensure!(
                asked(&rule.verbs[0], &rule.resources[0]),
                "{rule:?} is for nothing"
            );
        }
        let refused = requests.iter().find(|request| request.status != 200);
        ensure!(refused.is_none(), "{refused:?}: {}", agent.log());
        Ok(())
    })
}

#[test]
fn each_rule_is_missed_by_name() -> Result<()> {
    require_root!();
    let all = grants()?;
    for gone in all.iter().filter(|rule| is_following(rule)) {
        let [verb, resource] = [&gone.verbs[0], &gone.resources[0]];
        let left = all.iter().filter(|rule| *rule != gone).cloned().collect();
        let (cluster, _web) = cluster(&format!("no-{verb}-{resource}"), left)?;
        let agent = cluster.agent().launch()?;
        let words = [
            "403 Forbidden",
            &format!("may not {verb} {resource}"),
            "ClusterRole mesh-agent (manifests/base/rbac.yaml)",
        ];
        eventually(SOON, || {
            let status = cluster.status()?;
            let trouble = status["sourceTrouble"].as_str().context("no trouble")?;
            ensure!(words.iter().all(|word| trouble.contains(word)), "{trouble}");
            Ok(())
        })
        .with_context(|| format!("without {verb} {resource}: {}", agent.log()))?;
        // What it lists is enough to begin with; what it doesn't list keeps it from beginning.
        let code = if verb == "list" { 503 } else { 200 };
        eventually(SOON, || {
            let ready = agent.ready()?;
            ensure!(ready.status == code, "without {verb} {resource}: {ready:?}");
            Ok(())
        })?;
        cluster.server.restrict(AGENT, all.clone());
        eventually(SOON * 3, || {
            let status = cluster.status()?;
            ensure!(status["sourceTrouble"].is_null(), "{status}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Rules for what is written are missed where it is written.
fn is_following(rule: &Rule) -> bool {
    ["list", "watch"].contains(&rule.verbs[0].as_str())
}
