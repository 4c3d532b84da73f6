//! Progress on standard error: bars on a terminal, plain lines elsewhere.
//!
//! Whoever works reports [`Event`]s through a [`Progress`]; that takes a short lock and never waits for the terminal, so
//! a terminal that is stopped (Ctrl-S) stops no deployment. A thread of its own draws. This is the one place where a
//! mutex is better than a channel: a bounded channel would block its senders or lose the ends of phases, while the state
//! behind the mutex is bounded by itself.

mod bars;
mod state;

use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::MultiProgress;

use self::bars::Bars;
pub(crate) use self::state::{Event, Phase, Vertex};
use self::state::{State, Style};
use crate::cli::ProgressMode;

/// How long [`Progress::settle`] waits.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);

/// How often lines are drawn anew.
const INTERVAL: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Lines redrawn in place.
    Bars,
    /// Lines that stay.
    Plain,
    /// Not at all.
    None,
}

impl Mode {
    /// The mode for the options of the command line and the standard error of this process.
    pub(crate) fn choose(option: ProgressMode, quiet: bool, json: bool) -> Self {
        let smart = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self::decide(option, quiet, smart, json)
    }

    fn decide(option: ProgressMode, quiet: bool, smart_terminal: bool, json: bool) -> Self {
        match option {
            _ if quiet => Self::None,
            ProgressMode::None => Self::None,
            ProgressMode::Auto if smart_terminal => Self::Bars,
            // A program reads standard error: errors are JSON there, and nothing else should be.
            ProgressMode::Auto if json => Self::None,
            ProgressMode::Auto | ProgressMode::Plain => Self::Plain,
        }
    }
}

/// Where progress is reported. Cheap to clone; a default one swallows everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    shared: Option<Arc<Shared>>,
    terminal: Option<MultiProgress>,
}

/// The owner of the drawing thread.
#[derive(Debug)]
pub(crate) struct Sink {
    progress: Progress,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    inner: Mutex<Inner>,
    wake: Condvar,
    drawn: Condvar,
}

#[derive(Debug)]
struct Inner {
    state: State,
    closing: bool,
    /// How many events were reported, and how many of them are drawn.
    reported: u64,
    drawn: u64,
}

impl Progress {
    /// Reports an event. Never waits for the terminal.
    pub(crate) fn report(&self, event: Event) {
        let Some(shared) = &self.shared else { return };
        let now = shared.began.elapsed();
        let mut inner = shared.lock();
        inner.state.apply(now, event);
        inner.reported += 1;
        drop(inner);
        shared.wake.notify_one();
    }

    /// A phase with so many things to do begins.
    pub(crate) fn begin(&self, phase: Phase, total: usize) {
        self.report(Event::Begin(phase, total));
    }

    /// An item is at a step.
    pub(crate) fn step(&self, phase: Phase, item: &str, step: &str) {
        self.report(Event::Step(phase, item.to_owned(), step.to_owned()));
    }

    /// An item is done.
    pub(crate) fn done(&self, phase: Phase, item: &str) {
        self.report(Event::Done(phase, item.to_owned()));
    }

    /// An item failed; the first line of the reason is shown.
    pub(crate) fn failed(&self, phase: Phase, item: &str, reason: &str) {
        // The error at the end has the rest.
        let reason = reason.lines().next().unwrap_or_default();
        self.report(Event::Failed(phase, item.to_owned(), reason.to_owned()));
    }

    /// A phase is over.
    pub(crate) fn end(&self, phase: Phase) {
        self.report(Event::End(phase));
    }

    /// Prints a line that stays, above whatever is drawn.
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.report(Event::Note(line.into()));
    }

    /// Waits until everything that was reported is printed: before something else is that belongs behind it. A terminal that
    /// takes nothing is not waited for.
    pub(crate) fn settle(&self) {
        let Some(shared) = &self.shared else { return };
        let inner = shared.lock();
        let reported = inner.reported;
        // A poisoned lock or a full terminal: then it comes out of order.
        let _settled = shared
            .drawn
            .wait_timeout_while(inner, SETTLE_LIMIT, |inner| inner.drawn < reported);
    }

    /// Runs `print` while nothing is drawn, for output that shares the terminal.
    pub(crate) fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.terminal {
            Some(terminal) => terminal.suspend(print),
            None => print(),
        }
    }
}

impl Sink {
    /// Starts to draw on standard error.
    pub(crate) fn start(mode: Mode) -> Self {
        match mode {
            Mode::None => Self {
                progress: Progress::default(),
                thread: None,
            },
            Mode::Plain => Self::spawn(Style::Plain, Box::new(Plain(std::io::stderr())), None),
            Mode::Bars => {
                let bars = Bars::new();
                let terminal = bars.terminal();
                Self::spawn(Style::Live, Box::new(bars), Some(terminal))
            }
        }
    }

