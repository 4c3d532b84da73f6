//! How a [`UserError`] looks: text for people, JSON for programs.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer};
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::{HostFailure, Place, Severity, Snippet, UserError};

/// How many groups of hosts, and how many names within one, are written out before "and N more".
const SHOWN: usize = 5;

const ERROR: Style = AnsiColor::BrightRed.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ARROW: Style = AnsiColor::BrightBlue.on_default().bold();
const HELP: Style = AnsiColor::BrightCyan.on_default().bold();
const BOLD: Style = Style::new().bold();

impl UserError {
    /// The text for people, with ANSI colours; the stream it goes to removes them where they are not wanted.
    pub(crate) fn render_styled(&self) -> String {
        let mut text = String::new();
        for (index, error) in self.all().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            // Writing to a String cannot fail.
            let _ = error.render_one(&mut text);
        }
        text
    }

    /// The text for people, without colours.
    #[cfg(test)]
    pub(crate) fn render_plain(&self) -> String {
        anstream::adapter::strip_str(&self.render_styled()).to_string()
    }

    /// The JSON object for programs; fields are only ever added.
    pub(crate) fn to_json(&self) -> Value {
        let inner = &self.0;
        let kind = match inner.severity {
            Severity::Error => "Error",
            Severity::Warning => "Warning",
        };
        let places: Vec<String> = inner
            .places
            .iter()
            .map(|place| match place {
                Place::Text(text) => text.clone(),
                Place::Snippet(snippet) => snippet.location(),
            })
            .collect();
        let mut details = inner.details.clone();
        details.extend(inner.places.iter().filter_map(|place| match place {
            Place::Snippet(snippet) if !snippet.label.is_empty() => Some(snippet.label.clone()),
            _ => None,
        }));
        details.extend(inner.notes.iter().cloned());
        json!({
            "apiVersion": crate::output::API_VERSION,
            "kind": kind,
            "code": inner.code,
            "exitCode": inner.exit.code(),
            "message": inner.message,
            "where": places,
            "hosts": inner.hosts,
            "details": details,
            "help": if inner.help.is_empty() { Value::Null } else { Value::String(inner.help.join("\n")) },
        })
    }

    fn render_one(&self, out: &mut String) -> std::fmt::Result {
        let inner = &self.0;
        let (word, style) = match inner.severity {
            Severity::Error => ("error", ERROR),
            Severity::Warning => ("warning", WARNING),
        };
        writeln!(
            out,
            "{style}{word}[{}]{style:#}{BOLD}: {}{BOLD:#}",
            inner.code, inner.message
        )?;
        for place in &inner.places {
            match place {
                Place::Text(text) => writeln!(out, "  {ARROW}-->{ARROW:#} {text}")?,
                Place::Snippet(snippet) => writeln!(out, "{}", render_snippet(snippet))?,
            }
        }
        for line in fold(&inner.hosts) {
            writeln!(out, "  {line}")?;
        }
        for line in inner.details.iter().flat_map(|detail| detail.lines()) {
            writeln!(out, "  {line}")?;
        }
        for note in &inner.notes {
            writeln!(out, "{note}")?;
        }
        for (index, help) in inner.help.iter().enumerate() {
            let word = if index == 0 { "help:" } else { "     " };
            writeln!(out, "{HELP}{word}{HELP:#} {}", help.replace('\n', "\n      "))?;
        }
        Ok(())
    }
}

fn render_snippet(snippet: &Snippet) -> String {
    let mut marked = annotate_snippets::Snippet::source(snippet.source.text.as_str())
        .path(snippet.source.name.as_str())
        .annotation(
            AnnotationKind::Primary
                .span(snippet.span.clone())
                .label(snippet.label.as_str()),
        );
    for (span, label) in &snippet.context {
        marked = marked.annotation(AnnotationKind::Context.span(span.clone()).label(label.as_str()));
    }
    Renderer::styled().render(&[Group::with_level(Level::ERROR).element(marked)])
}

/// What the hosts said: same words once, the first few of each, the rest counted.
fn fold(failures: &[HostFailure]) -> Vec<String> {
    let mut groups: Vec<(&HostFailure, Vec<&str>)> = Vec::new();
    for failure in failures {
        match groups
            .iter_mut()
            .find(|(first, _)| first.message == failure.message && first.hint == failure.hint)
        {
            Some((_, hosts)) => hosts.push(&failure.host),
            None => groups.push((failure, vec![&failure.host])),
        }
    }
    let mut lines = Vec::new();
    for (failure, hosts) in groups.iter().take(SHOWN) {
        let who = match hosts.as_slice() {
            [host] => (*host).to_owned(),
            many => format!("{} hosts ({})", many.len(), some_of(many)),
        };
        let mut said = failure.message.lines();
        lines.push(format!("{who}: {}", said.next().unwrap_or_default()));
        lines.extend(said.map(|line| format!("  {line}")));
        lines.extend(failure.hint.iter().map(|hint| format!("  ({hint})")));
    }
    let hidden: usize = groups.iter().skip(SHOWN).map(|(_, hosts)| hosts.len()).sum();
    if hidden > 0 {
        lines.push(format!(
            "... and {} (all with -o json)",
            super::count(hidden, "more host")
        ));
    }
    lines
}

/// The first few names, and how many follow.
fn some_of(names: &[&str]) -> String {
    let mut text = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        // Writing to a String cannot fail.
        let _ = write!(text, ", and {} more", names.len() - SHOWN);
    }
    text
}
