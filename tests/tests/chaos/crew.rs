//! Two agents at once, one of which writes, that are killed and replaced.

use anyhow::{Context as _, Result, ensure};
use harness::dice::Dice;
use harness::manifest;
use harness::{Agent, eventually, metrics};

use crate::LONGEST;
use crate::town::Town;

/// The agents.
pub struct Crew<'a> {
    town: &'a Town,
    agents: [Agent; 2],
    pub killed: u32,
}

impl<'a> Crew<'a> {
    /// The first has the tables, the second waits for its end.
    pub fn hire(town: &'a Town) -> Result<Self> {
        let first = agent(town, 0)?;
        first.wait_ready()?;
        let second = agent(town, 1)?;
        second.wait_ready()?;
        Ok(Self {
            town,
            agents: [first, second],
            killed: 0,
        })
    }

    /// Kills one of them, whatever it is doing, or both, and starts as many.
    pub fn kill(&mut self, dice: &mut Dice) -> Result<()> {
        let first = dice.below(2);
        let both = dice.one_in(4);
        if !both && self.may_have_the_tables(first) {
            self.meet()?;
        }
        let victims = if both { vec![first, 1 - first] } else { vec![first] };
        for &victim in &victims {
            self.agents[victim].kill9()?;
            self.killed += 1;
        }
        for victim in victims {
            self.agents[victim] = agent(self.town, victim)?;
        }
        Ok(())
    }

    fn may_have_the_tables(&self, which: usize) -> bool {
        let pid = self.agents[which].program().pid();
        self.town
            .cluster
            .status()
            .map_or(true, |status| status["pid"] == pid)
    }

    /// Waits until both know of the latest endpoints: one that takes over writes what it knows, so where its watch is
    /// behind that of the one before, it brings back for a while what that had taken away.
    fn meet(&self) -> Result<()> {
        let server = &self.town.cluster.server;
        let mark = format!("mark-{}", self.killed);
        let slice = manifest::endpoint_slice("shop", "mark", &mark, &[], &[]);
        self.town.cluster.put(&slice)?;
        let slices = server.len("endpointslices")?;
        for agent in &self.agents {
            eventually(LONGEST, || {
                let labels = [("resource", "endpointslices")];
                let known = metrics::sum(&agent.metrics()?, "mesh_source_objects", &labels);
                ensure!(known == slices as u64, "{known} slices of {slices}");
                Ok(())
            })
            .with_context(|| agent.log())?;
        }
        Ok(())
    }

    /// The value of a metric, of both.
    pub fn sum(&self, metric: &str) -> Result<u64> {
        let texts = self.agents.iter().map(Agent::metrics);
        texts.map(|text| Ok(metrics::sum(&text?, metric, &[]))).sum()
    }
}

/// One in an office of its own.
fn agent(town: &Town, office: usize) -> Result<Agent> {
    let agent = town.cluster.agent().inside(town.offices[office].unenrolled());
    let host = town.cluster.sandbox.netns_dir().join("node");
    agent
        .env("MESH_HOST_NETNS", host)
        .arg("--wait-for-handover")
        .launch()
}
