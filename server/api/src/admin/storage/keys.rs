//! What the admin API keeps of its own in the store: how the store has grown. Nothing outside this module knows these keys.

use hearth_store::keyspace;

use super::records::{Measurement, Sample};

keyspace! {
    database "admin";

    /// How large the store was in an hour (Unix time in hours); the newest sample of each, for a week.
    HOURLY "size_hourly": (hour: u64) => Sample;
    /// How large the store was on a day (Unix time in days); the newest sample of each, for three years.
    DAILY "size_daily": (day: u64) => Sample;
    /// The newest measurement of every table's size (one key, `0`).
    MEASURED "measured": (zero: u64) => Measurement;
}
