//! Tests that take minutes where somebody asks for that.

/// Whether `MESH_TEST_LONG=1`, which `cargo xtask test --long` sets.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("MESH_TEST_LONG").is_some_and(|value| value == "1")
}

/// The first where tests may be [long](is_long); else the second, to save minutes.
#[must_use]
pub fn scaled<T>(long: T, usual: T) -> T {
    if is_long() { long } else { usual }
}
