//! The operator of session windows that fire at their ends.

use std::rc::Rc;

use flink_exchange::Event;
use flink_record::{Key, Timestamp};
use flink_state::StateTable;
use smallvec::SmallVec;

use super::{
    MergeWindows, Window, WindowAssigner, WindowAssignerContext, WindowBackend, WindowContents, WindowContext,
    WindowSettings, contents::Fired, settings::Lateness,
};
use crate::{
    error::TaskError,
    operator::{Operator, Outputs},
    operators::KeySelector,
    time::{InternalTimerService, ProcessingTimeService},
};

/// Event time windows that merge and fire when they are complete, as sessions do. It emits what
/// [`WindowOperator`](super::WindowOperator) would with the event time trigger.
///
/// That one moves a timer with each record that makes a session longer. Here a session has one timer, which stays where it
/// is; when it fires and the session has become longer meanwhile, it is set anew: once in a gap, not with each record.
pub struct SessionWindowOperator<T, S, A, C>
where
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    C: WindowContents<S::Key, A::Window, T>,
{
    selector: S,
    assigner: A,
    merge: MergeWindows<A::Window>,
    backend: Rc<WindowBackend<S::Key, A::Window>>,
    sessions: StateTable<S::Key, (), Sessions<A::Window, C::Kept>>,
    panes: SessionPanes<S::Key, C>,
    /// The memory of the last record's windows.
    windows: Vec<A::Window>,
}

/// Those of one key, in no particular order. Most keys have one, which is found without a further look into memory.
type Sessions<W, C> = SmallVec<[Session<W, C>; 1]>;

struct Session<W, C> {
    window: W,
    contents: C,
    /// The time of its timer: when something is to be done about it, or earlier.
    timer: Timestamp,
}

/// What becomes of sessions.
struct SessionPanes<K, C> {
    contents: C,
    /// A timer may be one of a session that is now part of another: then it is of no use.
    timers: InternalTimerService<K, ()>,
    lateness: Lateness,
    clock: ProcessingTimeService,
}

impl<T, S, A, C> SessionWindowOperator<T, S, A, C>
where
    T: Clone + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    C: WindowContents<S::Key, A::Window, T>,
{
    /// Without any sessions yet. `merge` is how the assigner's windows merge.
    pub fn new(
        (selector, assigner, merge): (S, A, MergeWindows<A::Window>),
        settings: &WindowSettings,
        backend: Rc<WindowBackend<S::Key, A::Window>>,
        contents: C,
    ) -> Self {
        let panes = SessionPanes {
            contents,
            timers: InternalTimerService::new(backend.clock()),
            lateness: settings.deadlines(true, backend.late_records()),
            clock: backend.clock().clone(),
        };
        Self {
            selector,
            assigner,
            merge,
            sessions: StateTable::new(backend.groups()),
            backend,
            panes,
            windows: Vec::new(),
        }
    }

    /// Adds a record to the session that its window is, or becomes part of; returns it if that is gone already.
    #[inline]
    fn add(
        &mut self,
        record: T,
        timestamp: Timestamp,
        window: A::Window,
        output: &mut Outputs<C::Out>,
    ) -> Result<Option<T>, TaskError> {
        let key = self.selector.key(&record);
        let position = self.backend.groups().position(&*key).map_err(TaskError::operator)?;
        let sessions = self.sessions.get_or_insert_with(position, &key, &(), SmallVec::new);
        let Some(session) = self.panes.join(&*key, sessions, window, self.merge)? else {
            if sessions.is_empty() {
                self.sessions.remove(position, &key, &());
            }
            drop(key);
            return Ok(Some(record));
        };
        // Late, but allowed: it fires again with each record.
        let fires = self.panes.is_complete(session).then(|| key.into_owned());
        self.panes.contents.add(&mut session.contents, record, timestamp)?;
        if let Some(key) = fires {
            self.panes.fire(&key, session, output)?;
        }
        Ok(None)
    }

    fn on_timer(&mut self, time: Timestamp, key: &S::Key, output: &mut Outputs<C::Out>) -> Result<(), TaskError> {
        let position = self.backend.groups().position(key).map_err(TaskError::operator)?;
        let Some(sessions) = self.sessions.get_mut(position, key, &()) else {
            return Ok(());
        };
        let mut index = 0;
        while let Some(session) = sessions.get_mut(index) {
            if session.timer == time && self.panes.timer(time, key, session, output)? {
                sessions.swap_remove(index);
            } else {
                index += 1;
            }
        }
        if sessions.is_empty() {
            self.sessions.remove(position, key, &());
        }
        Ok(())
    }

    /// How many keys have sessions.
    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.sessions.len()
    }
}

