//! `completion`: scripts for shells.

use clap_complete::{Shell, generate};

use crate::cli::args;

/// The script for a shell, for the name the program was called by.
pub fn script(shell: Shell, program: &'static str) -> String {
    let mut script = Vec::new();
    // The scripts complete the name of the file, which kubectl's plugins have, too.
    let mut command = args::command(program).bin_name(program);
    generate(shell, &mut command, program, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Elvish,
        ] {
            let script = script(shell, "meshctl");
            assert!(
                script.contains("meshctl") && script.contains("connection") && script.contains("selector"),
                "{shell}"
            );
        }
        assert!(super::script(Shell::Bash, "kubectl-mesh").contains("kubectl-mesh"));
    }
}
