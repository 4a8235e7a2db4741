//! `link`: what keeps the programs attached.

use std::os::fd::AsFd;

use serde::Serialize;

use crate::{
    cli::{
        args::Format,
        failure::Failure,
        fdinfo::FdInfo,
        node::{self, Node},
        output::{self, Item, number, or_dash, table, text},
    },
    datapath::{
        hooks::{HOOKS, Hook},
        links::Cgroup,
        packets::clsact,
    },
    sys::bpf::{self, AttachType},
};

/// A pinned link, or a filter of ours, which has no link.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkRow {
    /// Name of its pin; of a filter, what its pin would be called.
    pub name: String,
    id: Option<u64>,
    /// Id of the program it runs.
    pub program: Option<u64>,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attach_type: Option<String>,
    /// The cgroup, interface, network namespace or map it is attached to.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Whether the kernel runs the program for the sockets of the mesh's cgroup; for cgroup links only.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<bool>,
}

impl Item for LinkRow {
    const KIND: &'static str = "Link";
    const NOUN: &'static str = "link";
    const COLUMNS: &'static [table::Column] = &[
        text("NAME"),
        number("ID"),
        number("PROGRAM"),
        text("KIND"),
        text("ATTACH"),
        text("TARGET"),
        text("EFFECTIVE"),
    ];

    fn name(&self) -> String {
        self.name.clone()
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            or_dash(self.id),
            or_dash(self.program),
            self.kind.clone(),
            or_dash(self.attach_type.as_ref()),
            or_dash(self.target.as_ref()),
            or_dash(
                self.effective
                    .map(|effective| if effective { "yes" } else { "no" }),
            ),
        ]
    }
}

/// `link list`.
pub fn list(node: &Node, format: Format) -> Result<String, Failure> {
    // Without the cgroup all is still listed, only not whether the kernel runs it there.
    let place = node::cgroup(&node.names(), node).ok();
    let cgroup = place.as_ref().map(|place| &place.cgroup);
    output::list(&rows(node, cgroup)?, format)
}

/// Every link that is pinned, also those of which this version knows nothing, and our filters.
pub fn rows(node: &Node, cgroup: Option<&Cgroup>) -> Result<Vec<LinkRow>, Failure> {
    let pins = &node.pins;
    let dir = pins.root().join("links");
    let failed = |error| Failure::pin(dir.display(), &error, pins.root());
    let mut names = pins.links().map_err(failed)?;
    names.sort();
    let look = |name: String| {
        let path = pins.link(&name);
        let (info, _) =
            FdInfo::of_pin(&path).map_err(|error| Failure::pin(path.display(), &error, pins.root()))?;
        let effective = effective(&name, cgroup, info.number("prog_id"));
        Ok(row(&name, &info, effective))
    };
    let links = names.into_iter().map(look);
    let filters = node
        .host()
        .and_then(|host| host.run(clsact::installed))
        .map_err(|error| Failure::failed(format!("listing the filters of interfaces: {error}")))?;
    let filters = filters
        .into_iter()
        .map(|(hook, ifindex, program)| Ok(filter_row(hook, ifindex, program)));
    links.chain(filters).collect()
}

fn effective(name: &str, cgroup: Option<&Cgroup>, program: Option<u64>) -> Option<bool> {
    let hook = HOOKS.into_iter().find(|hook| hook.program == name)?;
    let running = bpf::effective_programs(cgroup?.as_fd(), hook.attach).ok()?;
    let program = u32::try_from(program?).ok()?;
    Some(running.contains(&program))
}

fn filter_row(hook: Hook, ifindex: u32, program: Option<u32>) -> LinkRow {
    let direction = match hook.attach {
        AttachType::TcxEgress => "clsact_egress",
        _ => "clsact_ingress",
    };
    LinkRow {
        name: format!("{}_{ifindex}", hook.program),
        id: None,
        program: program.map(Into::into),
        kind: "clsact".to_owned(),
        attach_type: Some(direction.to_owned()),
        target: Some(format!("ifindex {ifindex}")),
        effective: None,
    }
}