impl<K: Key, C> SessionPanes<K, C> {
    /// The session that a new window is now, or is now part of, with a timer; `None` if it is gone already.
    #[inline]
    fn join<'a, W: Window, T>(
        &mut self,
        key: &K,
        sessions: &'a mut Sessions<W, C::Kept>,
        new: W,
        merge: MergeWindows<W>,
    ) -> Result<Option<&'a mut Session<W, C::Kept>>, TaskError>
    where
        C: WindowContents<K, W, T>,
    {
        let (window, joined) = self.merge(sessions, new, merge)?;
        let (max_timestamp, watermark) = (window.max_timestamp(), self.timers.watermark());
        let is_gone = self.lateness.is_gone(max_timestamp, watermark);
        let index = match joined {
            Some(_) if is_gone => {
                return Err(TaskError::operator(
                    "windows that merge must not end earlier than they would have ended by themselves: the merged window has \
                     ended before now",
                ));
            }
            None if is_gone => return Ok(None),
            Some(index) => index,
            None => {
                sessions.push(Session {
                    window: window.clone(),
                    contents: self.contents.create(),
                    timer: Timestamp::MAX,
                });
                sessions.len() - 1
            }
        };
        let session = &mut sessions[index];
        session.window = window;
        let due = if max_timestamp > watermark {
            max_timestamp
        } else {
            self.lateness.cleanup_time(max_timestamp)
        };
        if joined.is_none() || due < session.timer {
            self.set_timer(key, session, due);
        }
        Ok(Some(session))
    }

    /// Makes one of all sessions that a new window is to be part of. Returns what the window is then, and which session that is.
    #[inline]
    fn merge<W: Window, T>(
        &mut self,
        sessions: &mut Sessions<W, C::Kept>,
        new: W,
        merge: MergeWindows<W>,
    ) -> Result<(W, Option<usize>), TaskError>
    where
        C: WindowContents<K, W, T>,
    {
        let (mut window, mut joined) = (new, None);
        let (mut index, mut grew) = (0, false);
        loop {
            let Some(other) = sessions.get(index) else {
                if !grew {
                    return Ok((window, joined));
                }
                // What was covered may reach sessions that the new window alone did not.
                (index, grew) = (0, false);
                continue;
            };
            let cover = merge(&window, &other.window).filter(|_| joined != Some(index));
            let Some(cover) = cover else {
                index += 1;
                continue;
            };
            (window, grew) = (cover, true);
            match joined {
                None => {
                    joined = Some(index);
                    index += 1;
                }
                Some(target) => {
                    let absorbed = sessions.swap_remove(index);
                    // Its place is now that of the one that was last.
                    let target = if target == sessions.len() { index } else { target };
                    joined = Some(target);
                    self.contents.merge(&mut sessions[target].contents, absorbed.contents)?;
                }
            }
        }
    }

    fn set_timer<W, V>(&mut self, key: &K, session: &mut Session<W, V>, time: Timestamp) {
        session.timer = time;
        self.timers.register_event_time(time, key.clone(), ());
    }

    /// Whether the watermark has reached a session's end.
    #[inline]
    fn is_complete<W: Window, V>(&self, session: &Session<W, V>) -> bool {
        session.window.max_timestamp() <= self.timers.watermark()
    }

    #[cold]
    fn fire<W: Window, T>(
        &mut self,
        key: &K,
        Session { window, contents, .. }: &mut Session<W, C::Kept>,
        output: &mut Outputs<C::Out>,
    ) -> Result<(), TaskError>
    where
        C: WindowContents<K, W, T>,
    {
        let context = WindowContext::new(window, self.timers.watermark(), &self.clock);
        self.contents.fire(key, &context, Fired::Kept(contents), output)
    }

    /// Does what is due about a session; returns whether it is gone now.
    fn timer<W: Window, T>(
        &mut self,
        time: Timestamp,
        key: &K,
        session: &mut Session<W, C::Kept>,
        output: &mut Outputs<C::Out>,
    ) -> Result<bool, TaskError>
    where
        C: WindowContents<K, W, T>,
    {
        let max_timestamp = session.window.max_timestamp();
        if time < max_timestamp {
            self.set_timer(key, session, max_timestamp);
            return Ok(false);
        }
        let cleanup = self.lateness.cleanup_time(max_timestamp);
        if time < cleanup {
            if time == max_timestamp {
                self.fire(key, session, output)?;
            }
            self.set_timer(key, session, cleanup);
            return Ok(false);
        }
        let context = WindowContext::new(&session.window, self.timers.watermark(), &self.clock);
        if time == max_timestamp {
            let contents = std::mem::replace(&mut session.contents, self.contents.create());
            self.contents.fire(key, &context, Fired::Last(contents), output)?;
        }
        self.contents.clear(key, &context).map_err(TaskError::operator)?;
        Ok(true)
    }
}

impl<T, S, A, C> Operator<T> for SessionWindowOperator<T, S, A, C>
where
    T: Clone + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    C: WindowContents<S::Key, A::Window, T, Out: 'static>,
{
    type Out = C::Out;

    #[inline]
    fn process(&mut self, record: T, timestamp: Timestamp, output: &mut Outputs<C::Out>) -> Result<(), TaskError> {
        let mut windows = std::mem::take(&mut self.windows);
        windows.clear();
        let context = WindowAssignerContext {
            clock: self.backend.clock(),
        };
        self.assigner
            .assign_windows(&record, timestamp, &context, &mut windows)
            .map_err(TaskError::operator)?;
        let (mut taken, last) = (false, windows.pop());
        for window in windows.drain(..) {
            taken |= self.add(record.clone(), timestamp, window, output)?.is_none();
        }
        self.windows = windows;
        let late = match last {
            Some(window) => self.add(record, timestamp, window, output)?,
            None => Some(record),
        };
        match late {
            Some(record) if !taken => {
                let watermark = self.panes.timers.watermark();
                self.panes.lateness.skipped(record, timestamp, watermark, output)
            }
            _ => Ok(()),
        }
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Outputs<C::Out>) -> Result<(), TaskError> {
        self.panes.timers.advance_watermark(watermark);
        while let Some((time, key, ())) = self.panes.timers.pop_event_time() {
            self.on_timer(time, &key, output)?;
        }
        output.event(Event::Watermark(watermark))
    }
}
