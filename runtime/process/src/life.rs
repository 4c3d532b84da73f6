//! How a process gets ready, and how it is ended: what its parent decides.
//!
//! A process that ends unasked is told apart from one that was asked to. One whose control socket breaks gets [`EXIT_LAG`] to be
//! seen ending by itself (a dying process closes its sockets before it can be waited for); then it is killed. One that
//! was asked to end is asked ever harder: by message, by SIGTERM, by SIGKILL, and then not waited for any longer (a process in
//! uninterruptible sleep cannot be killed).

use std::time::{Duration, Instant};

use crate::StopSignal;

/// How long a process whose control socket broke has to be seen ending before it is killed.
pub const EXIT_LAG: Duration = Duration::from_millis(500);

/// How long the exit of a process that was sent SIGKILL is waited for.
pub const ABANDON_AFTER: Duration = Duration::from_secs(5);

/// How long a process may take from its start until it is ready.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a process that was told to shut down has before it gets SIGTERM. Its work is done by then, or of no interest.
pub const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(1);

/// The times that are kept.
#[derive(Debug, Clone, Copy)]
pub struct LifeLimits {
    /// From its start, a process has this long to be ready.
    pub ready_timeout: Duration,
    /// From the message to SIGTERM.
    pub shutdown_patience: Duration,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: Duration,
}

/// How a process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// By message, SIGTERM, SIGKILL.
    Orderly,
    /// By SIGKILL at once.
    Kill,
}

/// What is to be done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Tell it to shut down.
    Shutdown,
    /// Send a signal to its process group.
    Signal(StopSignal),
    /// It does not end after SIGKILL: take it for gone.
    Abandon,
}

/// ```text
///  Starting ──► Ready
///      │ ╲       │ ╲
///      │  ╲      │  ► Failing (socket broken, or never ready)
///      ▼   ► ────┼──►    │
///    Ending ◄────┴───────┘
/// ```
/// An exit in `Ending` was asked for.
#[derive(Debug)]
enum Phase {
    /// It has not said yet that it is ready.
    Starting { ready_by: Instant },
    /// It works.
    Ready,
    /// It is of no use any more. `next` is when it is killed or, after that (`killed`), when its exit is no longer waited for.
    Failing {
        was_ready: bool,
        why: String,
        killed: bool,
        next: Instant,
    },
    /// Its end was asked for.
    Ending { step: Step, next: Instant },
}

/// How hard a process was asked to end. `next` of [`Phase::Ending`] is when the next step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// By message.
    Asked,
    /// By SIGTERM.
    Terminated,
    /// By SIGKILL: the next step is to wait no longer.
    Killed,
}

/// What an exit is to be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending<'a> {
    /// It was asked to end.
    Asked,
    /// It was not.
    Unasked {
        /// Whether it had been ready.
        was_ready: bool,
        /// What was wrong with it while it lived. That the socket of a process broke which then ended by itself is no news.
        why: Option<&'a str>,
    },
}

/// Where a process is in its life. See the module.
#[derive(Debug)]
pub struct ProcessLife {
    limits: LifeLimits,
    phase: Phase,
}

impl ProcessLife {
    /// Of a process that is started at `now`.
    pub fn start(now: Instant, limits: LifeLimits) -> Self {
        let ready_by = now + limits.ready_timeout;
        Self {
            limits,
            phase: Phase::Starting { ready_by },
        }
    }

