//! Reading the agent's metrics.

/// A metric's value, summed over all label sets that have every one of these labels. `name` is the metric's with
/// its suffix: `_total` of a counter.
#[must_use]
pub fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let labels: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}=\"{value}\""))
        .collect();
    let of_name = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    let lines = text.lines().filter(of_name);
    let ours = lines.filter(|line| labels.iter().all(|label| has(line, label)));
    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// A label stands after a brace or a comma; `workload` is no label of `{source_workload="web"}`.
fn has(line: &str, label: &str) -> bool {
    ['{', ',']
        .iter()
        .any(|before| line.contains(&format!("{before}{label}")))
}

#[cfg(test)]
mod tests {
    use super::sum;

    const TEXT: &str = "\
# TYPE a counter
a_total{x=\"1\",y=\"1\"} 3
a_total{x=\"1\",y=\"2\"} 4
a_total{x=\"2\",y=\"1\"} 5
a_total_more{x=\"1\"} 6
b_total 7
# EOF
";

    #[test]
    fn labels_choose() {
        assert_eq!(sum(TEXT, "a_total", &[]), 12);
        assert_eq!(sum(TEXT, "a_total", &[("x", "1")]), 7);
        assert_eq!(sum(TEXT, "a_total", &[("y", "1"), ("x", "1")]), 3);
        assert_eq!(sum(TEXT, "b_total", &[]), 7);
        assert_eq!(sum(TEXT, "b_total", &[("x", "1")]), 0);
    }
}