    fn spawn(style: Style, mut draw: Box<dyn Draw>, terminal: Option<MultiProgress>) -> Self {
        let inner = Inner {
            state: State::new(style, Duration::ZERO),
            closing: false,
            reported: 0,
            drawn: 0,
        };
        let shared = Arc::new(Shared {
            began: Instant::now(),
            inner: Mutex::new(inner),
            wake: Condvar::new(),
            drawn: Condvar::new(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("progress".to_owned())
                .spawn(move || shared.draw_until_closed(draw.as_mut()))
        };
        match thread {
            Ok(thread) => Self {
                progress: Progress {
                    shared: Some(shared),
                    terminal,
                },
                thread: Some(thread),
            },
            // A system without a thread to spare has other worries than progress.
            Err(_) => Self {
                progress: Progress::default(),
                thread: None,
            },
        }
    }

    /// A handle to report through.
    pub(crate) fn handle(&self) -> Progress {
        self.progress.clone()
    }

    /// Draws what is left, clears the bars and ends. Call it before the answer or an error is printed.
    pub(crate) fn finish(mut self) {
        self.close();
    }

    fn close(&mut self) {
        if let Some(shared) = &self.progress.shared {
            shared.lock().closing = true;
            shared.wake.notify_one();
        }
        if let Some(thread) = self.thread.take() {
            // It can only have panicked; progress is not worth failing for.
            let _ = thread.join();
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// The state stays usable when a holder of the lock panicked: every change to it is whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_until_closed(&self, draw: &mut dyn Draw) {
        loop {
            let (lines, live, closing, reported) = {
                let mut inner = self.lock();
                if !inner.closing && inner.drawn == inner.reported {
                    inner = self
                        .wake
                        .wait_timeout(inner, INTERVAL)
                        .map_or_else(|poisoned| poisoned.into_inner().0, |(inner, _)| inner);
                }
                let now = self.began.elapsed();
                inner.state.tick(now);
                let lines = inner.state.take_lines();
                let live = if inner.closing {
                    Vec::new()
                } else {
                    inner.state.live(now)
                };
                (lines, live, inner.closing, inner.reported)
            };
            // The lock is free here: the terminal may take its time.
            draw.draw(&lines, &live);
            self.lock().drawn = reported;
            self.drawn.notify_all();
            if closing {
                return;
            }
        }
    }
}

/// Where lines go.
trait Draw: Send {
    /// Prints `lines` for good and shows `live` until the next call.
    fn draw(&mut self, lines: &[String], live: &[state::Live]);
}

/// Lines that stay, on any writer.
struct Plain<W>(W);

impl<W: Write + Send> Draw for Plain<W> {
    fn draw(&mut self, lines: &[String], _live: &[state::Live]) {
        for line in lines {
            // When standard error is gone there is no one left to tell.
            let _ = writeln!(self.0, "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        let cases = [
            (ProgressMode::Auto, false, true, false, Mode::Bars),
            (ProgressMode::Auto, false, true, true, Mode::Bars),
            (ProgressMode::Auto, false, false, false, Mode::Plain),
            (ProgressMode::Auto, false, false, true, Mode::None),
            (ProgressMode::Plain, false, true, false, Mode::Plain),
            (ProgressMode::Plain, false, false, true, Mode::Plain),
            (ProgressMode::None, false, true, false, Mode::None),
            (ProgressMode::Plain, true, true, false, Mode::None),
        ];
        for (option, quiet, smart, json, expected) in cases {
            assert_eq!(Mode::decide(option, quiet, smart, json), expected);
        }
    }

    /// A writer that can be read from outside.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_reported_is_printed_before_finish_returns() {
        let paper = Paper::default();
        let sink = Sink::spawn(Style::Plain, Box::new(Plain(paper.clone())), None);
        let progress = sink.handle();
        for line in 0..100 {
            progress.note(line.to_string());
        }
        sink.finish();
        progress.note("too late, and harmless");
        let printed = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert_eq!(printed, (0..100).map(|line| format!("{line}\n")).collect::<String>());
    }

    #[test]
    fn what_was_reported_is_printed_when_it_has_settled() {
        let paper = Paper::default();
        let sink = Sink::spawn(Style::Plain, Box::new(Plain(paper.clone())), None);
        for line in 0..100 {
            sink.handle().note(line.to_string());
            sink.handle().settle();
            let printed = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
            assert!(printed.ends_with(&format!("{line}\n")), "{printed}");
        }
    }

    #[test]
    fn a_silent_sink_takes_everything() {
        let sink = Sink::start(Mode::None);
        sink.handle().begin(Phase::Connecting, 3);
        assert_eq!(sink.handle().suspend(|| 7), 7);
        sink.finish();
    }
}
