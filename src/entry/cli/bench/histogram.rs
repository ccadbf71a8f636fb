//! Latencies in a fixed amount of memory, each known to about one part in sixty.

use std::time::Duration;

/// Buckets per power of two.
const SUB: usize = 64;
const SUB_BITS: u32 = 6;
/// Covers every u64 of nanoseconds.
const BUCKETS: usize = SUB * (64 - SUB_BITS as usize + 1);

/// Counts of durations by size.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Counts all of another.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The duration that so many percent did not exceed; zero if nothing was counted.
    pub fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper(index));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanos: u64) -> usize {
    let bits = u64::BITS - nanos.leading_zeros();
    let shift = bits.saturating_sub(SUB_BITS + 1);
    let sub = usize::try_from(nanos >> shift).unwrap_or(0);
    // The first two powers share the exact buckets; from then on each adds `SUB`.
    (shift as usize * SUB + sub).min(BUCKETS - 1)
}

/// The largest duration of a bucket.
fn upper(index: usize) -> u64 {
    if index < SUB * 2 {
        return u64::try_from(index).unwrap_or(u64::MAX);
    }
    let shift = index / SUB - 1;
    let sub = u64::try_from(index % SUB + SUB).unwrap_or(0);
    ((sub + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_known_to_two_percent() {
        let mut nanos = 1_u64;
        while nanos < 1 << 40 {
            let shown = upper(bucket(nanos));
            assert!(
                shown >= nanos && shown - nanos <= nanos / 50,
                "{nanos} became {shown}"
            );
            nanos += nanos / 7 + 1;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_are_ranks() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(99), Duration::ZERO);
        for nanos in 1..=100 {
            histogram.record(Duration::from_nanos(nanos));
        }
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        for histogram in [histogram, twice] {
            assert_eq!(histogram.percentile(50), Duration::from_nanos(50));
            assert_eq!(histogram.percentile(99), Duration::from_nanos(99));
            assert_eq!(histogram.percentile(100), Duration::from_nanos(100));
        }
    }
}
