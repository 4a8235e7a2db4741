//! Commands as text.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let value = value.to_string_lossy().replace('\x1f', " ");
            let _ = write!(text, "{}={} ", name.to_string_lossy(), quoted(&value));
        }
    }
    let program = Path::new(command.get_program());
    text.push_str(
        &program
            .file_name()
            .unwrap_or(program.as_os_str())
            .to_string_lossy(),
    );
    for arg in command.get_args() {
        let _ = write!(text, " {}", quoted(&arg.to_string_lossy()));
    }
    text
}

fn quoted(word: &str) -> String {
    if word.contains(char::is_whitespace) {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .env("FLAGS", "-a\x1f-b")
            .env_remove("HOME")
            .args(["build", "two words"]);
        assert_eq!(shown(&command), "FLAGS='-a -b' cargo build 'two words'");
    }
}
