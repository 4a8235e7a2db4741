//! With `--keep`: how to look around.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use harness::Pod;

use crate::narrator::Narrator;
use crate::town::Town;

/// Prints how to explore what stands.
pub fn invite(town: &Town, narrator: &mut Narrator) -> Result<()> {
    narrator.step("It stays up. In another terminal, as root:")?;
    let file = town.ground().join("env");
    let script = script(&Town::binaries()?, &town.ground(), town.sandbox.cgroup());
    fs::write(&file, &script).with_context(|| format!("writing {}", file.display()))?;
    let names: Vec<_> = town.pods().iter().map(Pod::name).collect();
    narrator.output(&format!(
        "\n    . {file}\n\
         \n    meshctl status\n\
         \x20   meshctl connection list\n\
         \x20   meshctl flows -f\n\
         \x20   meshctl --help\n\
         \x20   pod client-1 curl -s http://10.96.0.10/\n\
         \x20   pod client-1 redis-cli -h 10.96.0.20 ping\n\
         \x20   ls {manifests}    # change a file, and the agent follows\n\
         \x20   nsenter --net={ground}/netns/node curl -s http://127.0.0.1:15020/metrics\n\
         \npods: {names}\nlogs: {ground}/logs\n\
         \n{file} says:\n{script}\n\
         Press Enter or Ctrl-C here to remove everything.\n",
        file = file.display(),
        manifests = town.sandbox.manifests().dir().display(),
        ground = town.ground().display(),
        names = names.join(" "),
    ))?;
    Ok(())
}

/// What to source. A program is in the mesh by its cgroup, and in a pod by its network namespace.
fn script(binaries: &Path, ground: &Path, cgroup: &Path) -> String {
    let (ground, cgroup) = (ground.display(), cgroup.display());
    format!(
        "export PATH={}:$PATH\n\
         export MESH_BPFFS={ground}/bpf MESH_RUN_DIR={ground}/agent\n\
         pod() {{ sh -c 'echo $$ >{cgroup}/$0/cgroup.procs && exec nsenter --net={ground}/netns/$0 \"$@\"' \"$@\"; }}\n",
        binaries.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_entered_by_cgroup_and_network() {
        let script = script(Path::new("/b"), Path::new("/run/x"), Path::new("/cg/x"));
        assert!(script.starts_with("export PATH=/b:$PATH\n"));
        assert!(script.contains("MESH_BPFFS=/run/x/bpf MESH_RUN_DIR=/run/x/agent\n"));
        assert!(
            script.contains("echo $$ >/cg/x/$0/cgroup.procs && exec nsenter --net=/run/x/netns/$0 \"$@\"")
        );
    }
}
