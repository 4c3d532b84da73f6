//! The layers of an inventory laid over each other: built-in defaults, the file, FLINKCTL_* variables, `-D` options.
//! Each value remembers where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use toml::{Table, Value};

use super::diagnostic::{Problem, did_you_mean};
use super::schema::{self, LeafKey, Target};
use super::walk::Walked;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    BuiltIn,
    /// A line of the file, in the table named.
    File {
        /// The file.
        file: String,
        /// Its line, counted from one.
        line: usize,
        /// The table, such as `[defaults]` or `[[host]]`.
        table: String,
    },
    /// A variable, by its name.
    Variable(String),
    /// A `-D` option.
    Define,
    /// It follows from another value, the one named.
    Follows(&'static str),
}

impl Origin {
    /// One word for programs.
    pub(crate) fn source(&self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::File { .. } => "file",
            Self::Variable(_) => "variable",
            Self::Define => "define",
            Self::Follows(_) => "derived",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File { file, line, table } if table.is_empty() => write!(f, "{file}:{line}"),
            Self::File { file, line, table } => write!(f, "{file}:{line} {table}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Define => f.write_str("-D"),
            Self::Follows(key) => write!(f, "follows {key}"),
        }
    }
}

/// All layers as one table.
#[derive(Debug)]
pub(super) struct Layered {
    /// The values in force.
    pub(super) table: Table,
    /// Where each came from, by its dotted path.
    pub(super) origins: BTreeMap<String, Origin>,
    /// Where each stands in the file, by its dotted path.
    pub(super) spans: BTreeMap<String, Range<usize>>,
    /// Paths that are wrong in some layer.
    pub(super) bad: BTreeSet<String>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
}

impl Layered {
    /// Lays the layers over each other.
    pub(super) fn new(
        file: &str,
        text: &str,
        walked: Walked,
        variables: &BTreeMap<String, String>,
        defines: &[String],
    ) -> Self {
        let Walked {
            table: from_file,
            spans,
            bad,
            problems,
        } = walked;
        let mut layered = Self {
            table: Table::new(),
            origins: BTreeMap::new(),
            spans,
            bad,
            problems,
        };
        schema::each_setting(&mut |path, leaf| {
            if let Some(Ok(value)) = leaf.default.map(|default| leaf.read_text(default)) {
                layered.set(path, value, Origin::BuiltIn);
            } else {
                layered.make_parents(path);
            }
        });
        merge(&mut layered.table, from_file);
        layered.note_lines(file, text);
        schema::each_setting(&mut |path, leaf| {
            let name = schema::variable_of(path);
            if let Some(text) = variables.get(&name) {
                let written = format!("{name}={text}");
                layered.override_leaf(path, leaf, text, &written, Origin::Variable(name));
            }
        });
        for define in defines {
            layered.define(define);
        }
        layered
    }

    /// Records the file's lines as the origins of what the file sets.
    fn note_lines(&mut self, file: &str, text: &str) {
        for (path, span) in &self.spans {
            let before = &text.as_bytes()[..span.start.min(text.len())];
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            let origin = Origin::File {
                file: file.to_owned(),
                line,
                table: table_of(path),
            };
            self.origins.insert(path.clone(), origin);
        }
    }

    /// The origin of a path, built-in if nothing set it.
    pub(super) fn origin(&self, path: &str) -> Origin {
        self.origins.get(path).cloned().unwrap_or(Origin::BuiltIn)
    }

    /// Where a path stands in the file, if the file is what set it.
    pub(super) fn span(&self, path: &str) -> Option<Range<usize>> {
        self.spans.get(path).cloned()
    }

    /// Whether all these paths are free of mistakes, so that a check about them is worth a word.
    pub(super) fn good(&self, paths: &[&str]) -> bool {
        paths.iter().all(|&path| !self.bad.contains(path))
    }

    /// A problem of a value wherever it was set, at the mark if that was in the file.
    pub(super) fn problem_at(
        &self,
        path: &str,
        code: &'static str,
        message: String,
        label: impl Into<String>,
    ) -> Problem {
        match (self.origin(path), self.span(path)) {
            (Origin::File { .. }, Some(span)) => Problem::at(code, message, span, label),
            (Origin::Variable(name), _) => Problem::overriding(code, message, name, label),
            (Origin::Define, _) => Problem::overriding(code, message, format!("-D {path}"), label),
            _ => Problem::nowhere(code, message),
        }
    }

