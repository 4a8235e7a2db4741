//! What the agent tells the API server, where it follows one: Events, and that its node may have pods.

use super::{
    config::RunArgs, engine::Engine, following::Following, notices::Herald, readiness::Readiness,
    taint::Taint,
};

/// Everything there is to tell; nothing where objects come from manifests.
#[derive(Default)]
pub struct Reports {
    herald: Option<Herald>,
    taint: Option<Taint>,
}

impl Reports {
    /// Begins; nothing is told before the first look.
    #[must_use]
    pub fn start(following: &Following, args: &RunArgs, node: &str) -> Self {
        let Some(access) = following.server(args) else {
            return Self::default();
        };
        Self {
            taint: args.remove_taint.then(|| Taint::new(access.clone(), node)),
            herald: Some(Herald::start(access, node.to_owned())),
        }
    }

    /// Looks at what there is to tell; to be called now and then, once everything is known.
    pub fn look(&mut self, engine: &Engine, readiness: &Readiness) {
        if let Some(herald) = &mut self.herald {
            herald.look(engine);
        }
        if let Some(taint) = &mut self.taint {
            taint.look(engine.cluster(), readiness);
        }
    }
}
