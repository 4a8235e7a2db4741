//! Network policies on the real kernel: the cases of the conformance suites as real traffic, switches between policies,
//! and how soon somebody hears of a denial.

mod cases;
mod delay;
mod stand_in;
mod switch;
mod table;
mod topology;
mod town;
