//! The operator of tumbling and sliding windows that aggregate.

use std::rc::Rc;

use flink_exchange::Event;
use flink_record::{NO_TIMESTAMP, Timestamp};

use super::{
    Accumulate, EmitValue, Slicing, Window, WindowBackend, WindowContext, WindowSettings,
    assigner::no_timestamp,
    key_slices::TargetSlice,
    settings::Lateness,
    slice_store::{FiringWindow, SliceStore},
};
use crate::{
    error::TaskError,
    operator::{Operator, Outputs},
    operators::{KeySelector, collecting},
};

/// Windows that are made of slices ([`Slicing`]), with an accumulator per key and slice, and no timers: a record costs one
/// look-up, however many windows it is in. It emits what [`WindowOperator`](super::WindowOperator) would with the default
/// trigger.
pub struct SliceWindowOperator<T, S, A, E, W, M>
where
    S: KeySelector<T>,
    W: Window,
{
    selector: S,
    aggregate: A,
    emit: E,
    backend: Rc<WindowBackend<S::Key, W>>,
    slicing: Slicing<W>,
    lateness: Lateness,
    store: M,
    watermark: Timestamp,
    /// Windows have fired if their last timestamp is not after this: the watermark, or what the clock has passed.
    reached: Timestamp,
    /// The end of the next window that fires: the first of those that have records and have not fired.
    next_end: Option<Timestamp>,
    /// Where slices of windows that have fired are kept: the end of the first.
    oldest: Option<Timestamp>,
    current: Option<Current>,
}

/// What is known about the slice of the last record, until time goes on.
#[derive(Debug, Clone, Copy)]
struct Current {
    start: Timestamp,
    place: Place,
    target: TargetSlice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// None of the slice's windows has fired, or none that is still kept.
    OnTime,
    /// Windows of the slice, of which the first ends here, have fired and fire again.
    Late { first_end: Timestamp },
    /// It is in no window that there is.
    Nowhere,
}

