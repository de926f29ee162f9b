//! What the samples of the store's size say about the future.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::records::Sample;

const DAY_MS: f64 = 86_400_000.0;
/// Growth is judged over this time at most: what was two months ago says little about now.
const LONGEST_MS: u64 = 30 * 86_400_000;
/// No estimate from less than this: the first hours of a server say nothing about its years.
const SHORTEST_MS: u64 = 2 * 86_400_000;
/// A disk that is full later than this is not worth a date.
const FARTHEST_DAYS: f64 = 3650.0;

/// How the store grows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub(in crate::admin) struct Growth {
    /// Bytes on disk per day, a straight line through the samples; negative where it shrinks.
    pub bytes_per_day: f64,
    /// Days that this was judged over.
    pub over_days: f64,
    /// When the disk is full at this pace, Unix milliseconds; absent where it is not in the next ten years.
    pub full_at: Option<u64>,
}

impl Growth {
    /// Judges the samples (oldest first): a line of least squares through the last month. `None` from less than two days.
    pub(in crate::admin) fn judge(samples: &[Sample]) -> Option<Growth> {
        let newest = samples.last()?;
        let recent = &samples[samples.partition_point(|sample| sample.at + LONGEST_MS < newest.at)..];
        let oldest = recent.first()?;
        let span = newest.at.saturating_sub(oldest.at);
        if span < SHORTEST_MS || recent.len() < 3 {
            return None;
        }
        let points: Vec<(f64, f64)> = recent
            .iter()
            .map(|sample| (sample.at.saturating_sub(oldest.at) as f64 / DAY_MS, sample.disk_bytes as f64))
            .collect();
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (mean_day, mean_bytes) = (mean(|point| point.0), mean(|point| point.1));
        let variance: f64 = points.iter().map(|(day, _)| (day - mean_day).powi(2)).sum();
        let covariance: f64 = points.iter().map(|(day, bytes)| (day - mean_day) * (bytes - mean_bytes)).sum();
        if variance <= 0.0 {
            return None;
        }
        let bytes_per_day = covariance / variance;
        let full_at = newest.free_bytes.filter(|_| bytes_per_day > 0.0).and_then(|free| {
            let days = free as f64 / bytes_per_day;
            // Both factors are positive and bounded: the product fits.
            #[allow(clippy::cast_sign_loss)]
            (days <= FARTHEST_DAYS).then(|| newest.at + (days * DAY_MS) as u64)
        });
        Some(Growth { bytes_per_day, over_days: span as f64 / DAY_MS, full_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const MB: u64 = 1_000_000;

    fn samples(hours: u64, bytes: impl Fn(u64) -> u64, free: u64) -> Vec<Sample> {
        (0..=hours)
            .map(|hour| Sample { at: 1000 + hour * HOUR, disk_bytes: bytes(hour), free_bytes: Some(free), events: 0 })
            .collect()
    }

    #[test]
    fn little_history_gives_no_estimate() {
        assert_eq!(Growth::judge(&[]), None);
        assert_eq!(Growth::judge(&samples(47, |hour| hour * MB, 1)), None);
        let two = samples(480, |hour| hour * MB, 1);
        assert_eq!(Growth::judge(&[two[0], two[480]]), None, "two points are no trend");
    }

    #[test]
    fn steady_growth_is_told_with_the_day_when_the_disk_is_full() {
        let growth = Growth::judge(&samples(240, |hour| 50 * MB + hour * MB, 240 * MB)).unwrap();
        assert!((growth.bytes_per_day - 24.0 * MB as f64).abs() < 1.0, "{growth:?}");
        assert!((growth.over_days - 10.0).abs() < 1e-9);
        let days = (growth.full_at.unwrap() - (1000 + 240 * HOUR)) as f64 / DAY_MS;
        assert!((days - 10.0).abs() < 1e-3, "{days}");
    }

    #[test]
    fn what_does_not_grow_never_fills_the_disk() {
        assert_eq!(Growth::judge(&samples(240, |_| MB, 10)).unwrap().full_at, None);
        let shrinking = Growth::judge(&samples(240, |hour| 500 * MB - hour * MB, 10)).unwrap();
        assert!(shrinking.bytes_per_day < 0.0 && shrinking.full_at.is_none());
        let slow = Growth::judge(&samples(240, |hour| hour, u64::MAX / 4)).unwrap();
        assert_eq!(slow.full_at, None, "a thousand years are no date");
    }

    #[test]
    fn only_the_last_month_counts() {
        let growth =
            Growth::judge(&samples(24 * 60, |hour| if hour < 24 * 29 { hour * MB } else { 24 * 29 * MB }, MB)).unwrap();
        assert!(growth.bytes_per_day.abs() < 1.0, "{growth:?}");
    }
}
