//! Everything an agent has before it has the tables.

use std::collections::BTreeSet;

use anyhow::Context;
use mesh_common::addr::Addr;
use prometheus_client::registry::Registry;

use super::{
    config::RunArgs,
    following::Following,
    listeners, mounts, programs,
    readiness::Readiness,
    serve::{self, Exposition},
    wire,
};
use crate::{
    datapath::{links::Cgroup, loader::MapSizes, pins::Pins},
    model::cluster::{Cluster, Event},
    sys::{heap, netns::Host},
};

/// An agent that follows its source and answers probes and scrapes.
pub struct Standby {
    /// Its command line.
    pub args: RunArgs,
    /// The name of its node.
    pub node: String,
    /// Sizes of maps other than the default.
    pub sizes: MapSizes,
    /// The host's network namespace.
    pub host: Host,
    /// The cgroup whose sockets its programs see.
    pub cgroup: Cgroup,
    /// What it is waiting for.
    pub readiness: Readiness,
    /// What `/metrics` tells.
    pub exposition: Exposition,
    /// Where objects come from.
    pub following: Following,
    /// Those that came, to be planned once there are tables.
    pub cluster: Cluster,
}

impl Standby {
    /// Begins.
    ///
    /// # Errors
    /// Where an address can't be listened on, or there is no source, cgroup or network namespace.
    pub async fn start(args: RunArgs) -> anyhow::Result<Self> {
        let host = Host::open(args.place.host_netns.as_deref())?;
        let readiness = Readiness::default();
        let cgroup = Cgroup::open(&mounts::cgroup(args.place.cgroup.as_deref())?)?;
        let goes_on = programs::of_an_earlier_agent(&Pins::new(&args.place.bpffs), &cgroup);
        readiness.block(programs::READINESS, goes_on.unwrap_or("not attached yet"));
        readiness.block(wire::READINESS, "not attached yet");
        readiness.block(listeners::READINESS, "not attached yet");
        let listener = serve::listen(args.readiness_address).await?;
        tokio::spawn(axum::serve(listener, serve::readiness(readiness.clone())).into_future());

        let node = args.node_name.clone().map_or_else(host_name, Ok)?;
        let mut registry = Registry::default();
        let following = Following::start(&args, &node, &readiness, &mut registry).await?;
        let exposition = Exposition::of(registry);
        let metrics = serve::listen(args.metrics_address).await?;
        tokio::spawn(axum::serve(metrics, serve::metrics(exposition.clone())).into_future());
        Ok(Self {
            cluster: following.cluster(&node).honoring_istio(args.honor_istio_labels),
            sizes: args.map_sizes.iter().cloned().collect(),
            cgroup,
            args,
            node,
            host,
            readiness,
            exposition,
            following,
        })
    }

    /// Keeps what the source brought.
    pub fn keep(&mut self, events: Vec<Event>) {
        for event in events {
            // All of it is planned once there are tables to write.
            drop(self.cluster.apply(event));
        }
        if !self.following.is_complete() {
            self.following.completed();
            // Reading everything took more memory than is kept.
            heap::trim();
        }
    }

    /// Keeps the addresses of the host.
    pub fn keep_addresses(&mut self, addresses: BTreeSet<Addr>) {
        drop(self.cluster.set_host_addresses(addresses));
    }
}

fn host_name() -> anyhow::Result<String> {
    let name = rustix::system::uname().nodename().to_str().map(ToOwned::to_owned);
    name.context("the host name is not UTF-8: name the node with --node-name")
}
