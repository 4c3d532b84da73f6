//! What progress there is, as a pure state: events with their time in, lines out. No clock, no terminal.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::count;
use crate::output::{duration, rate};

/// How often plain lines say what is waited for.
const REMINDER: Duration = Duration::from_secs(10);
/// After this time something must be visible.
const FIRST_SIGN: Duration = Duration::from_millis(100);
/// That slots were waited for is worth a line of its own.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// How many names are written out.
const NAMES: usize = 5;
/// Permanent lines kept for a terminal that does not take them. The oldest go first, and are counted.
const BACKLOG: usize = 1000;
/// Width of a vertex's name before it is cut off, on a terminal only.
const VERTEX_NAME: usize = 40;

/// A stage of a command. Several may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Hosts are connected.
    Connecting,
    /// Files go to hosts.
    Uploading,
    /// What hosts can do together is tried.
    Checking,
    /// Processes are started.
    Starting,
    /// TaskManagers start on hosts.
    Slots,
    /// Slots are waited for, and nothing starts that would bring some.
    Waiting,
    /// The job runs.
    Running,
    /// Processes are stopped.
    Stopping,
}

impl Phase {
    fn under_way(self) -> &'static str {
        match self {
            Self::Connecting => "Connecting",
            Self::Uploading => "Uploading",
            Self::Checking => "Checking",
            Self::Starting => "Starting",
            Self::Slots => "Hosts",
            Self::Waiting => "Waiting for slots",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
        }
    }

    fn finished(self) -> &'static str {
        match self {
            Self::Connecting => "Connected",
            Self::Uploading => "Uploaded",
            Self::Checking => "Checked",
            Self::Starting => "Started",
            Self::Slots => "Hosts",
            Self::Waiting => "Waited for slots",
            Self::Running => "Ran",
            Self::Stopping => "Stopped",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A phase begins; so many things have to be done in it.
    Begin(Phase, usize),
    /// An item (a host, mostly) is at a step: `tm07`, `authenticating`.
    Step(Phase, String, String),
    /// An item is done.
    Done(Phase, String),
    /// An item failed, and why.
    Failed(Phase, String, String),
    /// So many of so many, where items have no names.
    Count(Phase, usize, usize),
    /// A phase is over.
    End(Phase),
    /// How the job's vertices are doing.
    Vertices(Vec<Vertex>),
    /// A remark that stays.
    Note(String),
}

/// How a vertex of a running job is doing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Vertex {
    /// Its name.
    pub(crate) name: String,
    /// The state in one word, such as `RUNNING`.
    pub(crate) state: String,
    /// How many of its subtasks are in this state.
    pub(crate) subtasks: u32,
    /// How many subtasks it has.
    pub(crate) parallelism: u32,
    /// Records that came in, per second.
    pub(crate) records_in: f64,
    /// Records that went out, per second.
    pub(crate) records_out: f64,
}

/// Which way the lines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Lines that are redrawn in place; see [`State::live`].
    Live,
    /// Lines that stay.
    Plain,
}

/// A line that is redrawn in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// Name of the phase; empty for the lines of vertices.
    pub(crate) title: &'static str,
    /// How many of how many.
    pub(crate) position: Option<(usize, usize)>,
    /// The rest.
    pub(crate) text: String,
}

#[derive(Debug)]
struct Item {
    name: String,
    step: String,
    began: Duration,
    step_began: Duration,
}

#[derive(Debug)]
struct Active {
    phase: Phase,
    began: Duration,
    reminded: Duration,
    total: usize,
    done: usize,
    failed: usize,
    under_way: Vec<Item>,
}

/// All progress of a command.
#[derive(Debug)]
pub(crate) struct State {
    style: Style,
    began: Duration,
    shown: bool,
    phases: Vec<Active>,
    vertices: Vec<Vertex>,
    lines: VecDeque<String>,
    dropped: usize,
}

impl State {
    /// Nothing has happened yet.
    pub(crate) fn new(style: Style, now: Duration) -> Self {
        let lines = VecDeque::new();
        Self {
            style,
            began: now,
            shown: false,
            phases: Vec::new(),
            vertices: Vec::new(),
            lines,
            dropped: 0,
        }
    }

