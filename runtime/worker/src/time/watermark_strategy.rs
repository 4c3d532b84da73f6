//! Where event time comes from: timestamps of records, and watermarks made from them.

use std::{fmt, sync::Arc, time::Duration};

use flink_record::Timestamp;

/// Assigns timestamps to records, and makes watermarks from what it sees. One per subtask, or per split of a source.
pub trait WatermarkGenerator<T> {
    /// A record has come. May emit a watermark, which goes out behind it.
    fn on_event(&mut self, event: &T, timestamp: Timestamp, output: &mut WatermarkOutput);

    /// Called every auto watermark interval.
    fn on_periodic_emit(&mut self, output: &mut WatermarkOutput);
}

/// Takes the watermarks of a [`WatermarkGenerator`].
#[derive(Debug)]
pub struct WatermarkOutput {
    watermark: Timestamp,
    idle: bool,
}

impl Default for WatermarkOutput {
    fn default() -> Self {
        Self {
            watermark: Timestamp::MIN,
            idle: false,
        }
    }
}

impl WatermarkOutput {
    /// Says that no record with this timestamp or an older one is to be expected; late ones may come all the same. One that is not
    /// above the last is ignored: event time never runs backwards. Ends being idle.
    #[inline]
    pub fn emit_watermark(&mut self, watermark: Timestamp) {
        self.watermark = self.watermark.max(watermark);
        self.idle = false;
    }

    /// Says that records may be long in coming, so that consumers do not wait for this stream's watermarks.
    pub fn mark_idle(&mut self) {
        self.idle = true;
    }

    /// Ends being idle.
    pub fn mark_active(&mut self) {
        self.idle = false;
    }

    /// The latest watermark, `Timestamp::MIN` before the first.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Whether records may be long in coming.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.idle
    }
}

type Assigner<T> = Arc<dyn Fn(&T, Timestamp) -> Timestamp + Send + Sync>;
type MakeGenerator<T> = Arc<dyn Fn() -> Box<dyn WatermarkGenerator<T>> + Send + Sync>;

/// How records get timestamps and streams get watermarks.
///
/// A timestamp may lie before 1970: event time is any order of milliseconds. `Timestamp::MIN` means "no timestamp" and is
/// not to be assigned.
pub struct WatermarkStrategy<T> {
    /// `None` for one that makes no watermarks.
    generator: Option<MakeGenerator<T>>,
    assigner: Option<Assigner<T>>,
    idleness: Option<Duration>,
    alignment: Option<WatermarkAlignment>,
}

/// Keeps sources from running ahead of one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkAlignment {
    /// Sources of one group wait for one another.
    pub group: String,
    /// How far ahead of the slowest a source may run.
    pub max_drift: Duration,
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        Self {
            generator: self.generator.clone(),
            assigner: self.assigner.clone(),
            idleness: self.idleness,
            alignment: self.alignment.clone(),
        }
    }
}

