//! The operator of any windows.

use std::rc::Rc;

use flink_exchange::Event;
use flink_record::Timestamp;
use flink_state::{KeyPosition, SharedTable};

use super::{
    MergeWindows, Trigger, WindowAssigner, WindowAssignerContext, WindowBackend, WindowContents, WindowSettings,
    merging::{Added, MergingWindows, add_window, retire_window, state_window},
    panes::{Panes, Row, is_empty},
    trigger::PROCESSING_DELAY,
};
use crate::{
    error::TaskError,
    functions::TimeDomain,
    operator::{Operator, Outputs},
    operators::KeySelector,
};

/// Windows with any assigner, trigger and contents, as Flink's `WindowOperator` has them.
///
/// Contents and the trigger's state of a key's window are one entry of a state table; windows that merge keep theirs under
/// their *state window*. A timer cleans up when the watermark has passed the end of the window and the allowed lateness.
pub struct WindowOperator<T, S, A, G, C>
where
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<S::Key, A::Window, T>,
{
    selector: S,
    assigner: A,
    backend: Rc<WindowBackend<S::Key, A::Window>>,
    rows: Rows<S::Key, A::Window, C::Kept, G::State>,
    merging: Option<Merging<S::Key, A::Window>>,
    panes: Panes<T, S::Key, A::Window, G, C>,
    /// The memory of the last record's key and windows.
    key: Option<S::Key>,
    windows: Vec<A::Window>,
}

type Rows<K, W, C, G> = SharedTable<K, W, Row<C, G>>;

/// The windows of each key, where they merge.
struct Merging<K, W> {
    merge: MergeWindows<W>,
    windows: SharedTable<K, (), MergingWindows<W>>,
}

impl<T, S, A, G, C> WindowOperator<T, S, A, G, C>
where
    T: Clone + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<S::Key, A::Window, T>,
{
    /// Without any windows yet.
    ///
    /// # Errors
    /// When a function has taken the name of one of the operator's own states.
    pub fn new(
        (selector, assigner, trigger): (S, A, G),
        settings: &WindowSettings,
        backend: Rc<WindowBackend<S::Key, A::Window>>,
        contents: C,
    ) -> Result<Self, TaskError> {
        let rows = backend
            .windowed()
            .table("window-contents")
            .map_err(TaskError::operator)?;
        let windows = || backend.keyed().table("merging-window-set").map_err(TaskError::operator);
        let merging = match assigner.merging() {
            Some(merge) => Some(Merging {
                merge,
                windows: windows()?,
            }),
            None => None,
        };
        let lateness = settings.deadlines(assigner.is_event_time(), backend.late_records());
        let panes = Panes::new(trigger, contents, lateness, backend.clock());
        Ok(Self {
            selector,
            assigner,
            backend,
            rows,
            merging,
            panes,
            key: None,
            windows: Vec::new(),
        })
    }

    /// How many records were dropped because they were late.
    #[cfg(test)]
    pub(super) fn late_records_dropped(&self) -> u64 {
        self.panes.late_records_dropped()
    }

    #[inline]
    fn position(&self, key: &S::Key) -> Result<KeyPosition, TaskError> {
        self.backend.groups().position(key).map_err(TaskError::operator)
    }

    /// A copy of the record's key, in the memory of the one before.
    #[inline]
    fn copy_key(&mut self, record: &T) -> S::Key {
        let key = self.selector.key(record);
        match self.key.take() {
            Some(mut copy) => {
                copy.clone_from(&key);
                copy
            }
            None => key.into_owned(),
        }
    }

    /// Adds a record to its windows; returns it if none took it.
    #[inline]
    fn add(
        &mut self,
        (key, position): (&S::Key, KeyPosition),
        windows: &mut Vec<A::Window>,
        record: T,
        timestamp: Timestamp,
        output: &mut Outputs<C::Out>,
    ) -> Result<Option<T>, TaskError> {
        windows.retain(|window| !self.panes.is_gone(window));
        let Some(last) = windows.pop() else {
            return Ok(Some(record));
        };
        for window in &*windows {
            self.add_to(
                (key, position),
                (window, window),
                false,
                (record.clone(), timestamp),
                output,
            )?;
        }
        self.add_to((key, position), (&last, &last), false, (record, timestamp), output)?;
        Ok(None)
    }

    /// The same where windows merge.
    fn add_merging(
        &mut self,
        (key, position): (&S::Key, KeyPosition),
        windows: &mut Vec<A::Window>,
        record: T,
        timestamp: Timestamp,
        output: &mut Outputs<C::Out>,
    ) -> Result<Option<T>, TaskError> {
        let (mut skipped, last) = (true, windows.len());
        let mut record = Some(record);
        for (number, new) in (1..).zip(windows.drain(..)) {
            let Some(added) = self.merge_window(key, position, &new)? else {
                continue;
            };
            skipped = false;
            let copy = if number == last { record.take() } else { record.clone() };
            if let Some(copy) = copy {
                let windows = (&added.window, &added.state_window);
                let changed = !added.merged.is_empty();
                self.add_to((key, position), windows, changed, (copy, timestamp), output)?;
            }
        }
        Ok(record.filter(|_| skipped))
    }

    #[inline]
    fn add_to(
        &mut self,
        (key, position): (&S::Key, KeyPosition),
        (window, state_window): (&A::Window, &A::Window),
        changed: bool,
        (record, timestamp): (T, Timestamp),
        output: &mut Outputs<C::Out>,
    ) -> Result<(), TaskError> {
        let mut rows = self.rows.borrow_mut();
        let row = rows.get_or_insert_with(position, key, state_window, Row::default);
        self.panes
            .element((key, window), row, changed, (record, timestamp), output)?;
        if is_empty(row) {
            rows.remove(position, key, state_window);
        }
        Ok(())
    }

    /// Merges a new window of a key with those that there are. `None` if what it becomes is gone already.
    fn merge_window(
        &mut self,
        key: &S::Key,
        position: KeyPosition,
        new: &A::Window,
    ) -> Result<Option<Added<A::Window>>, TaskError> {
        let Some(Merging { merge, windows }) = &self.merging else {
            return Err(TaskError::runtime("the windows do not merge"));
        };
        let mut windows = windows.borrow_mut();
        let of_key = windows.get_or_insert_with(position, key, &(), Vec::new);
        let added = add_window(of_key, new, *merge);
        if self.panes.is_gone(&added.window) {
            if !added.merged.is_empty() {
                return Err(TaskError::operator(
                    "windows that merge must not end earlier than they would have ended by themselves: the merged window has \
                     ended before now",
                ));
            }
            retire_window(of_key, &added.window);
            if of_key.is_empty() {
                windows.remove(position, key, &());
            }
            return Ok(None);
        }
        if !added.merged.is_empty() {
            let mut rows = self.rows.borrow_mut();
            let merged = added.merged.iter().map(|(window, state_window)| {
                let row = rows.remove(position, key, state_window).unwrap_or_default();
                (window, row)
            });
            let row = self.panes.merge(key, &added.window, merged)?;
            rows.insert(position, key, &added.state_window, row);
        }
        Ok(Some(added))
    }

    fn on_timer(
        &mut self,
        domain: TimeDomain,
        time: Timestamp,
        (key, window): (&S::Key, &A::Window),
        output: &mut Outputs<C::Out>,
    ) -> Result<(), TaskError> {
        let position = self.position(key)?;
        let state_window = match &self.merging {
            None => window.clone(),
            Some(merging) => {
                let windows = merging.windows.borrow();
                let of_key = windows.get(position, key, &());
                match of_key.and_then(|windows| state_window(windows, window)) {
                    Some(state_window) => state_window.clone(),
                    // The trigger has left a timer of a window that has merged.
                    None => return Ok(()),
                }
            }
        };
        let mut rows = self.rows.borrow_mut();
        let row = rows.get_or_insert_with(position, key, &state_window, Row::default);
        let gone = self.panes.timer(domain, time, (key, window), row, output)?;
        if gone || is_empty(row) {
            rows.remove(position, key, &state_window);
        }
        if gone && let Some(merging) = &self.merging {
            let mut windows = merging.windows.borrow_mut();
            let of_key = windows.get_or_insert_with(position, key, &(), Vec::new);
            retire_window(of_key, window);
            if of_key.is_empty() {
                windows.remove(position, key, &());
            }
        }
        Ok(())
    }
}