    /// Takes note of an event.
    pub(crate) fn apply(&mut self, now: Duration, event: Event) {
        match event {
            Event::Begin(phase, total) => {
                self.phases.retain(|active| active.phase != phase);
                let under_way = Vec::new();
                self.phases.push(Active {
                    phase,
                    began: now,
                    reminded: now,
                    total,
                    done: 0,
                    failed: 0,
                    under_way,
                });
            }
            Event::Step(phase, name, step) => self.with(phase, now, |active| active.step(now, name, step)),
            Event::Done(phase, name) => self.with(phase, now, |active| {
                active.leave(&name);
                active.done += 1;
            }),
            Event::Failed(phase, name, reason) => {
                self.with(phase, now, |active| {
                    active.leave(&name);
                    active.failed += 1;
                });
                self.line(format!("{}: {name} failed: {reason}", phase.under_way()));
            }
            Event::Count(phase, done, total) => self.with(phase, now, |active| {
                active.done = done;
                active.total = total;
            }),
            Event::End(phase) => self.end(now, phase),
            Event::Vertices(vertices) => self.vertices(vertices),
            Event::Note(note) => self.line(note),
        }
    }

    /// Lets time pass: plain lines appear when they are due.
    pub(crate) fn tick(&mut self, now: Duration) {
        if self.style == Style::Live {
            return;
        }
        let mut due = Vec::new();
        let first_sign = !self.shown && now.saturating_sub(self.began) >= FIRST_SIGN;
        for active in &mut self.phases {
            if now.saturating_sub(active.reminded) >= REMINDER {
                active.reminded = now;
                due.push(active.reminder(now));
                if active.phase == Phase::Running {
                    due.extend(
                        self.vertices
                            .iter()
                            .map(|vertex| format!("  {}", vertex.line(&vertex.name))),
                    );
                }
            } else if first_sign && due.is_empty() {
                due.push(format!("{}{} ...", active.phase.under_way(), active.counts(" ")));
            }
        }
        for line in due {
            self.line(line);
        }
    }

    /// The lines that stay and were not taken yet.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        let mut lines: Vec<String> = self.lines.drain(..).collect();
        if self.dropped > 0 {
            lines.insert(
                0,
                format!(
                    "({} left out: the terminal did not take them)",
                    count(self.dropped, "line")
                ),
            );
            self.dropped = 0;
        }
        lines
    }

    /// The lines to draw in place now.
    pub(crate) fn live(&self, now: Duration) -> Vec<Live> {
        let mut lines: Vec<Live> = self
            .phases
            .iter()
            .filter(|active| active.total > 0 || matches!(active.phase, Phase::Running | Phase::Waiting))
            .map(|active| active.live(now))
            .collect();
        if self.phases.iter().any(|active| active.phase == Phase::Running) {
            let width = self
                .vertices
                .iter()
                .map(|vertex| vertex.name.chars().count().min(VERTEX_NAME))
                .max()
                .unwrap_or(0);
            for vertex in &self.vertices {
                let name = format!("{:width$}", shorten(&vertex.name, VERTEX_NAME));
                lines.push(Live {
                    title: "",
                    position: None,
                    text: vertex.line(&name),
                });
            }
        }
        lines
    }

    /// Runs `change` on a phase; one that nobody began begins now.
    fn with(&mut self, phase: Phase, now: Duration, change: impl FnOnce(&mut Active)) {
        if !self.phases.iter().any(|active| active.phase == phase) {
            self.apply(now, Event::Begin(phase, 0));
        }
        if let Some(active) = self.phases.iter_mut().find(|active| active.phase == phase) {
            change(active);
            active.total = active.total.max(active.done + active.failed);
        }
    }

    fn end(&mut self, now: Duration, phase: Phase) {
        let Some(at) = self.phases.iter().position(|active| active.phase == phase) else {
            return;
        };
        let active = self.phases.remove(at);
        let took = now.saturating_sub(active.began);
        let is_worth_a_line = match phase {
            Phase::Running => true,
            Phase::Waiting => took >= LONG_WAIT,
            _ => active.total > 0,
        };
        if !is_worth_a_line {
            return;
        }
        let failed = if active.failed == 0 {
            String::new()
        } else {
            format!("  ({} failed)", active.failed)
        };
        let took = duration(took);
        self.line(format!("{:10}{}  {took}{failed}", phase.finished(), active.counts(" ")));
        if phase == Phase::Running {
            self.vertices.clear();
        }
    }

    /// In plain style, a vertex gets a line whenever its state changes.
    fn vertices(&mut self, vertices: Vec<Vertex>) {
        if self.style == Style::Plain {
            let changed = |vertex: &&Vertex| {
                let before = self.vertices.iter().find(|before| before.name == vertex.name);
                before.is_none_or(|before| before.state != vertex.state)
            };
            let lines: Vec<String> = vertices
                .iter()
                .filter(changed)
                .map(|vertex| {
                    format!(
                        "  {}  {} {}/{}",
                        vertex.name, vertex.state, vertex.subtasks, vertex.parallelism
                    )
                })
                .collect();
            for line in lines {
                self.line(line);
            }
        }
        self.vertices = vertices;
    }

    fn line(&mut self, line: String) {
        self.shown = true;
        if self.lines.len() == BACKLOG {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line);
    }
}

