//! Tests that a machine cannot run: said aloud, never passed over in silence.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says that a test is not run: on standard output, and as a line of the file `$MESH_SKIP_LOG`.
///
/// # Panics
///
/// When `MESH_REQUIRE_KERNEL=1`: then a machine that cannot run a test fails it.
pub fn skip(name: &str, reason: &str) {
    let line = format!("SKIP {name}: {reason}");
    println!("{line}");
    assert!(
        std::env::var_os("MESH_REQUIRE_KERNEL").is_none_or(|value| value != "1"),
        "{line}"
    );
    let Some(path) = std::env::var_os("MESH_SKIP_LOG") else {
        return;
    };
    // One write, so that lines of parallel tests do not mix.
    let written = OpenOptions::new().append(true).create(true).open(&path);
    let written = written.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    assert!(written.is_ok(), "writing {}: {written:?}", path.display());
}

/// [`skip`]s the test that the calling thread runs, and gives what it may return.
#[must_use]
pub fn skip_this<T: Skipped>(reason: &str) -> T {
    skip(std::thread::current().name().unwrap_or("?"), reason);
    T::skipped()
}

/// What a test may return.
pub trait Skipped {
    /// The value of a test that was skipped.
    fn skipped() -> Self;
}

impl Skipped for () {
    fn skipped() -> Self {}
}

impl<E> Skipped for Result<(), E> {
    fn skipped() -> Self {
        Ok(())
    }
}

/// Returns from the test, skipping it, unless every one of these says `Ok`, see [`require!`](macro@crate::require).
#[macro_export]
macro_rules! require {
    ($($condition:expr),+ $(,)?) => {
        $(if let Err(reason) = $condition {
            return $crate::skip_this(&reason);
        })+
    };
}

/// Returns from the test, skipping it, unless it runs as root.
#[macro_export]
macro_rules! require_root {
    () => {
        $crate::require!($crate::require::root())
    };
}
