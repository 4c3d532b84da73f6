//! Lines redrawn in place. indicatif does the redrawing and cuts lines to the terminal's width; the text is ours, whole,
//! because each setter of its bars draws a frame of its own.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Draw;
use super::state::Live;

/// Frames per second at most.
const FRAMES: u8 = 60;
/// Width of a bar in characters.
const WIDTH: usize = 20;

/// One row of the terminal for each live line.
pub(super) struct Bars {
    terminal: MultiProgress,
    rows: Vec<ProgressBar>,
}

impl Bars {
    /// Bars on standard error.
    pub(super) fn new() -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(FRAMES);
        Self {
            terminal: MultiProgress::with_draw_target(target),
            rows: Vec::new(),
        }
    }

    /// The terminal they are drawn on, to be suspended.
    pub(super) fn terminal(&self) -> MultiProgress {
        self.terminal.clone()
    }

    fn add_row(&self, text: String) -> ProgressBar {
        let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let row = ProgressBar::hidden();
        row.set_style(style);
        row.set_message(text);
        let row = self.terminal.add(row);
        row.tick();
        row
    }
}

impl Draw for Bars {
    fn draw(&mut self, lines: &[String], live: &[Live]) {
        for line in lines {
            // When the terminal is gone there is no one left to tell.
            let _ = self.terminal.println(line);
        }
        while self.rows.len() > live.len() {
            if let Some(row) = self.rows.pop() {
                row.finish_and_clear();
                self.terminal.remove(&row);
            }
        }
        for (index, live) in live.iter().enumerate() {
            let text = text(live);
            match self.rows.get(index) {
                Some(row) if row.message() == text => {}
                Some(row) => row.set_message(text),
                None => self.rows.push(self.add_row(text)),
            }
        }
    }
}

/// `Connecting ━━━━━───────────────  8/40  tm07: authenticating 4s`
fn text(live: &Live) -> String {
    match live.position {
        None if live.title.is_empty() => format!("  {}", live.text),
        None => format!("{:10} {}", live.title, live.text),
        Some((done, total)) => {
            let filled = (done * WIDTH).checked_div(total).unwrap_or(0).min(WIDTH);
            let bar = "━".repeat(filled) + &"─".repeat(WIDTH - filled);
            format!("{:10} {bar} {done}/{total}  {}", live.title, live.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let live = |title, position| {
            text(&Live {
                title,
                position,
                text: "tm07: authenticating 4s".to_owned(),
            })
        };
        let cases = [
            (
                live("Connecting", Some((10, 40))),
                "Connecting ━━━━━─────────────── 10/40  tm07: authenticating 4s",
            ),
            (
                live("Hosts", Some((5, 4))),
                "Hosts      ━━━━━━━━━━━━━━━━━━━━ 5/4  tm07: authenticating 4s",
            ),
            (live("Running", None), "Running    tm07: authenticating 4s"),
            (live("", None), "  tm07: authenticating 4s"),
        ];
        for (text, expected) in cases {
            assert_eq!(text, expected);
        }
    }
}
