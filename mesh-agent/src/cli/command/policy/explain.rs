//! `policy explain`.

use std::net::{IpAddr, SocketAddr};

use mesh_common::policy::Transport as Rules;
use serde::Serialize;

use crate::{
    app::policy::{
        Destination, EndAnswer, Exempt, ExplainQuery, Explained, Fail, FlowAnswer, From, Judge, KernelAnswer,
        Looked, Outcome, PolicyAnswer, RuleAnswer, Says, SideAnswer, Sight,
    },
    cli::{
        answer::Answer,
        args::{
            Format,
            verb::{ExplainArgs, Transport},
        },
        failure::Failure,
        node::Node,
        output::{self, Detail, table, text},
        scope::Scope,
    },
};

/// What is said of a flow.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Told(Explained);

/// `policy explain`.
pub fn explain(node: &Node, scope: &Scope, args: &ExplainArgs, format: Format) -> Result<Answer, Failure> {
    let query = query(scope, args)?;
    answer(node.agent.explain(&query)?, format)
}

fn answer(explained: Explained, format: Format) -> Result<Answer, Failure> {
    let drift = explained.drift;
    Ok(Answer::of(output::one(&Told(explained), format)?, !drift))
}

/// The question, with a pod's name alone within the namespace.
fn query(scope: &Scope, args: &ExplainArgs) -> Result<ExplainQuery, Failure> {
    let whole = |text: &str, is_address: bool| match scope.namespace() {
        Some(namespace) if !is_address && !text.contains('/') => format!("{namespace}/{text}"),
        _ => text.to_owned(),
    };
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    let from: Result<From, _> = whole(&args.from, is_address(&args.from)).parse();
    let to: Result<Destination, _> = whole(&args.to, is_address(&args.to)).parse();
    let usage = |error: &dyn std::error::Error| Failure::usage(error.to_string());
    Ok(ExplainQuery {
        from: from.map_err(|error| usage(&error))?.to_string(),
        to: to.map_err(|error| usage(&error))?.to_string(),
        protocol: name(args.protocol).to_owned(),
    })
}

const fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => Rules::Tcp.name(),
        Transport::Udp => Rules::Udp.name(),
        Transport::Sctp => Rules::Sctp.name(),
    }
}

impl Detail for Told {
    const KIND: &'static str = "PolicyExplanation";

    fn text(&self) -> String {
        let flows = self.0.flows.iter().map(|flow| flow_text(flow, &self.0.protocol));
        let flows: Vec<_> = flows.collect();
        let drift = if self.0.drift {
            "\nDrift: the kernel says something else than the policies. If that stays so, keep a `meshctl sysdump` and \
             restart mesh-agent\n"
        } else {
            ""
        };
        flows.join("\n") + drift
    }
}

fn flow_text(flow: &FlowAnswer, protocol: &str) -> String {
    let (source, destination) = (who(&flow.source), who(&flow.destination));
    let verdict = match flow.verdict {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "denied",
        Outcome::Audited => "passes, and is reported: policies refuse it, and the namespace is in audit mode",
        Outcome::Unenforced => "passes, though policies refuse it: the pod is not in the mesh",
    };
    let head = format!("{source} -> {destination} {protocol}/{}: {verdict}\n", flow.port);
    let facts = table::facts(&[
        ("From", recognised(&flow.source)),
        ("To", recognised(&flow.destination)),
    ]);
    let egress = side_text("Egress", &source, &flow.egress);
    let ingress = side_text("Ingress", &destination, &flow.ingress);
    [head, table::indented(&facts, 2), egress, ingress].concat()
}

/// The pod's name where it has one, else its address.
fn who(end: &EndAnswer) -> String {
    end.pod.clone().unwrap_or_else(|| end.address.clone())
}

fn recognised(end: &EndAnswer) -> String {
    let by = match end.recognised_by {
        Sight::Cookie => "recognised by cookie: its network namespace",
        Sight::Address => "recognised by address",
        Sight::Host => "this node itself",
    };
    let unsettled = if end.unsettled {
        "; more than one pod says it is its own, so only rules for everybody apply"
    } else {
        ""
    };
    format!("{}, {by}{unsettled}", end.address)
}

