//! Values that may cross the `bpf(2)` boundary.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What may be a key or a value: `zerocopy` has proved that it has no padding and no invalid bit pattern.
pub trait Data: FromBytes + IntoBytes + Immutable + Copy + 'static {}
impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Data for T {}

/// A key or value as aya takes it.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Raw<T>(pub T);

// SAFETY: `Pod` asks for a type that can be viewed as bytes and made from any bytes: `IntoBytes` and
// `FromBytes` prove just that, `Immutable` that a shared reference does not hide a write.
unsafe impl<T: Data> aya::Pod for Raw<T> {}