fn row(name: &str, info: &FdInfo, effective: Option<bool>) -> LinkRow {
    let target = ["cgroup_id", "ifindex", "netns_ino", "map_id", "target_obj_id"]
        .into_iter()
        .find_map(|key| {
            info.text(key)
                .map(|value| format!("{} {value}", key.trim_end_matches("_id").trim_end_matches("_ino")))
        });
    LinkRow {
        name: name.to_owned(),
        id: info.number("link_id"),
        program: info.number("prog_id"),
        kind: info.text("link_type").unwrap_or("unknown").to_owned(),
        attach_type: info.text("attach_type").map(attach_type),
        target,
        effective,
    }
}

/// Names of `enum bpf_attach_type` as bpftool writes them.
fn attach_type(text: &str) -> String {
    // Some kinds of link have a word of their own behind the number: `46 (ingress)`.
    let name = match text.split_whitespace().next().unwrap_or_default() {
        "3" => "cgroup_sock_ops",
        "10" => "cgroup_inet4_connect",
        "11" => "cgroup_inet6_connect",
        "14" => "cgroup_udp4_sendmsg",
        "15" => "cgroup_udp6_sendmsg",
        "19" => "cgroup_udp4_recvmsg",
        "20" => "cgroup_udp6_recvmsg",
        "28" => "trace_iter",
        "29" => "cgroup_inet4_getpeername",
        "30" => "cgroup_inet6_getpeername",
        "36" => "sk_lookup",
        "46" => "tcx_ingress",
        "47" => "tcx_egress",
        _ => text,
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::packets::HOOKS as PACKET_HOOKS;

    #[test]
    fn the_table() {
        let cgroup =
            "link_type:\tcgroup\nlink_id:\t4\nprog_tag:\tab\nprog_id:\t51\ncgroup_id:\t1\nattach_type:\t10\n";
        let rows = [
            row("mesh_connect4", &FdInfo::parse(cgroup), Some(true)),
            row(
                "mesh_list",
                &FdInfo::parse("link_type:\titer\nlink_id:\t9\nprog_id:\t60\nmap_id:\t7\n"),
                None,
            ),
            row(
                "mesh_to_pod_7",
                &FdInfo::parse(
                    "link_type:\ttcx\nlink_id:\t12\nprog_id:\t61\nifindex:\t7\nattach_type:\t47 (egress)\n",
                ),
                None,
            ),
            row(
                "mesh_inbound_41",
                &FdInfo::parse(
                    "link_type:\tnetns\nlink_id:\t13\nprog_id:\t62\nnetns_ino:\t4026532000\nattach_type:\t36\n",
                ),
                None,
            ),
            row("odd", &FdInfo::default(), None),
            filter_row(PACKET_HOOKS[1], 17, Some(61)),
        ];
        assert_eq!(
            output::list(&rows, Format::Table).unwrap(),
            "\
NAME              ID   PROGRAM   KIND      ATTACH                 TARGET             EFFECTIVE
mesh_connect4      4        51   cgroup    cgroup_inet4_connect   cgroup 1           yes
mesh_list          9        60   iter      -                      map 7              -
mesh_to_pod_7     12        61   tcx       tcx_egress             ifindex 7          -
mesh_inbound_41   13        62   netns     sk_lookup              netns 4026532000   -
odd                -         -   unknown   -                      -                  -
mesh_to_pod_17     -        61   clsact    clsact_egress          ifindex 17         -
"
        );
        assert_eq!(
            output::list(&rows, Format::Name).unwrap(),
            "link/mesh_connect4\nlink/mesh_list\nlink/mesh_to_pod_7\nlink/mesh_inbound_41\nlink/odd\nlink/mesh_to_pod_17\n"
        );
    }
}
