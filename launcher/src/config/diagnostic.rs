//! What is wrong with an inventory: a list, because all of it is reported at once.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::error::{Snippet, SourceText, UserError, count};
use crate::exit_code::ExitCode;

/// Why there is no inventory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// No file was named and none is in the usual places.
    #[error("no cluster.toml found")]
    NotFound {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and is wrong.
    #[error("{} in {}", count(.problems.len(), "problem"), .source_text.name)]
    Invalid {
        /// The file.
        source_text: Arc<SourceText>,
        /// What is wrong, in the order of the file. Never empty.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// The dotted code, such as `config.unknown-key`.
    pub(crate) code: &'static str,
    /// What is wrong.
    pub(crate) message: String,
    /// Where.
    pub(crate) place: Place,
    /// Further stretches of the file that have to do with it.
    pub(crate) context: Vec<(Range<usize>, String)>,
    /// What to do.
    pub(crate) help: Option<String>,
}

/// Where a problem is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the file, with a word at the mark.
    File(Range<usize>, String),
    /// In a `-D` option or a variable, written out here, with the reason.
    Override(String, String),
    /// In what is missing from the file.
    Nowhere,
}

impl Problem {
    /// A problem at a stretch of the file.
    pub(super) fn at(
        code: &'static str,
        message: impl Into<String>,
        span: Range<usize>,
        label: impl Into<String>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            place: Place::File(span, label.into()),
            context: Vec::new(),
            help: None,
        }
    }

    /// A problem of the whole file.
    pub(super) fn nowhere(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            place: Place::Nowhere,
            context: Vec::new(),
            help: None,
        }
    }

    /// A problem of a `-D` option or a variable.
    pub(super) fn overriding(
        code: &'static str,
        message: impl Into<String>,
        written: String,
        reason: impl Into<String>,
    ) -> Self {
        let place = Place::Override(written, reason.into());
        Self {
            code,
            message: message.into(),
            place,
            context: Vec::new(),
            help: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another stretch of the file that has to do with it.
    #[must_use]
    pub(super) fn context(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.context.push((span, label.into()));
        self
    }

    /// Where it stands in the order of the file; what is not in the file comes last.
    pub(super) fn order(&self) -> usize {
        match &self.place {
            Place::File(span, _) => span.start,
            Place::Override(..) | Place::Nowhere => usize::MAX,
        }
    }

    fn into_user_error(self, source: &Arc<SourceText>) -> UserError {
        let mut error = UserError::new(self.code, ExitCode::Usage, self.message);
        error = match self.place {
            Place::File(span, label) => {
                let mut snippet = Snippet::new(Arc::clone(source), span, label);
                for (span, label) in self.context {
                    snippet = snippet.context(span, label);
                }
                error.snippet(snippet)
            }
            Place::Override(written, reason) if reason.is_empty() => error.at(written),
            Place::Override(written, reason) => error.at(written).detail(reason),
            Place::Nowhere => error.at(source.name.clone()),
        };
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

impl From<ConfigError> for UserError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::NotFound { looked } => {
                let mut error = Self::new(
                    "config.not-found",
                    ExitCode::Usage,
                    "there is no inventory of hosts (cluster.toml)",
                );
                for path in looked {
                    error = error.detail(format!("looked for {}", path.display()));
                }
                error
                    .help("name one with -c FILE, or write one: flinkctl cluster init HOST... > cluster.toml")
                    .help("without any hosts: flinkctl job run --local JOB")
            }
            ConfigError::Read { path, source } => {
                Self::new("config.read", ExitCode::Usage, "the inventory cannot be read")
                    .at(path.display().to_string())
                    .detail(source.to_string())
                    .help("name another one with -c FILE, or write it: flinkctl cluster init HOST... > FILE")
            }
            ConfigError::Invalid { source_text, problems } => {
                let mut errors = problems
                    .into_iter()
                    .map(|problem| problem.into_user_error(&source_text));
                let first = errors
                    .next()
                    .unwrap_or_else(|| Self::new("config.invalid", ExitCode::Usage, "the inventory is invalid"));
                errors.fold(first, Self::and)
            }
        }
    }
}

/// The candidate that `typed` was probably meant to be.
pub(crate) fn did_you_mean<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let unique: BTreeSet<&str> = candidates.into_iter().collect();
    unique
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&typed, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let keys = ["slots", "address", "data_address", "idle_timeout", "max"];
        let cases = [
            ("slot", Some("slots")),
            ("adress", Some("address")),
            ("idle-timeout", Some("idle_timeout")),
            ("mtu", None),
            ("SLOTS", Some("slots")),
        ];
        for (typed, expected) in cases {
            assert_eq!(did_you_mean(typed, keys), expected, "{typed}");
        }
    }
}
