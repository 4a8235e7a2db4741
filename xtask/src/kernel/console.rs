//! What the guest's kernel says on its console.

/// Lines shown of it when something went wrong.
const TAIL: usize = 40;

/// What a kernel says when it finds something wrong with itself.
const COMPLAINTS: [&str; 4] = ["Kernel panic", "BUG: ", "Oops: ", "WARNING: CPU"];

/// The lines by which the kernel complains.
pub fn complaints(log: &str) -> impl Iterator<Item = String> {
    log.lines()
        .filter(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)))
        .map(|line| format!("its kernel complains: {}", line.trim_end()))
}

/// The last lines.
pub fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().map(str::trim_end).collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_chatter() {
        let log = "[ 1.2] Run /init as init process\r\n\
                   [ 3.4] WARNING: CPU: 1 PID: 7 at net/core/sock.c:1\r\n\
                   [ 3.5] bridge: filtering is no longer available\n";
        assert_eq!(
            complaints(log).collect::<Vec<_>>(),
            ["its kernel complains: [ 3.4] WARNING: CPU: 1 PID: 7 at net/core/sock.c:1"]
        );
    }

    #[test]
    fn the_tail_is_the_end() {
        let log: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let tail = tail(&log.join("\r\n"));
        assert_eq!(tail.lines().count(), TAIL);
        assert!(tail.starts_with("60\n") && tail.ends_with("\n99"));
    }
}
