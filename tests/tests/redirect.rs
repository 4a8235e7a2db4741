//! The redirect, on the real kernel.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use harness::{Sandbox, manifest, require_root};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn ping_pong() -> anyhow::Result<()> {
    require_root!();
    let sandbox = Sandbox::new("ping")?;
    let client = sandbox.pod("client", &["10.0.1.1", "fd00::1:1"])?;
    let server = sandbox.pod("server", &["10.0.1.2", "fd00::1:2"])?;
    let manifests = sandbox.manifests();
    let on = std::env::var("MESH_OFF").is_err();
    manifests.apply(
        &manifest::namespace("shop", true)
            .annotation("mesh-agent.io/acceleration", if on { "socket" } else { "off" }),
    )?;
    manifests.apply(&manifest::pod_of("shop", &client, &[]))?;
    manifests.apply(&manifest::pod_of("shop", &server, &[("app", "server")]))?;
    let agent = sandbox.agent().start()?;
    println!("{}", agent.log());
    let listener = server.run(|| TcpListener::bind("10.0.1.2:8080"))?;
    let thread = std::thread::spawn(move || {
        let (mut s, _) = listener.accept().unwrap();
        pin(0);
        s.set_nodelay(true).unwrap();
        let mut b = vec![0; 64];
        while s.read_exact(&mut b).is_ok() {
            s.write_all(&b).unwrap();
        }
    });
    let mut c = client.run(|| TcpStream::connect(address("10.0.1.2:8080")))?;
    pin(0);
    c.set_nodelay(true)?;
    let t = Instant::now();
    let mut b = vec![7; 64];
    let n = 100_000;
    for _ in 0..n {
        c.write_all(&b)?;
        c.read_exact(&mut b)?;
    }
    println!("{:?} per op", t.elapsed() / n);
    let out = sandbox.meshctl(["map", "dump", "SPLICES", "-o", "json"])?;
    println!("{}", String::from_utf8_lossy(&out.stdout));
    let live = mesh_agent::datapath::listing::read(&mesh_agent::datapath::pins::Pins::new(&sandbox.bpffs()))?;
    for l in live {
        println!(
            "{:?} received {:?} tcp {:?}",
            l.sock.accel, l.received, l.tcp.bytes_acked
        );
    }
    drop(c);
    thread.join().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    println!("{}", agent.log());
    Ok(())
}

fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}
