//! How much longer something took than something else, measured in pairs.

use std::fmt;

/// Ratios of interleaved pairs of measurements.
#[derive(Debug, PartialEq)]
pub struct Ratio {
    median: f64,
    /// Where the middle half begins and ends.
    quartiles: [f64; 2],
}

impl Ratio {
    /// Of each number in `of` to its partner in `to`; nothing where there are none.
    pub fn of_pairs(of: &[f64], to: &[f64]) -> Option<Self> {
        let mut ratios: Vec<_> = of.iter().zip(to).map(|(of, to)| of / to).collect();
        ratios.sort_by(f64::total_cmp);
        let last = ratios.len().checked_sub(1)?;
        let quarter = last / 4;
        Some(Self {
            median: median(&ratios)?,
            quartiles: [quarter, last - quarter].map(|index| ratios[index]),
        })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = self.quartiles;
        write!(f, "×{:.2} (×{from:.2} to ×{to:.2})", self.median)
    }
}

/// The number in the middle, or halfway between the two there.
pub fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// Microseconds a request takes, by the answer of `redis-benchmark --csv` with one client.
pub fn microseconds_per_request(csv: &str) -> Option<f64> {
    let mut lines = csv.lines();
    let heading = lines.next()?;
    let column = heading.split(',').position(|name| name == "\"rps\"")?;
    let rate = lines.next()?.split(',').nth(column)?;
    let rate: f64 = rate.trim_matches('"').parse().ok()?;
    (rate > 0.0).then(|| 1e6 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_make_ratios() {
        let ratio = Ratio::of_pairs(&[2.0, 9.0, 4.0], &[2.0, 6.0, 5.0]).unwrap();
        assert_eq!(ratio.to_string(), "×1.00 (×0.80 to ×1.50)");
        assert_eq!(Ratio::of_pairs(&[], &[]), None);
    }

    #[test]
    fn a_few_wild_rounds_do_not_count() {
        let of = [0.1, 0.9, 1.0, 1.0, 1.0, 1.1, 9.0];
        let ratio = Ratio::of_pairs(&of, &[1.0; 7]).unwrap();
        assert_eq!(ratio.to_string(), "×1.00 (×0.90 to ×1.10)");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_rate_is_read_from_its_column() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"PING_MBULK\",\"40000.00\",\"0.020\"\n";
        assert_eq!(microseconds_per_request(csv), Some(25.0));
        assert_eq!(microseconds_per_request("Could not connect"), None);
        assert_eq!(microseconds_per_request("\"test\",\"rps\"\n\"X\",\"0.00\""), None);
    }
}