    fn define(&mut self, define: &str) {
        let written = format!("-D {define}");
        let Some((path, text)) = define.split_once('=') else {
            let problem = Problem::overriding(
                "config.bad-value",
                "a -D option needs a value",
                written,
                "expected KEY=VALUE",
            );
            self.problems.push(problem);
            return;
        };
        let path = path.trim();
        match schema::find(path) {
            Target::Leaf(leaf) if self.group_exists(path) => {
                self.override_leaf(path, leaf, text.trim(), &written, Origin::Define)
            }
            Target::BadName(reason) => self.problems.push(Problem::overriding(
                "config.unknown-key",
                format!("bad key `{path}`"),
                written,
                reason,
            )),
            Target::Leaf(_) | Target::Unknown => {
                let mut problem =
                    Problem::overriding("config.unknown-key", format!("unknown key `{path}`"), written, "");
                problem.help = self.suggest_path(path);
                self.problems.push(problem);
            }
        }
    }

    fn group_exists(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix("groups.") else {
            return true;
        };
        let group = rest.split('.').next().unwrap_or(rest);
        self.table
            .get("groups")
            .and_then(Value::as_table)
            .is_some_and(|groups| groups.contains_key(group))
    }

    fn suggest_path(&self, typed: &str) -> Option<String> {
        if typed == "host" || typed.starts_with("host.") {
            return Some(
                "hosts cannot be overridden one by one; use [groups.NAME], or choose hosts with -H".to_owned(),
            );
        }
        let mut paths = Vec::new();
        schema::each_setting(&mut |path, _| paths.push(path.to_owned()));
        if let Some(groups) = self.table.get("groups").and_then(Value::as_table) {
            paths.extend(groups.keys().map(|group| format!("groups.{group}.slots")));
        }
        if let Some(meant) = did_you_mean(typed, paths.iter().map(String::as_str)) {
            return Some(format!("did you mean `{meant}`?"));
        }
        let tail = format!(".{}", typed.rsplit('.').next().unwrap_or(typed));
        paths
            .iter()
            .find(|path| path.ends_with(&tail))
            .map(|path| format!("did you mean `{path}`?"))
    }

    fn override_leaf(&mut self, path: &str, leaf: &LeafKey, text: &str, written: &str, origin: Origin) {
        match leaf.read_text(text) {
            Ok(value) => {
                // What the file says wrongly about it does not matter to later checks any more; it is reported all the same.
                self.bad.remove(path);
                self.set(path, value, origin);
            }
            Err(reason) => {
                self.bad.insert(path.to_owned());
                self.problems.push(Problem::overriding(
                    "config.bad-value",
                    format!("bad value for `{path}`"),
                    written.to_owned(),
                    reason,
                ));
            }
        }
    }

    fn set(&mut self, path: &str, value: Value, origin: Origin) {
        let parent = self.make_parents(path);
        let name = path.rsplit('.').next().unwrap_or(path);
        if let Some(parent) = parent {
            parent.insert(name.to_owned(), value);
            self.origins.insert(path.to_owned(), origin);
        }
    }

    /// Makes the tables that a path runs through, and returns the innermost.
    fn make_parents(&mut self, path: &str) -> Option<&mut Table> {
        let mut table = &mut self.table;
        let mut names: Vec<&str> = path.split('.').collect();
        names.pop();
        for name in names {
            table = table
                .entry(name.to_owned())
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()?;
        }
        Some(table)
    }
}

/// Lays `over` over `under`, table by table.
fn merge(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}

/// The table a path stands in, as it is written in the file.
fn table_of(path: &str) -> String {
    let mut segments = path.split('.');
    match (segments.next(), segments.next()) {
        (Some("host"), _) => "[[host]]".to_owned(),
        (Some("groups"), Some(group)) => format!("[groups.{group}]"),
        (Some(table), Some(_)) => format!("[{table}]"),
        _ => String::new(),
    }
}