impl<T, S, A, G, C> Operator<T> for WindowOperator<T, S, A, G, C>
where
    T: Clone + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<S::Key, A::Window, T, Out: 'static>,
{
    type Out = C::Out;

    fn process(&mut self, record: T, timestamp: Timestamp, output: &mut Outputs<C::Out>) -> Result<(), TaskError> {
        let key = self.copy_key(&record);
        let position = self.position(&key)?;
        let mut windows = std::mem::take(&mut self.windows);
        windows.clear();
        let context = WindowAssignerContext {
            clock: self.backend.clock(),
        };
        self.assigner
            .assign_windows(&record, timestamp, &context, &mut windows)
            .map_err(TaskError::operator)?;
        let skipped = if self.merging.is_some() {
            self.add_merging((&key, position), &mut windows, record, timestamp, output)?
        } else {
            self.add((&key, position), &mut windows, record, timestamp, output)?
        };
        (self.key, self.windows) = (Some(key), windows);
        skipped.map_or(Ok(()), |record| self.panes.skipped(record, timestamp, output))
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<C::Out>) -> Result<(), TaskError> {
        self.panes.timers.advance_watermark(watermark);
        while let Some((time, key, window)) = self.panes.timers.pop_event_time() {
            self.on_timer(TimeDomain::EventTime, time, (&key, &window), output)?;
        }
        output.event(Event::Watermark(watermark))
    }

    fn processing_time(&mut self, now: Timestamp, output: &mut Outputs<C::Out>) -> Result<(), TaskError> {
        while let Some((time, key, window)) = self.panes.timers.pop_processing_time(now) {
            let time = time.saturating_sub(PROCESSING_DELAY);
            self.on_timer(TimeDomain::ProcessingTime, time, (&key, &window), output)?;
        }
        Ok(())
    }
}