impl Active {
    fn step(&mut self, now: Duration, name: String, step: String) {
        match self.under_way.iter_mut().find(|item| item.name == name) {
            Some(item) if item.step == step => {}
            Some(item) => {
                item.step = step;
                item.step_began = now;
            }
            None => self.under_way.push(Item {
                name,
                step,
                began: now,
                step_began: now,
            }),
        }
    }

    fn leave(&mut self, name: &str) {
        self.under_way.retain(|item| item.name != name);
    }

    /// ` 37/40`, or nothing where nothing is counted.
    fn counts(&self, before: &str) -> String {
        if self.total == 0 {
            String::new()
        } else {
            format!("{before}{}/{}", self.done, self.total)
        }
    }

    /// What has been under way for longest: whoever waits, waits for this.
    fn slowest(&self) -> Option<&Item> {
        self.under_way.iter().min_by_key(|item| item.began)
    }

    fn live(&self, now: Duration) -> Live {
        let position = (self.total > 0).then_some((self.done, self.total));
        let mut text = match self.slowest() {
            Some(item) => format!(
                "{}: {} {}",
                item.name,
                item.step,
                duration(now.saturating_sub(item.step_began))
            ),
            None => duration(now.saturating_sub(self.began)),
        };
        if self.failed > 0 {
            text = format!("({} failed)  {text}", self.failed);
        }
        Live {
            title: self.phase.under_way(),
            position,
            text,
        }
    }

    fn reminder(&self, now: Duration) -> String {
        let head = format!(
            "{}{}, {}",
            self.phase.under_way(),
            self.counts(" "),
            duration(now.saturating_sub(self.began))
        );
        if self.phase == Phase::Running {
            return head;
        }
        let mut waiting: Vec<&Item> = self.under_way.iter().collect();
        waiting.sort_by(|left, right| left.began.cmp(&right.began).then_with(|| left.name.cmp(&right.name)));
        let names: Vec<&str> = waiting.iter().take(NAMES).map(|item| item.name.as_str()).collect();
        match waiting.len() {
            0 => format!("{head}: still waiting"),
            all if all <= NAMES => format!("{head}: still waiting for {}", names.join(", ")),
            all => format!(
                "{head}: still waiting for {} and {} more",
                names.join(", "),
                all - NAMES
            ),
        }
    }
}

impl Vertex {
    fn line(&self, name: &str) -> String {
        let subtasks = format!("{}/{}", self.subtasks, self.parallelism);
        format!(
            "{name}  {:9} {subtasks:>7}  in {:>9}  out {:>9}",
            self.state,
            rate(self.records_in),
            rate(self.records_out)
        )
    }
}

fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests;
