use super::*;
use crate::datapath::packets::Way;

fn status(agent: AgentState, missing: &[NotAttached]) -> Status {
    let status = Status {
        node: "node-1".into(),
        cgroup: "/sys/fs/cgroup".into(),
        cgroup_known: Some(Known::Noted),
        agent,
        hooks: hook_states(missing),
        packets: PacketState::of(Ok(Counting {
            interfaces: 2,
            ways: [(Way::Tcx, 2)].into(),
            faults: Vec::new(),
        })),
        pods: 2,
        pending_pods: 1,
        services: 3,
        backends: 4,
        maps: vec![Fill {
            name: "PODS",
            entries: 2,
            max: 4_096,
        }],
        counters: [("translated", 12)].into(),
        ..Status::configured(
            Config {
                abi: 1,
                flags: 0,
                generation: 7,
                ..Config::default()
            },
            None,
        )
    };
    Status {
        healthy: status.is_healthy(),
        ..status
    }
}

fn running(pending: &[&str]) -> AgentState {
    agent(Ok(admin::Status {
        version: "0.1.0".into(),
        pid: 42,
        source: "https://10.0.0.1:6443".into(),
        pending_pods: "by cgroup, below /sys/fs/cgroup/kubepods.slice".into(),
        pending: pending.iter().map(ToString::to_string).collect(),
        ..admin::Status::default()
    }))
}

#[test]
fn a_node_that_is_well() {
    let status = status(running(&[]), &[]);
    assert!(status.healthy);
    assert_eq!(
        output::one(&status, Format::Table).unwrap(),
        "\
Node:          node-1
Agent:         running (pid 42, version 0.1.0)
Ready:         yes
Source:        https://10.0.0.1:6443
Cgroup:        /sys/fs/cgroup
Hooks:         9 of 9 attached
Packets:       2 of 2 interfaces by tcx
Pods:          2 enrolled, 1 pending
Pending pods:  by cgroup, below /sys/fs/cgroup/kubepods.slice
Services:      3 ports
Backends:      4
Policies:      0, 0 pods isolated
Acceleration:  disabled: not probed yet
Generation:    7

MAP    ENTRIES    MAX   USED
PODS         2   4096   0.0%

COUNTER      TOTAL
translated      12
"
    );
}

#[test]
fn a_node_without_an_agent_is_not_well() {
    let status = status(
        agent(Err(Silence::NotRunning("/run/mesh/admin.sock".into()))),
        &[],
    );
    assert!(!status.healthy);
    let text = status.text();
    assert!(text.contains("Agent:         not running\n"), "{text}");
    assert!(text.contains("the kernel goes on"), "{text}");
}

#[test]
fn policies_are_counted_and_what_is_not_enforced_is_listed() {
    let agent = AgentState {
        policy: PolicyState {
            policies: 3,
            pods: 12,
            audited: vec!["staging".into()],
            unenforced: vec!["shop/vm: unsupported (kata)".into()],
            problems: vec!["shop/web-1: no room for its rules".into()],
        },
        ..running(&[])
    };
    let text = status(agent, &[]).text();
    for lines in [
        "Policies:      3, 12 pods isolated, 1 not enforced, 1 namespaces in audit mode\n",
        "\nPolicies without room:\n  shop/web-1: no room for its rules\n",
        "\nPods that policies isolate, and nobody sees to it:\n  shop/vm: unsupported (kata)\n",
        "\nNamespaces where policies only report:\n  staging\n",
    ] {
        assert!(text.contains(lines), "{lines}{text}");
    }
    let gone = agent_state_of_nobody();
    assert!(status(gone, &[]).text().contains("Policies:      -\n"));
}

fn agent_state_of_nobody() -> AgentState {
    agent(Err(Silence::NotRunning("/run/mesh/admin.sock".into())))
}

