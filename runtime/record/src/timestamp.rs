//! Event time.

/// A point in event time: milliseconds since 1970-01-01T00:00:00Z, negative before. As Flink's, it counts no leap seconds.
pub type Timestamp = i64;

/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: Timestamp = Timestamp::MIN;
