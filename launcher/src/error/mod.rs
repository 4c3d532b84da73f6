//! The error a person reads: what happened, where, why in the words of whoever said it, and what to do next.
//!
//! Modules have typed errors of their own; at the border to the command line they become a [`UserError`]. It knows its
//! exit code, renders itself for humans and as JSON, and folds what many hosts said alike into one line.

mod render;

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use flink_rpc::messages::HostFault;

use crate::exit_code::ExitCode;

/// How bad it is: errors end the command, warnings accompany its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The command did not do what it was asked to do.
    Error,
    /// It did, with a reservation.
    Warning,
}

/// What one host contributed to an error.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct HostFailure {
    /// Name of the host in the inventory.
    pub(crate) host: String,
    /// What it (or ssh about it) said, verbatim.
    pub(crate) message: String,
    /// What would help on this host alone.
    pub(crate) hint: Option<String>,
}

impl From<HostFault> for HostFailure {
    fn from(fault: HostFault) -> Self {
        Self {
            host: fault.host,
            message: fault.message,
            hint: fault.help,
        }
    }
}

/// A text file that errors can point into.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SourceText {
    /// The file's name, as the user gave it.
    pub(crate) name: String,
    /// Its whole content.
    pub(crate) text: String,
}

impl SourceText {
    /// Wraps the content of `path`.
    pub(crate) fn new(path: &Path, text: String) -> Arc<Self> {
        Arc::new(Self {
            name: path.display().to_string(),
            text,
        })
    }

    /// Line and column, both counted from one, of a byte offset.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }
}

/// A marked stretch of a source file, with further stretches that explain it.
#[derive(Clone, Debug)]
pub(crate) struct Snippet {
    source: Arc<SourceText>,
    span: Range<usize>,
    label: String,
    context: Vec<(Range<usize>, String)>,
}

impl Snippet {
    /// Marks `span` of `source` with carets and `label`.
    pub(crate) fn new(source: Arc<SourceText>, span: Range<usize>, label: impl Into<String>) -> Self {
        Self {
            source,
            span,
            label: label.into(),
            context: Vec::new(),
        }
    }

    /// Marks a second stretch of the same file, less loudly.
    #[must_use]
    pub(crate) fn context(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.context.push((span, label.into()));
        self
    }

    /// `file:line:column` of the mark.
    pub(crate) fn location(&self) -> String {
        let (line, column) = self.source.position(self.span.start);
        format!("{}:{line}:{column}", self.source.name)
    }
}

#[derive(Clone, Debug)]
enum Place {
    Text(String),
    Snippet(Snippet),
}

/// An error (or warning) in the form the command line shows.
///
/// Built step by step: `UserError::new(code, exit, what).at(..).detail(..).help(..)`.
#[derive(Clone, Debug)]
pub(crate) struct UserError(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    severity: Severity,
    code: Cow<'static, str>,
    exit: ExitCode,
    message: String,
    places: Vec<Place>,
    hosts: Vec<HostFailure>,
    details: Vec<String>,
    notes: Vec<String>,
    help: Vec<String>,
    related: Vec<UserError>,
    silent: bool,
}

impl UserError {
    /// An error with a stable dotted `code`, the exit code it ends the command with, and one sentence of what happened.
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, exit: ExitCode, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            severity: Severity::Error,
            code: code.into(),
            exit,
            message: message.into(),
            places: Vec::new(),
            hosts: Vec::new(),
            details: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
            related: Vec::new(),
            silent: false,
        }))
    }

    /// A warning; `exit` is what the command ends with if nothing worse happens.
    pub(crate) fn warning(code: impl Into<Cow<'static, str>>, exit: ExitCode, message: impl Into<String>) -> Self {
        let mut warning = Self::new(code, exit, message);
        warning.0.severity = Severity::Warning;
        warning
    }

    /// The reader of our standard output went away (`flinkctl ... | head`): not an error, nothing is printed.
    pub(crate) fn stdout_closed() -> Self {
        let mut error = Self::new("stdout.closed", ExitCode::Ok, "the reader of standard output went away");
        error.0.silent = true;
        error
    }

    /// Prints it now; what remains is its exit code, to be returned later.
    #[must_use]
    pub(crate) fn tell(mut self, json: bool) -> Self {
        self.report(json);
        self.0.silent = true;
        self
    }

    /// Adds a `-->` line.
    #[must_use]
    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.0.places.push(Place::Text(place.into()));
        self
    }

    /// Adds a marked stretch of a file.
    #[must_use]
    pub(crate) fn snippet(mut self, snippet: Snippet) -> Self {
        self.0.places.push(Place::Snippet(snippet));
        self
    }

    /// Adds what one host said.
    #[must_use]
    pub(crate) fn host(mut self, host: impl Into<String>, message: impl Into<String>) -> Self {
        self.0.hosts.push(HostFailure {
            host: host.into(),
            message: message.into(),
            hint: None,
        });
        self
    }

    /// Adds what several hosts said.
    #[must_use]
    pub(crate) fn hosts(mut self, failures: impl IntoIterator<Item = HostFailure>) -> Self {
        self.0.hosts.extend(failures);
        self
    }

    /// Adds an indented reason; text of other programs goes here verbatim.
    #[must_use]
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.details.push(detail.into());
        self
    }

    /// Adds a sentence of ours about the circumstances.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.0.notes.push(note.into());
        self
    }

    /// Adds a `help:` line: what to do, at best a command to paste.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help.push(help.into());
        self
    }

    /// Adds another error of equal standing, found in the same go; it is rendered after this one.
    #[must_use]
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.related.push(other);
        self
    }

    /// The dotted code, such as `ssh.refused`.
    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    /// The same in the words of the first host that has any, for a line of progress.
    pub(crate) fn reason(&self) -> &str {
        self.0.hosts.first().map_or(&self.0.message, |host| &host.message)
    }

    /// The exit code of a command that ends with this error.
    pub(crate) fn exit_code(&self) -> ExitCode {
        self.0.exit
    }

    /// Whether there is nothing to print.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.silent
    }

    /// This error and those added with [`UserError::and`].
    pub(crate) fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.0.related)
    }

    /// Prints to standard error: one JSON object per line and error if `json`, text for people otherwise.
    pub(crate) fn report(&self, json: bool) {
        if self.is_silent() {
            return;
        }
        let mut text = String::new();
        if json {
            for error in self.all() {
                text.push_str(&error.to_json().to_string());
                text.push('\n');
            }
        } else {
            text = self.render_styled();
        }
        // When standard error is gone as well there is no one left to tell.
        let _ = anstream::stderr().lock().write_all(text.as_bytes());
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for UserError {}

impl From<anyhow::Error> for UserError {
    /// An error nobody gave a form to. A `UserError` inside keeps its own.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(user_error) => user_error,
            Err(other) => {
                let mut error = Self::new("internal", ExitCode::Internal, other.to_string());
                for cause in other.chain().skip(1) {
                    error = error.detail(format!("caused by: {cause}"));
                }
                error
            }
        }
    }
}

/// The error of a write to standard output.
pub(crate) fn stdout_error(error: &io::Error) -> UserError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return UserError::stdout_closed();
    }
    UserError::new("stdout.write", ExitCode::Internal, "standard output cannot be written").detail(error.to_string())
}

/// `"1 host"`, `"2 hosts"`: a count with its noun.
pub(crate) fn count(number: usize, singular: &str) -> String {
    match number {
        1 => format!("1 {singular}"),
        _ => format!("{number} {singular}s"),
    }
}

#[cfg(test)]
mod tests;
