//! Pending pods: bound to this node, in the mesh, and not yet known by their network namespace. Their processes are known by
//! the cgroup that the kubelet makes for a pod before anything of it runs.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The levels of the cgroup2 hierarchy (its root is level 0) where pending pods' cgroups may be. They depend on the
/// kubelet: pods of the classes Burstable and `BestEffort` lie one level deeper than Guaranteed ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Levels {
    /// The first; 0 where no pod is pending.
    first: u16,
    /// The last.
    last: u16,
}

impl Levels {
    /// Nobody is pending.
    pub const NONE: Self = Self { first: 0, last: 0 };

    /// No program looks at more levels than this.
    pub const MOST: u16 = 8;

    /// From one level on, so many of them, at most [`Self::MOST`]; none from the root, which is no pod's.
    #[must_use]
    pub const fn from(first: u16, count: u16) -> Self {
        let count = if count < Self::MOST { count } else { Self::MOST };
        if first == 0 || count == 0 {
            return Self::NONE;
        }
        let last = first.saturating_add(count - 1);
        Self { first, last }
    }

    /// Whether nobody is pending.
    #[must_use]
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.first == 0
    }

    /// One of them, counted from 0; `None` past the last.
    #[must_use]
    #[inline(always)]
    pub const fn at(self, index: u16) -> Option<u16> {
        let level = self.first.wrapping_add(index);
        if self.first == 0 || level > self.last {
            None
        } else {
            Some(level)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_few_and_never_the_root() {
        let all = |levels: Levels| (0..Levels::MOST).map_while(move |index| levels.at(index));
        assert!(all(Levels::from(2, 2)).eq([2, 3]));
        assert!(all(Levels::from(1, 99)).eq(1..=8));
        for none in [Levels::NONE, Levels::from(0, 2), Levels::from(3, 0)] {
            assert!(none.is_none() && none.at(0).is_none());
        }
    }
}