#[test]
fn an_agent_that_waits_is_told_of() {
    let agent = AgentState {
        awaited: true,
        ..running(&[])
    };
    let text = status(agent, &[]).text();
    let line = "Agent:         running (pid 42, version 0.1.0); another one waits to take over\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn what_is_wrong_is_listed() {
    let agent = AgentState {
        source_trouble: Some("gone since noon".into()),
        problems: vec!["svc.yaml: no spec".into()],
        unassigned: vec!["shop/web: no address".into()],
        partial: vec!["shop/vm: no end".into()],
        limits: vec!["no list".into()],
        ..running(&["programs: mesh_tcp: gone"])
    };
    let missing = [NotAttached {
        program: "mesh_tcp",
        why: "gone".into(),
    }];
    let status = status(agent, &missing);
    assert!(!status.healthy);
    let text = status.text();
    assert!(
        text.contains("Ready:         no: programs: mesh_tcp: gone\n"),
        "{text}"
    );
    assert!(
        text.contains("Source:        https://10.0.0.1:6443: gone since noon\n"),
        "{text}"
    );
    assert!(text.contains("Hooks:         8 of 9 attached\n"), "{text}");
    assert!(
        text.contains("\nNot attached:\n  mesh_tcp: gone\n\nProblems:\n  svc.yaml: no spec\n"),
        "{text}"
    );
    assert!(!text.contains("Without room"), "{text}");
    assert!(
        text.contains("\nPods seen in part:\n  shop/vm: no end\n\nNot possible here:\n  no list\n"),
        "{text}"
    );
}

#[test]
fn a_cgroup_that_is_not_noted_is_remarked_on() {
    let status = Status {
        cgroup_known: Some(Known::Assumed),
        ..status(running(&[]), &[])
    };
    let text = status.text();
    assert!(
        text.contains("Cgroup:        /sys/fs/cgroup (assumed: the agent left neither a note nor a link)\n"),
        "{text}"
    );
    let json = output::one(&status, Format::Json).unwrap();
    assert!(json.contains("\"cgroupKnown\": \"assumed\""), "{json}");
}

#[test]
fn the_kill_switch_is_not_well() {
    let status = Status {
        disabled: true,
        ..status(running(&[]), &[])
    };
    assert!(!status.is_healthy());
    assert!(status.text().contains("kill switch"));
}

#[test]
fn as_json() {
    let mut status = status(running(&[]), &[]);
    status.hooks.truncate(1);
    assert_eq!(
        output::one(&status, Format::Json).unwrap(),
        r#"{
  "apiVersion": "mesh-agent.io/v1alpha1",
  "kind": "Status",
  "healthy": true,
  "node": "node-1",
  "cgroup": "/sys/fs/cgroup",
  "cgroupKnown": "noted",
  "agent": {
    "running": true,
    "ready": true,
    "pid": 42,
    "version": "0.1.0",
    "source": "https://10.0.0.1:6443",
    "pending": [],
    "problems": [],
    "refusals": [],
    "unassigned": [],
    "pendingPods": "by cgroup, below /sys/fs/cgroup/kubepods.slice",
    "partial": [],
    "limits": [],
    "policy": {
      "policies": 0,
      "pods": 0,
      "audited": [],
      "unenforced": [],
      "problems": []
    }
  },
  "disabled": false,
  "acceleration": "disabled: not probed yet",
  "generation": 7,
  "hooks": [
    {
      "program": "mesh_tcp",
      "attached": true
    }
  ],
  "rivals": [],
  "packets": {
    "interfaces": 2,
    "counted": {
      "tcx": 2
    },
    "faults": []
  },
  "pods": 2,
  "pendingPods": 1,
  "unenrolled": [],
  "unobservedSockets": 0,
  "services": 3,
  "backends": 4,
  "maps": [
    {
      "name": "PODS",
      "entries": 2,
      "max": 4096
    }
  ],
  "counters": {
    "translated": 12
  }
}
"#
    );
    assert_eq!(output::one(&status, Format::Name).unwrap_err().exit(), 2);
}

#[test]
fn pods_that_are_kept_out_are_named() {
    let names = crate::cli::held::sample::held().names;
    let status = Status {
        unenrolled: unenrolled(&names),
        ..status(running(&[]), &[])
    };
    let text = output::one(&status, Format::Table).unwrap();
    assert!(
        text.contains("Pods:          2 enrolled, 1 pending, 2 kept out\n"),
        "{text}"
    );
    let list = "\
Pods that ask for the mesh and are not in it:
  shop/legacy: other-mesh (istio-proxy)
  shop/probe: host-network
";
    assert!(text.contains(list), "{text}");
}
