//! A process with a sandbox of its own, for the test that kills it: says what there is, and waits.

use anyhow::Result;
use harness::Sandbox;

fn main() -> Result<()> {
    let sandbox = Sandbox::new("crash")?;
    let pod = sandbox.pod("pod", &["10.0.1.2"])?;
    let program = pod.command("sleep").arg("1000").start()?;
    println!("up {} {}", program.pid(), sandbox.cgroup().display());
    std::thread::sleep(std::time::Duration::from_mins(1));
    Ok(())
}