impl<T> fmt::Debug for WatermarkStrategy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatermarkStrategy")
            .field("idleness", &self.idleness)
            .field("alignment", &self.alignment)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> WatermarkStrategy<T> {
    /// For timestamps that ascend within each subtask (or split): the watermark is just below the latest.
    pub fn for_monotonous_timestamps() -> Self {
        Self::for_bounded_out_of_orderness(Duration::ZERO)
    }

    /// For records that come at most so much out of order: the watermark stays so far, and 1 ms, behind the latest timestamp. Whole
    /// milliseconds count.
    pub fn for_bounded_out_of_orderness(max_out_of_orderness: Duration) -> Self {
        let bound = millis(max_out_of_orderness);
        Self::for_generator(move || BoundedOutOfOrderness {
            latest: Timestamp::MIN,
            bound,
        })
    }

    /// Timestamps without watermarks: for processing time, or where watermarks are of no use.
    pub fn no_watermarks() -> Self {
        Self {
            generator: None,
            assigner: None,
            idleness: None,
            alignment: None,
        }
    }

    /// Watermarks of a generator of your own; one is made for each subtask, or for each split of a source.
    pub fn for_generator<G: WatermarkGenerator<T> + 'static>(make: impl Fn() -> G + Send + Sync + 'static) -> Self {
        Self {
            generator: Some(Arc::new(move || Box::new(make()))),
            assigner: None,
            idleness: None,
            alignment: None,
        }
    }

    /// Takes timestamps from records: the closure is given a record and the timestamp that it has so far (that of its source, or
    /// [`NO_TIMESTAMP`](flink_record::NO_TIMESTAMP)). Without an assigner records keep theirs.
    #[must_use]
    pub fn with_timestamp_assigner(
        mut self,
        assigner: impl Fn(&T, Timestamp) -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        self.assigner = Some(Arc::new(assigner));
        self
    }

    /// Counts a stream that has had no records for so long as idle: others do not wait for it.
    #[must_use]
    pub fn with_idleness(mut self, timeout: Duration) -> Self {
        self.idleness = Some(timeout);
        self
    }

    /// Makes sources of one group wait for one another: one whose watermark is more than `max_drift` ahead of the slowest in the group
    /// is not read until that has caught up. Has an effect in [`from_source`](../flink/struct.StreamExecutionEnvironment.html) alone.
    #[must_use]
    pub fn with_watermark_alignment(mut self, group: impl Into<String>, max_drift: Duration) -> Self {
        let group = group.into();
        self.alignment = Some(WatermarkAlignment { group, max_drift });
        self
    }

    /// How sources of this strategy wait for one another, if they do.
    pub fn alignment(&self) -> Option<&WatermarkAlignment> {
        self.alignment.as_ref()
    }

    /// After which silence a stream counts as idle, if it ever does.
    pub fn idleness(&self) -> Option<Duration> {
        self.idleness
    }

    /// Whether it leaves timestamps as they are and makes no watermarks, so that nothing needs to be done for a record.
    pub fn does_nothing(&self) -> bool {
        self.generator.is_none() && self.assigner.is_none() && self.idleness.is_none()
    }

    /// What assigns timestamps and makes watermarks in one subtask, or of one split.
    pub fn instantiate(&self, now: Timestamp) -> EventTime<T> {
        EventTime {
            assigner: self.assigner.clone(),
            generator: self
                .generator
                .as_ref()
                .map_or_else(|| Box::new(NoWatermarks) as Box<_>, |make| make()),
            output: WatermarkOutput::default(),
            idleness: self.idleness.map(|timeout| Idleness {
                timeout: millis(timeout),
                active: false,
                last_active: now,
            }),
        }
    }
}

/// Whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> Timestamp {
    Timestamp::try_from(duration.as_millis()).unwrap_or(Timestamp::MAX)
}

/// The event time of one subtask, or of one split.
pub struct EventTime<T> {
    assigner: Option<Assigner<T>>,
    generator: Box<dyn WatermarkGenerator<T>>,
    output: WatermarkOutput,
    idleness: Option<Idleness>,
}

struct Idleness {
    timeout: Timestamp,
    /// A record has come since the last look.
    active: bool,
    last_active: Timestamp,
}

impl<T> EventTime<T> {
    /// A record comes: its timestamp.
    #[inline]
    pub fn on_event(&mut self, event: &T, timestamp: Timestamp) -> Timestamp {
        let timestamp = match &self.assigner {
            Some(assigner) => assigner(event, timestamp),
            None => timestamp,
        };
        if let Some(idleness) = &mut self.idleness {
            idleness.active = true;
            self.output.mark_active();
        }
        self.generator.on_event(event, timestamp, &mut self.output);
        timestamp
    }

    /// Called every auto watermark interval.
    pub fn on_periodic_emit(&mut self, now: Timestamp) {
        if let Some(idleness) = &mut self.idleness {
            if std::mem::take(&mut idleness.active) {
                idleness.last_active = now;
            } else if now.saturating_sub(idleness.last_active) >= idleness.timeout {
                // An idle stream makes no watermarks.
                return self.output.mark_idle();
            }
        }
        self.generator.on_periodic_emit(&mut self.output);
    }

    /// The watermarks so far.
    #[inline]
    pub fn output(&self) -> &WatermarkOutput {
        &self.output
    }
}

struct BoundedOutOfOrderness {
    latest: Timestamp,
    bound: Timestamp,
}

impl<T> WatermarkGenerator<T> for BoundedOutOfOrderness {
    #[inline]
    fn on_event(&mut self, _: &T, timestamp: Timestamp, _: &mut WatermarkOutput) {
        self.latest = self.latest.max(timestamp);
    }

    fn on_periodic_emit(&mut self, output: &mut WatermarkOutput) {
        if self.latest != Timestamp::MIN {
            output.emit_watermark(self.latest.saturating_sub(self.bound).saturating_sub(1));
        }
    }
}

struct NoWatermarks;

impl<T> WatermarkGenerator<T> for NoWatermarks {
    fn on_event(&mut self, _: &T, _: Timestamp, _: &mut WatermarkOutput) {}

    fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
}