impl<T, S, A, E, W, M> SliceWindowOperator<T, S, A, E, W, M>
where
    T: 'static,
    S: KeySelector<T>,
    A: Accumulate<T>,
    E: EmitValue<S::Key, W, A::Out>,
    W: Window,
    M: SliceStore<S::Key, A::Accumulator>,
{
    /// Without any windows yet.
    pub fn new(
        (selector, aggregate, emit): (S, A, E),
        slicing: Slicing<W>,
        settings: &WindowSettings,
        backend: Rc<WindowBackend<S::Key, W>>,
    ) -> Self {
        Self {
            selector,
            aggregate,
            emit,
            slicing,
            lateness: settings.deadlines(slicing.is_event_time(), backend.late_records()),
            store: M::new(backend.groups()),
            backend,
            watermark: Timestamp::MIN,
            reached: Timestamp::MIN,
            next_end: None,
            oldest: None,
            current: None,
        }
    }

    /// How many records were dropped because they were late.
    #[cfg(test)]
    pub(super) fn late_records_dropped(&self) -> u64 {
        self.lateness.dropped()
    }

    /// How many keys there are; where windows tumble, those of each window are counted.
    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.store.keys()
    }

    /// What there is to know about the slice of a record.
    #[inline]
    fn slice(&mut self, timestamp: Timestamp) -> Result<Current, TaskError> {
        if !self.slicing.is_event_time() {
            // The clock is read once per batch of records: what makes windows fire goes by batches, too.
            return Ok(match self.current {
                Some(current) => current,
                // A clock that was set back must not bring records into windows that have fired.
                None => self.locate(self.backend.clock().now().max(self.reached.saturating_add(1))),
            });
        }
        match self.current {
            Some(current) if current.start <= timestamp && timestamp < current.target.end => Ok(current),
            _ if timestamp == NO_TIMESTAMP => Err(TaskError::operator(no_timestamp())),
            _ => Ok(self.locate(timestamp)),
        }
    }

    #[cold]
    fn locate(&mut self, time: Timestamp) -> Current {
        let slice = self.slicing.slice_of(time);
        // Windows end at the earliest when their last timestamp is after what was reached.
        let unfired = self.slicing.window_end_from(self.reached.saturating_add(2));
        let keeps_fired = self.lateness.allowed() > 0;
        let last_end = self.slicing.last_window_end(slice.end);
        let place = match self.slicing.first_window_end(slice.end) {
            Some(first_end) if !self.lateness.is_gone(last_end.saturating_sub(1), self.watermark) => {
                let next = first_end.max(unfired);
                if next <= last_end {
                    self.next_end = Some(self.next_end.map_or(next, |end| end.min(next)));
                }
                if keeps_fired {
                    self.oldest = Some(self.oldest.map_or(slice.end, |oldest| oldest.min(slice.end)));
                }
                if keeps_fired && first_end < unfired {
                    Place::Late { first_end }
                } else {
                    Place::OnTime
                }
            }
            _ => Place::Nowhere,
        };
        let current = Current {
            start: slice.start,
            place,
            target: TargetSlice {
                end: slice.end,
                unfired_start: self.slicing.start(unfired),
                keeps_fired,
            },
        };
        self.current = Some(current);
        if !self.slicing.is_event_time() {
            self.set_alarm();
        }
        current
    }

    /// Adds a record that makes windows fire that have fired before.
    #[cold]
    fn add_late(
        &mut self,
        (record, first_end): (T, Timestamp),
        target: TargetSlice,
        output: &mut Outputs<E::Out>,
    ) -> Result<(), TaskError> {
        let key = self.selector.key(&record).into_owned();
        let position = self.backend.groups().position(&key).map_err(TaskError::operator)?;
        let aggregate = &mut self.aggregate;
        let key_again = std::borrow::Cow::Borrowed(&key);
        let entry = self.store.entry(position, key_again, target, || aggregate.create());
        M::add(entry, aggregate, target, record)?;
        let last_end = self.slicing.last_window_end(target.end);
        let mut end = first_end;
        while end <= last_end && end.saturating_sub(1) <= self.reached {
            let window = self.slicing.window(end);
            let max_timestamp = window.max_timestamp();
            if !self.lateness.is_gone(max_timestamp, self.watermark)
                && let Some(result) = M::fired(entry, aggregate, (self.slicing.start(end), end))?
            {
                let context = WindowContext::new(&window, self.watermark, self.backend.clock());
                let emit = &mut self.emit;
                collecting(max_timestamp, output, |out| emit.emit(&key, &context, result, out))?;
            }
            end = match end.checked_add(1) {
                Some(after) => self.slicing.window_end_from(after),
                None => break,
            };
        }
        Ok(())
    }

    /// Time has gone on: fires windows in the order of their ends, and forgets what is not needed any more.
    fn advance(&mut self, output: &mut Outputs<E::Out>) -> Result<(), TaskError> {
        self.current = None;
        while let Some(end) = self.next_end
            && end.saturating_sub(1) <= self.reached
        {
            self.next_end = self.fire(end, output)?;
        }
        let allowed = self.lateness.allowed();
        if allowed > 0
            && let Some(oldest) = self.oldest
        {
            let last_end = self.slicing.last_window_end(oldest);
            if self.lateness.is_gone(last_end.saturating_sub(1), self.watermark) {
                self.oldest = self.store.clean(self.gone_until(allowed));
            }
        }
        Ok(())
    }

    /// Slices that end here or before are in no window that is still kept.
    fn gone_until(&self, allowed: Timestamp) -> Timestamp {
        if self.watermark == Timestamp::MAX {
            return Timestamp::MAX;
        }
        let gone = self.watermark.saturating_sub(allowed);
        let first_kept = self.slicing.window_end_from(gone.saturating_add(2));
        self.slicing.start(first_kept)
    }

    /// Fires the windows of all keys that end here. Returns the end of those that are next.
    fn fire(&mut self, end: Timestamp, output: &mut Outputs<E::Out>) -> Result<Option<Timestamp>, TaskError> {
        let window = self.slicing.window(end);
        let max_timestamp = window.max_timestamp();
        let next_end = self.slicing.window_end_from(end.saturating_add(1));
        let firing = FiringWindow {
            start: self.slicing.start(end),
            end,
            next_start: self.slicing.start(next_end),
            keeps_fired: self.lateness.allowed() > 0,
        };
        let context = WindowContext::new(&window, self.watermark, self.backend.clock());
        let emit = &mut self.emit;
        let first = self.store.fire(&mut self.aggregate, firing, |key, result| {
            collecting(max_timestamp, output, |out| emit.emit(key, &context, result, out))?;
            if E::CLEARS {
                emit.clear(key, &context).map_err(TaskError::operator)?;
            }
            Ok(())
        })?;
        // At the end of time no window is next.
        let first = first.filter(|_| next_end > end);
        Ok(first.map(|slice_end| self.slicing.window_end_from(slice_end).max(next_end)))
    }

    fn set_alarm(&self) {
        if let Some(end) = self.next_end {
            self.backend.clock().call_at(end);
        }
    }
}

impl<T, S, A, E, W, M> Operator<T> for SliceWindowOperator<T, S, A, E, W, M>
where
    T: 'static,
    S: KeySelector<T>,
    A: Accumulate<T>,
    E: EmitValue<S::Key, W, A::Out, Out: 'static>,
    W: Window,
    M: SliceStore<S::Key, A::Accumulator>,
{
    type Out = E::Out;

    #[inline]
    fn process(&mut self, record: T, timestamp: Timestamp, output: &mut Outputs<E::Out>) -> Result<(), TaskError> {
        let Current { place, target, .. } = self.slice(timestamp)?;
        match place {
            Place::OnTime => {}
            Place::Late { first_end } => return self.add_late((record, first_end), target, output),
            Place::Nowhere => return self.lateness.skipped(record, timestamp, self.watermark, output),
        }
        let key = self.selector.key(&record);
        let position = self.backend.groups().position(&*key).map_err(TaskError::operator)?;
        let aggregate = &mut self.aggregate;
        let entry = self.store.entry(position, key, target, || aggregate.create());
        M::add(entry, aggregate, target, record)
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<E::Out>) -> Result<(), TaskError> {
        self.watermark = watermark;
        if self.slicing.is_event_time() {
            self.reached = watermark;
            self.advance(output)?;
        }
        output.event(Event::Watermark(watermark))
    }

    fn processing_time(&mut self, now: Timestamp, output: &mut Outputs<E::Out>) -> Result<(), TaskError> {
        if !self.slicing.is_event_time() {
            self.reached = self.reached.max(now.saturating_sub(1));
            self.advance(output)?;
            self.set_alarm();
        }
        Ok(())
    }

    fn batch_done(&mut self, _: &mut Outputs<E::Out>) -> Result<(), TaskError> {
        if !self.slicing.is_event_time() {
            self.current = None;
        }
        Ok(())
    }
}
