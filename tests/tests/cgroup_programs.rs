//! What the harness rests on: a cgroup program runs for the sockets of the threads and processes that
//! stand in its cgroup, threaded as that is, and for no others of the same test process.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, Result};
use harness::foreign::{self, Verdict};
use harness::{Pod, Sandbox, require_root};

/// Forbids `connect()` to all in a cgroup, until the link is dropped.
fn forbid(cgroup: &Path) -> Result<OwnedFd> {
    foreign::connect4(cgroup, "forbids", Verdict::Deny)
}

/// What `connect()` to a closed port says: refused if it got through.
fn knock() -> ErrorKind {
    let closed = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
    TcpStream::connect(closed).expect_err("a closed port").kind()
}

const FORBIDDEN: ErrorKind = ErrorKind::PermissionDenied;
const THROUGH: ErrorKind = ErrorKind::ConnectionRefused;

fn knock_by_process(pod: &Pod) -> Result<bool> {
    let output = pod
        .command("bash")
        .args(["-c", "exec 3<>/dev/tcp/127.0.0.1/9"])
        .output()?;
    Ok(String::from_utf8_lossy(&output.stderr).contains("not permitted"))
}

#[test]
fn programs_run_for_whom_they_should() -> Result<()> {
    require_root!();
    let (sandbox, other) = (Sandbox::new("programs")?, Sandbox::new("others")?);
    let pods = [
        sandbox.pod("a", &["10.0.1.2"])?,
        sandbox.pod("b", &["10.0.1.3"])?,
        other.pod("c", &["10.0.1.4"])?,
    ];
    let knocks = || pods.each_ref().map(|pod| pod.run(knock));
    assert_eq!(knocks(), [THROUGH; 3]);

    let of_sandbox = forbid(sandbox.cgroup())?;
    assert_eq!(knocks(), [FORBIDDEN, FORBIDDEN, THROUGH]);
    assert_eq!(sandbox.outside_pod().run(knock), FORBIDDEN);
    assert_eq!(
        [
            pods[0].unenrolled().run(knock),
            sandbox.node().run(knock),
            knock()
        ],
        [THROUGH; 3]
    );
    let grandchild = pods[0].run(|| std::thread::scope(|scope| scope.spawn(knock).join().ok()));
    assert_eq!(grandchild, Some(FORBIDDEN), "a thread started inside");
    if harness::require::program("bash").is_ok() {
        assert!(knock_by_process(&pods[0])? && !knock_by_process(&pods[2])?);
    }
    drop(of_sandbox);
    assert_eq!(knocks(), [THROUGH; 3]);

    let _of_pod = forbid(pods[0].place().cgroup().context("a cgroup")?)?;
    assert_eq!(knocks(), [FORBIDDEN, THROUGH, THROUGH]);
    Ok(())
}

#[test]
fn sockets_stay_where_they_were_made() -> Result<()> {
    require_root!();
    let sandbox = Sandbox::new("stay")?;
    let pod = sandbox.pod("a", &["10.0.1.2"])?;
    let _link = forbid(sandbox.cgroup())?;
    let make = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let closed: socket2::SockAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9).into();
    let (inside, outside) = (pod.run(make)?, pod.unenrolled().run(make)?);
    // Connected by a thread elsewhere.
    assert_eq!(
        inside.connect(&closed).map_err(|error| error.kind()),
        Err(FORBIDDEN)
    );
    assert_eq!(
        pod.run(|| outside.connect(&closed)).map_err(|error| error.kind()),
        Err(THROUGH)
    );
    Ok(())
}
