//! Whose sockets are enrolled: what namespaces and pods say, and what the agent saw.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::manifest;
use harness::twins::{NAMESPACE, Path, Twins, namespace, wait_probed};
use harness::{Pod, Sandbox, eventually, require_root, until};
use mesh_common::accel::Enrolment;
use mesh_common::names::acceleration;

use crate::seen::{enrolments, entries, live, redirected};
use crate::stamped::{connect, echo, patient};

const SOON: Duration = Duration::from_secs(5);

/// Makes a pod say something for itself.
fn annotate(twins: &Twins, pod: &Pod, value: &str) -> Result<()> {
    let manifest = manifest::pod_of(NAMESPACE, pod, &[]);
    let manifest = manifest.annotation(acceleration::ANNOTATION, value);
    twins.sandbox.manifests().apply(&manifest)
}

/// New connections become like this soon; the stream is right.
fn becomes(twins: &Twins, expected: [Enrolment; 2]) -> Result<()> {
    eventually(SOON, || {
        let (near, far) = connect(twins)?;
        echo(&near, &far, 3)?;
        let found = enrolments(&twins.sandbox, &near, &far)?;
        ensure!(found == expected, "{found:?}, not {expected:?}");
        Ok(())
    })
}

#[test]
fn both_pods_must_ask_and_a_pod_overrides_its_namespace() -> Result<()> {
    use Enrolment::{Enrolled, NotAsked, PeerRefuses};
    require_root!();
    let twins = Twins::new("consent", Path::Tcp)?;
    becomes(&twins, [NotAsked; 2])?;
    annotate(&twins, &twins.client, acceleration::SOCKET)?;
    becomes(&twins, [PeerRefuses, NotAsked])?;
    assert!(until(SOON, || entries(&twins.sandbox).is_ok_and(|left| left == [0; 2])));
    annotate(&twins, &twins.server, acceleration::SOCKET)?;
    becomes(&twins, [Enrolled; 2])?;
    annotate(&twins, &twins.client, acceleration::OFF)?;
    becomes(&twins, [NotAsked, PeerRefuses])?;
    // The namespace asks, the client's own word counts.
    twins.sandbox.manifests().apply(&namespace(Path::Redirect))?;
    twins
        .sandbox
        .manifests()
        .apply(&manifest::pod_of(NAMESPACE, &twins.server, &[]))?;
    becomes(&twins, [NotAsked, PeerRefuses])?;
    twins
        .sandbox
        .manifests()
        .apply(&manifest::pod_of(NAMESPACE, &twins.client, &[]))?;
    becomes(&twins, [Enrolled; 2])
}

#[test]
fn a_wrong_word_is_reported_by_name_and_counts_as_none() -> Result<()> {
    require_root!();
    let twins = Twins::new("word", Path::Redirect)?;
    annotate(&twins, &twins.client, "turbo")?;
    let problem = |text: &str| {
        ["turbo", "client", acceleration::ANNOTATION, "off, socket"]
            .iter()
            .all(|part| text.contains(part))
    };
    eventually(SOON, || {
        let status = twins.sandbox.meshctl(["status"])?;
        let text = String::from_utf8_lossy(&status.stdout).into_owned();
        ensure!(text.lines().any(problem), "{text}");
        Ok(())
    })?;
    becomes(&twins, [Enrolment::Enrolled; 2])?;
    annotate(&twins, &twins.client, acceleration::OFF)?;
    becomes(&twins, [Enrolment::NotAsked, Enrolment::PeerRefuses])
}

#[test]
fn what_is_no_pod_of_the_mesh_is_elsewhere() -> Result<()> {
    require_root!();
    let twins = Twins::new("elsewhere", Path::Redirect)?;
    let stranger = twins.sandbox.pod("stranger", &["10.0.1.9"])?;
    let outsider = twins.sandbox.pod("outsider", &["10.0.1.8"])?;
    let manifests = twins.sandbox.manifests();
    manifests.apply(&manifest::namespace("plain", false))?;
    manifests.apply(&manifest::pod_of("plain", &outsider, &[]))?;
    for pod in [&stranger, &outsider] {
        let addr = SocketAddr::new(pod.v4(), 0);
        let listener = pod.run(|| TcpListener::bind(addr))?;
        let to = listener.local_addr()?;
        let near = patient(twins.client.run(|| TcpStream::connect(to))?)?;
        let far = patient(listener.accept()?.0)?;
        echo(&near, &far, 10)?;
        let flows = live(&twins.sandbox)?;
        assert_eq!(flows.len(), 1, "{flows:?}");
        let found = Enrolment::from_number(flows[0].sock.accel.enrolment);
        assert_eq!(found, Some(Enrolment::PeerElsewhere));
        assert_eq!(entries(&twins.sandbox)?, [0; 2]);
    }
    Ok(())
}

#[test]
fn sockets_older_than_the_agent_are_never_enrolled() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("older")?;
    let client = sandbox.pod("client", &["10.0.1.1"])?;
    let server = sandbox.pod("server", &["10.0.1.2"])?;
    let manifests = sandbox.manifests();
    manifests.apply(&namespace(Path::Redirect))?;
    manifests.apply(&manifest::pod_of(NAMESPACE, &client, &[]))?;
    manifests.apply(&manifest::pod_of(NAMESPACE, &server, &[]))?;
    let listener = server.run(|| TcpListener::bind((server.v4(), 0)))?;
    let to = listener.local_addr()?;
    let dial = || client.run(|| TcpStream::connect(to));
    let (near, far) = (patient(dial()?)?, patient(listener.accept()?.0)?);
    echo(&near, &far, 10)?;
    let _agent = sandbox.agent().start()?;
    wait_probed(&sandbox)?;
    echo(&near, &far, 100)?;
    assert_eq!(live(&sandbox)?.len(), 0);
    assert_eq!(entries(&sandbox)?, [0; 2]);
    // The listener is older, too, but what it accepts now is not.
    eventually(SOON, || {
        let (young, accepted) = (patient(dial()?)?, patient(listener.accept()?.0)?);
        echo(&young, &accepted, 10)?;
        let found = enrolments(&sandbox, &young, &accepted)?;
        ensure!(found == [Enrolment::Enrolled; 2], "{found:?}");
        Ok(())
    })?;
    echo(&near, &far, 100)
}

#[test]
fn a_pod_that_no_longer_asks_keeps_what_is_enrolled() -> Result<()> {
    require_root!();
    let twins = Twins::new("withdrawn", Path::Redirect)?;
    let (near, far) = connect(&twins)?;
    echo(&near, &far, 10)?;
    twins.sandbox.manifests().apply(&namespace(Path::Tcp))?;
    becomes(&twins, [Enrolment::NotAsked; 2])?;
    echo(&near, &far, 10)?;
    let found = enrolments(&twins.sandbox, &near, &far)?;
    assert_eq!(found, [Enrolment::Enrolled; 2]);
    assert_eq!(redirected(&twins, &near)?.messages, 20);
    Ok(())
}
