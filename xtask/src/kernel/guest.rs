//! What the guest does once it has its root.

use std::fmt::Write as _;

use super::binaries::Binary;
use crate::workspace::Workspace;

/// How many times longer than usual the tests may wait: emulation is that slow, and may share its machine.
const SLOWNESS: u32 = 20;

/// Mounts what is needed and defines `run`.
const BEGIN: &str = include_str!("guest.sh");

/// Everybody is told, and the machine turned off. Until it is, init may not end, and programs are out of reach
/// already: the shell waits by itself.
const END: &str = "echo \"guest: done at $(seconds) s\"\necho o >/proc/sysrq-trigger\nwhile :; do :; done\n";

/// The script that runs these tests.
pub fn script(binaries: &[Binary], workspace: &Workspace) -> String {
    let mut script = BEGIN.to_owned();
    let _ = writeln!(script, "export MESH_TEST_SLOW={SLOWNESS}");
    let directory = workspace.root().join("tests");
    let _ = writeln!(script, "cd {}", quoted(&directory.to_string_lossy()));
    for Binary { name, path, tests } in binaries {
        let path = quoted(&path.to_string_lossy());
        let _ = writeln!(script, "run {name} {path} --exact {}", tests.join(" "));
    }
    script + END
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_stay_one_word() {
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