fn side_text(direction: &str, who: &str, side: &SideAnswer) -> String {
    let says = match (side.says, side.exempt) {
        (Says::NoPod, _) => "nobody's policies: it is no pod".to_owned(),
        (Says::Exempt, Some(Exempt::Host)) => "exempt: this node's own sockets reach its pods".to_owned(),
        (Says::Exempt, _) => "exempt: a pod reaches itself".to_owned(),
        (Says::Open, _) => "open: no policy selects it".to_owned(),
        (Says::Allowed, _) => format!("allowed by {}", passing(side).join(", ")),
        (Says::Isolated, _) => "refused: policies select it, and no rule of theirs matches".to_owned(),
    };
    let head = format!("\n{direction} of {who}: {says}\n");
    if matches!(side.says, Says::NoPod | Says::Exempt) {
        return head;
    }
    let mode = if side.audited {
        "audit: what is refused passes, and is reported"
    } else {
        "enforce"
    };
    let fail = match side.fail_mode {
        Fail::Open => "open",
        Fail::Closed => "closed",
    };
    let mut facts = vec![
        ("Enforced", judge(side)),
        ("Mode", mode.to_owned()),
        ("Fail mode", fail.to_owned()),
    ];
    facts.extend(
        side.kernel
            .as_ref()
            .map(|kernel| ("Kernel", kernel_text(kernel, side))),
    );
    let rules = rules(&side.policies);
    [
        head,
        table::indented(&table::facts(&facts), 2),
        table::indented(&rules, 2),
    ]
    .concat()
}

/// The rules that let it pass.
fn passing(side: &SideAnswer) -> Vec<String> {
    let rules = side.policies.iter().flat_map(|policy| &policy.rules);
    rules
        .filter(|rule| rule.passes)
        .map(|rule| rule.rule.clone())
        .collect()
}

fn judge(side: &SideAnswer) -> String {
    match (side.judge, &side.unenforced) {
        (Judge::Here, _) => "by this node".to_owned(),
        (Judge::Elsewhere, _) => "by the pod's node: ask the agent there".to_owned(),
        (Judge::Nobody, Some(why)) => format!("no: not in the mesh: {why}"),
        (Judge::Nobody, None) => "no: not in the mesh".to_owned(),
    }
}

fn kernel_text(kernel: &KernelAnswer, side: &SideAnswer) -> String {
    let KernelAnswer { set, class, .. } = kernel;
    let by = match &kernel.rule_name {
        Some(name) => format!(" ({name})"),
        None => String::new(),
    };
    let looked = match kernel.says {
        Looked::Unknown => "nothing is known of the pod yet, so the fail mode decides".to_owned(),
        Looked::Open => "open: the pod has no rules".to_owned(),
        Looked::Allowed => format!(
            "allowed by rule {}{by}, set {set}, class {class}",
            kernel.rule.unwrap_or_default()
        ),
        Looked::Denied if kernel.no_room => "denied: the pod's rules found no room".to_owned(),
        Looked::Denied => format!("denied by set {set}, class {class}"),
    };
    let audited = if kernel.audited == side.audited || kernel.says == Looked::Unknown {
        ""
    } else if kernel.audited {
        ", in audit mode"
    } else {
        ", not in audit mode"
    };
    let agrees = if kernel.agrees { "agrees" } else { "DRIFT" };
    format!("{looked}{audited}; {agrees}")
}

/// Every rule with what in it is about the flow.
fn rules(policies: &[PolicyAnswer]) -> String {
    if policies.is_empty() {
        return String::new();
    }
    let row = |rule: &RuleAnswer| {
        let matches = |it: bool| if it { "yes" } else { "no" }.to_owned();
        vec![rule.rule.clone(), matches(rule.peer), matches(rule.port)]
    };
    let rows = policies.iter().flat_map(|policy| {
        let without = || vec![policy.policy.clone(), "no rules".to_owned(), String::new()];
        let without = policy.rules.is_empty().then(without);
        let faults = policy.faults.iter();
        let faults =
            faults.map(|fault| vec![policy.policy.clone(), format!("left out: {fault}"), String::new()]);
        let rules = policy.rules.iter().map(row);
        without.into_iter().chain(rules).chain(faults).collect::<Vec<_>>()
    });
    table::table(&[text("RULE"), text("PEER"), text("PORT")], rows)
}

#[cfg(test)]
mod tests;
