//! Why a flow passes or does not: what the policies say, who sees to it, and what the kernel's tables say of it now.

use mesh_common::{
    decide::policy::Verdict as Judged,
    policy::{Direction, Transport},
    rules::NOTHING,
};

mod answer;
mod party;

pub use self::answer::{
    EndAnswer, Exempt, Explained, Fail, FlowAnswer, Judge, KernelAnswer, Looked, Outcome, PolicyAnswer,
    RuleAnswer, Says, SideAnswer, Sight,
};
use self::party::{Role, parties};
use super::{ExplainQuery, PolicyView, Standing};
use crate::model::policy::{
    Cluster, Exemption, Question, RuleRef, Side,
    explain::{self, Explanation, Kernel, Said},
};

/// Explains a flow; `kernel` is what this node's tables hold.
///
/// # Errors
/// What is wrong with the question, or which object is not known.
pub fn explain(view: &impl PolicyView, kernel: &Kernel, query: &ExplainQuery) -> Result<Explained, String> {
    let transport = Transport::ALL.into_iter().find(|it| it.name() == query.protocol);
    let transport = transport.ok_or_else(|| format!("{} is no protocol that rules know", query.protocol))?;
    let cluster = view.cluster();
    let flows = parties(view, &cluster, query, transport)?;
    let scene = Scene {
        view,
        cluster: &cluster,
        kernel,
    };
    let flows: Vec<_> = flows
        .iter()
        .map(|(source, destination, port)| scene.flow(source, destination, *port, transport))
        .collect();
    Ok(Explained {
        from: query.from.clone(),
        to: query.to.clone(),
        protocol: query.protocol.clone(),
        drift: flows.iter().any(FlowAnswer::drifts),
        flows,
    })
}

/// What a namespace says of its pods.
struct Mode {
    /// What their policies refuse passes and is reported.
    audited: bool,
    /// Nothing passes as long as the kernel knows nothing of them.
    closed: bool,
}

/// What every flow is held against.
struct Scene<'a, V> {
    view: &'a V,
    cluster: &'a Cluster,
    kernel: &'a Kernel,
}

impl<V: PolicyView> Scene<'_, V> {
    fn flow(&self, source: &Role, destination: &Role, port: u16, transport: Transport) -> FlowAnswer {
        let question = Question {
            from: source.source(),
            to: destination.party(),
            protocol: transport as u8,
            port,
        };
        let explained = explain::explain(self.cluster, &question);
        let side =
            |direction, own: &Role, other: &Role| self.side(&explained, direction, own, other, &question);
        let egress = side(Direction::Egress, source, destination);
        let ingress = side(Direction::Ingress, destination, source);
        FlowAnswer {
            source: source.answer(),
            destination: destination.answer(),
            port,
            verdict: egress.outcome().max(ingress.outcome()),
            egress,
            ingress,
        }
    }

    fn side(
        &self,
        explained: &Explanation<'_>,
        direction: Direction,
        own: &Role,
        other: &Role,
        question: &Question,
    ) -> SideAnswer {
        let side = explained.side(direction);
        let (says, exempt) = match side {
            Side::NoPod => (Says::NoPod, None),
            Side::Exempt(Exemption::Host) => (Says::Exempt, Some(Exempt::Host)),
            Side::Exempt(Exemption::Itself) => (Says::Exempt, Some(Exempt::Itself)),
            Side::Open => (Says::Open, None),
            Side::Allowed(_) => (Says::Allowed, None),
            Side::Isolated => (Says::Isolated, None),
        };
        if matches!(says, Says::NoPod | Says::Exempt) {
            return SideAnswer {
                says,
                exempt,
                ..SideAnswer::default()
            };
        }
        let namespace = own.namespace();
        let mode = Mode {
            audited: self.view.is_audited(namespace),
            closed: self.view.fails_closed(namespace),
        };
        let (judge, unenforced) = match &own.standing {
            Some(Standing::Here { .. }) => (Judge::Here, None),
            Some(Standing::Elsewhere) => (Judge::Elsewhere, None),
            Some(Standing::Outside { why, .. }) => (Judge::Nobody, Some(why.clone())),
            Some(Standing::HostNetwork { .. }) | None => (Judge::Nobody, None),
        };
        let kernel = match own.standing {
            Some(Standing::Here { workload }) => {
                let said = workload.and_then(|id| self.kernel.ask(id, direction, &other.addr, question));
                Some(self.looked_up(explained, direction, said, &mode))
            }
            _ => None,
        };
        SideAnswer {
            says,
            exempt: None,
            policies: explained.isolating(direction).iter().map(policy).collect(),
            judge,
            unenforced,
            audited: mode.audited,
            fail_mode: if mode.closed { Fail::Closed } else { Fail::Open },
            kernel,
        }
    }

    /// What this node's tables say; nothing where they know nothing of the pod.
    fn looked_up(
        &self,
        explained: &Explanation<'_>,
        direction: Direction,
        said: Option<Said>,
        mode: &Mode,
    ) -> KernelAnswer {
        let side = explained.side(direction);
        let Some(said) = said else {
            return KernelAnswer {
                agrees: side.passes() != mode.closed,
                ..KernelAnswer::default()
            };
        };
        let in_force = self.view.in_force();
        let (says, rule) = match said.verdict {
            Judged::Open => (Looked::Open, None),
            Judged::Denied => (Looked::Denied, None),
            Judged::Allowed { rule } => (Looked::Allowed, Some(rule)),
        };
        let named: Option<RuleRef> = rule.and_then(|rule| in_force.rule(rule));
        let allowing = explained.allowing(direction);
        KernelAnswer {
            says,
            set: said.set,
            set_policies: in_force
                .set(said.set)
                .iter()
                .flatten()
                .map(ToString::to_string)
                .collect(),
            class: said.class,
            rule,
            rule_name: named.as_ref().map(ToString::to_string),
            audited: said.audited,
            no_room: said.set == NOTHING,
            agrees: explain::agrees(side, allowing, mode.audited, &said, named.as_ref()),
        }
    }
}

fn policy(isolating: &explain::Isolating<'_>) -> PolicyAnswer {
    let rules = isolating.rules.iter().map(|tried| RuleAnswer {
        rule: tried.rule.to_string(),
        passes: tried.passes(),
        peer: tried.peer,
        port: tried.port,
    });
    PolicyAnswer {
        policy: isolating.policy.name.to_string(),
        rules: rules.collect(),
        faults: isolating.policy.faults.iter().map(ToString::to_string).collect(),
    }
}
