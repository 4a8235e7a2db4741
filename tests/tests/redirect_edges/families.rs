//! Ways to say the other end's address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::manifest::{self, Port};
use harness::scene::{mapped, vips};
use harness::twins::{NAMESPACE, Path, Twins};
use harness::{Pod, eventually, require_root};
use mesh_common::accel::{Enrolment, Moved};

use crate::seen::{enrolments, flow, redirected};
use crate::stamped::{echo, patient};

const PORT: u16 = 7_000;
const ALL: Moved = Moved {
    messages: 100,
    bytes: 6_400,
};

/// A service of both families that the server's pod serves.
fn sell(twins: &Twins) -> Result<()> {
    let ips: [IpAddr; 2] = vips(10, 0).map(|addr| addr.ip());
    let ports = [Port::tcp(80).to(PORT)];
    let service = manifest::service(NAMESPACE, "web", &ips, &ports, &[("app", "server")]);
    twins.sandbox.manifests().apply(&service)
}

fn redirects(
    twins: &Twins,
    from: &Pod,
    listener: &TcpListener,
    to: SocketAddr,
) -> Result<(TcpStream, TcpStream)> {
    let dial = || TcpStream::connect_timeout(&to, Duration::from_secs(1));
    let near = eventually(Duration::from_secs(5), || from.run(dial));
    let near = patient(near.with_context(|| format!("{to}"))?)?;
    let far = patient(listener.accept()?.0)?;
    echo(&near, &far, 100)?;
    let found = enrolments(&twins.sandbox, &near, &far)?;
    assert_eq!(found, [Enrolment::Enrolled; 2], "{to}");
    assert_eq!(redirected(twins, &near)?, ALL, "{to}");
    assert_eq!(redirected(twins, &far)?, ALL, "{to}");
    Ok((near, far))
}

#[test]
fn both_families_and_mapped_addresses_are_redirected() -> Result<()> {
    require_root!();
    let twins = Twins::new("families", Path::Redirect)?;
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    // The accepting sockets of IPv4 clients have mapped addresses, too.
    let listener = twins.server.run(|| TcpListener::bind(any))?;
    let (v4, v6) = (
        SocketAddr::new(twins.server.v4(), PORT),
        SocketAddr::new(twins.server.v6(), PORT),
    );
    for to in [v4, v6, mapped(v4)] {
        redirects(&twins, &twins.client, &listener, to)?;
    }
    Ok(())
}

#[test]
fn through_the_address_of_a_service_is_redirected() -> Result<()> {
    require_root!();
    let twins = Twins::new("service", Path::Redirect)?;
    sell(&twins)?;
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    let listener = twins.server.run(|| TcpListener::bind(any))?;
    let [v4, v6] = vips(10, 80);
    for to in [v4, v6, mapped(v4)] {
        let (near, _far) = redirects(&twins, &twins.client, &listener, to)?;
        let sock = flow(&twins.sandbox, &near)?.sock;
        assert_ne!(sock.service, 0, "{to}");
        assert_eq!(near.peer_addr()?, to, "what the application sees");
    }
    Ok(())
}

#[test]
fn a_pod_that_dials_itself_is_redirected() -> Result<()> {
    require_root!();
    let twins = Twins::new("itself", Path::Redirect)?;
    sell(&twins)?;
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    let listener = twins.server.run(|| TcpListener::bind(any))?;
    let own = SocketAddr::new(twins.server.v4(), PORT);
    for to in [own, vips(10, 80)[0]] {
        redirects(&twins, &twins.server, &listener, to)?;
    }
    Ok(())
}
