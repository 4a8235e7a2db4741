//! Numbers of sets, classes and rules.

use std::collections::HashSet;

/// The numbers of one kind: 1 up to and including a last one. They go round, so that one that came back is used again as
/// late as can be; it comes back only once nothing in the kernel's tables stands under it any more.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    last: u32,
    next: u32,
    used: HashSet<u32>,
}

impl Numbers {
    pub(super) fn new(last: u32) -> Self {
        Self {
            last,
            next: 1,
            used: HashSet::new(),
        }
    }

    /// One that nobody has; `None` where all are in use.
    pub(super) fn take(&mut self) -> Option<u32> {
        if u32::try_from(self.used.len()).is_ok_and(|used| used >= self.last) {
            return None;
        }
        loop {
            let number = self.next;
            self.next = if number >= self.last { 1 } else { number + 1 };
            if self.used.insert(number) {
                return Some(number);
            }
        }
    }

    /// Nobody gets this one until it comes back.
    pub(super) fn reserve(&mut self, number: u32) {
        if (1..=self.last).contains(&number) {
            self.used.insert(number);
        }
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.used.len()
    }

    /// It may be given to another.
    pub(super) fn give_back(&mut self, number: u32) {
        self.used.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_round_and_pass_over_those_in_use() {
        let mut numbers = Numbers::new(3);
        numbers.reserve(2);
        assert_eq!(
            [numbers.take(), numbers.take(), numbers.take()],
            [Some(1), Some(3), None]
        );
        numbers.give_back(3);
        numbers.give_back(2);
        assert_eq!(
            [numbers.take(), numbers.take(), numbers.take()],
            [Some(2), Some(3), None]
        );
    }

    #[test]
    fn what_was_never_to_be_had_takes_no_room() {
        let mut numbers = Numbers::new(1);
        numbers.reserve(0);
        numbers.reserve(2);
        assert_eq!([numbers.take(), numbers.take()], [Some(1), None]);
    }
}