    /// Whether it has still to say that it is ready.
    pub const fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Whether it is ready, and of use.
    pub const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// Whether it is, or will be, of use.
    pub const fn is_current(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Ready)
    }

    /// Whether its end was asked for.
    pub const fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. })
    }

    /// It says that it is ready. False when that comes too late.
    pub fn ready(&mut self) -> bool {
        let is_news = self.is_starting();
        if is_news {
            self.phase = Phase::Ready;
        }
        is_news
    }

    /// It is of no use any more: it is killed after `lag`. False when that was known.
    pub fn fail(&mut self, now: Instant, why: String, lag: Duration) -> bool {
        let is_news = self.is_current();
        if is_news {
            self.phase = Phase::Failing {
                was_ready: self.is_ready(),
                why,
                killed: false,
                next: now + lag,
            };
        }
        is_news
    }

    /// It is to end, whatever it is doing. Asking again only ever makes it harder.
    pub fn end(&mut self, now: Instant, manner: Manner) -> Option<Request> {
        let kill = match &self.phase {
            Phase::Starting { .. } | Phase::Ready => manner == Manner::Kill,
            Phase::Failing { killed: true, next, .. } => {
                let next = *next;
                self.enter(Step::Killed, next);
                return None;
            }
            Phase::Failing { .. } => true,
            Phase::Ending { step, .. } if *step == Step::Killed || manner == Manner::Orderly => return None,
            Phase::Ending { .. } => true,
        };
        if kill {
            self.enter(Step::Killed, now + ABANDON_AFTER);
            Some(Request::Signal(StopSignal::Kill))
        } else {
            self.enter(Step::Asked, now + self.limits.shutdown_patience);
            Some(Request::Shutdown)
        }
    }

    fn enter(&mut self, step: Step, next: Instant) {
        self.phase = Phase::Ending { step, next };
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ready => None,
            Phase::Starting { ready_by } => Some(ready_by),
            Phase::Failing { next, .. } | Phase::Ending { next, .. } => Some(next),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Option<Request> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        let limits = self.limits;
        let signal = match &mut self.phase {
            Phase::Ready => return None,
            Phase::Starting { .. } => {
                self.phase = Phase::Failing {
                    was_ready: false,
                    why: format!("it was not ready after {:?}", limits.ready_timeout),
                    killed: true,
                    next: now + ABANDON_AFTER,
                };
                StopSignal::Kill
            }
            Phase::Failing {
                killed: killed @ false,
                next,
                ..
            } => {
                *killed = true;
                *next = now + ABANDON_AFTER;
                StopSignal::Kill
            }
            Phase::Ending {
                step: step @ Step::Asked,
                next,
            } => {
                *step = Step::Terminated;
                *next = now + limits.stop_grace;
                StopSignal::Terminate
            }
            Phase::Ending {
                step: step @ Step::Terminated,
                next,
            } => {
                *step = Step::Killed;
                *next = now + ABANDON_AFTER;
                StopSignal::Kill
            }
            Phase::Failing { killed: true, .. } | Phase::Ending { step: Step::Killed, .. } => {
                return Some(Request::Abandon);
            }
        };
        Some(Request::Signal(signal))
    }

    /// It has ended.
    pub fn exited(&self) -> Ending<'_> {
        match &self.phase {
            Phase::Starting { .. } => Ending::Unasked {
                was_ready: false,
                why: None,
            },
            Phase::Ready => Ending::Unasked {
                was_ready: true,
                why: None,
            },
            Phase::Failing {
                was_ready, why, killed, ..
            } => Ending::Unasked {
                was_ready: *was_ready,
                why: killed.then_some(why.as_str()),
            },
            Phase::Ending { .. } => Ending::Asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LifeLimits = LifeLimits {
        ready_timeout: Duration::from_secs(30),
        shutdown_patience: Duration::from_secs(1),
        stop_grace: Duration::from_secs(10),
    };
    const KILL: Option<Request> = Some(Request::Signal(StopSignal::Kill));

    fn started() -> (ProcessLife, Instant) {
        let now = Instant::now();
        (ProcessLife::start(now, LIMITS), now)
    }

    /// What comes of waiting until something is due.
    fn wait(life: &mut ProcessLife, now: &mut Instant) -> Option<Request> {
        let deadline = life.deadline()?;
        assert_eq!(life.tick(deadline - Duration::from_millis(1)), None);
        *now = deadline;
        life.tick(deadline)
    }

    #[test]
    fn one_that_is_asked_is_asked_ever_harder() {
        let (mut life, mut now) = started();
        assert!(life.ready() && life.is_ready() && life.deadline().is_none());
        assert_eq!(life.end(now, Manner::Orderly), Some(Request::Shutdown));
        assert_eq!(life.end(now, Manner::Orderly), None);
        assert_eq!(wait(&mut life, &mut now), Some(Request::Signal(StopSignal::Terminate)));
        assert_eq!(wait(&mut life, &mut now), KILL);
        assert_eq!(life.end(now, Manner::Kill), None, "there is nothing harder");
        assert_eq!(wait(&mut life, &mut now), Some(Request::Abandon));
        assert_eq!(life.exited(), Ending::Asked);
    }

    #[test]
    fn one_that_never_gets_ready_is_killed() {
        let (mut life, mut now) = started();
        assert_eq!(wait(&mut life, &mut now), KILL);
        assert!(!life.ready(), "too late");
        let ending = Ending::Unasked {
            was_ready: false,
            why: Some("it was not ready after 30s"),
        };
        assert_eq!(life.exited(), ending);
    }

    #[test]
    fn a_broken_socket_is_no_news_of_one_that_ends_by_itself() {
        let (mut life, mut now) = started();
        life.ready();
        assert!(life.fail(now, "broken".to_owned(), EXIT_LAG));
        assert!(!life.fail(now, "again".to_owned(), EXIT_LAG));
        let unasked = |why| Ending::Unasked { was_ready: true, why };
        assert_eq!(life.exited(), unasked(None));
        assert_eq!(wait(&mut life, &mut now), KILL);
        assert_eq!(life.exited(), unasked(Some("broken")));
        assert_eq!(life.end(now, Manner::Kill), None);
        assert_eq!(life.exited(), Ending::Asked);
    }
}
