//! The distribution of latencies as a few rows of text.

use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Width of the longest bar.
const WIDTH: f64 = 40.0;

/// Maximum number of rows.
const ROWS: usize = 12;

/// One row: the values up to this many microseconds that are in no row above, and their number.
type Row = (u64, u64);

/// Writes a row for each step of the latency, with a bar. The steps are 1, 2, 5, 10, ..., or 1, 10,
/// 100, ..., if those would be too many.
pub(super) fn print(latency: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    let mut rows = rows(latency, &[1, 2, 5]);
    if rows.len() > ROWS {
        rows = self::rows(latency, &[1]);
    }
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let total = latency.len().max(1) as f64;
    for (limit, count) in rows {
        let limit = format!("{:?}", Duration::from_micros(limit));
        let share = count as f64 / total * 100.0;
        // A row with a value has a bar, however short.
        let length = (count as f64 / most.max(1) as f64 * WIDTH).ceil();
        let bar = "█".repeat(length as usize);
        let row = format!("    up to {limit:>6} {count:>12} {share:>5.1} %  {bar}");
        writeln!(out, "{}", row.trim_end())?;
    }
    Ok(())
}

/// Counts the values between `steps` times powers of ten, from the first step with a value to the
/// last.
fn rows(latency: &Histogram<u64>, steps: &[u64]) -> Vec<Row> {
    // Latencies have 32 bits.
    let powers = (0..=9).map(|power| 10_u64.pow(power));
    let limits = powers.flat_map(|power| steps.iter().map(move |step| step * power));
    let mut rows: Vec<Row> = limits.chain([u64::MAX]).map(|limit| (limit, 0)).collect();
    for value in latency.iter_recorded() {
        let lowest = latency.lowest_equivalent(value.value_iterated_to());
        let at = rows.partition_point(|(limit, _)| *limit < lowest);
        rows[at].1 += value.count_since_last_iteration();
    }
    let has_values = |row: &Row| row.1 > 0;
    let first = rows.iter().position(has_values).unwrap_or(rows.len());
    let end = rows.iter().rposition(has_values).map_or(first, |at| at + 1);
    rows[first..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).expect("bounds");
        for value in values {
            histogram.record(*value).expect("it resizes itself");
        }
        histogram
    }

    #[test]
    fn rows_begin_and_end_with_a_value_and_count_all() {
        for (values, expected) in [
            (&[][..], &[][..]),
            (&[1], &[(1, 1)]),
            (
                &[150, 200, 201, 3000],
                &[(200, 2), (500, 1), (1000, 0), (2000, 0), (5000, 1)],
            ),
        ] {
            assert_eq!(rows(&histogram(values), &[1, 2, 5]), expected, "{values:?}");
        }
    }

    #[test]
    fn a_wide_range_takes_few_rows() {
        let mut out = Vec::new();
        let values = histogram(&[1, 40, 40, 40, 900_000_000]);
        print(&values, &mut out).expect("memory");
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.lines().count() <= ROWS, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(
            text.starts_with("    up to    1µs            1  20.0 %  █"),
            "{text}"
        );
        assert!(text.contains(&format!(
            "up to  100µs            3  60.0 %  {}\n",
            "█".repeat(40)
        )));
    }
}
