//! Looking up values that carry a check of their key (see `mesh_common::tag`).

/// What one look-up found.
pub enum Lookup<T> {
    /// No entry.
    Absent,
    /// An entry that was recycled for another key while it was read.
    Recycled,
    /// The entry.
    Found(T),
}

/// Looks up once more where the entry was recycled: it was either replaced, and the new one is there now, or
/// removed.
#[inline(always)]
pub fn checked<T>(read: impl Fn() -> Lookup<T>) -> Option<T> {
    match read() {
        Lookup::Found(value) => Some(value),
        Lookup::Absent => None,
        Lookup::Recycled => match read() {
            Lookup::Found(value) => Some(value),
            Lookup::Absent | Lookup::Recycled => None,
        },
    }
}
