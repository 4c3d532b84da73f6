//! Answers on standard output: tables for people, JSON for programs, bare names for shells.
//!
//! Standard output carries the answer and nothing else; what is not the answer goes to standard error.

mod format;
mod table;

use std::io::{self, Write as _};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::format::{age, bytes, duration, rate, timestamp};
pub(crate) use self::table::Column;

use crate::cli::OutputFormat;
use crate::error::{UserError, stdout_error};

/// Version of the JSON documents. Fields are only ever added to it.
pub(crate) const API_VERSION: &str = "flinkctl/v1";

/// A thing that lists are made of.
pub(crate) trait Item: Serialize {
    /// `kind` of a JSON document with one of them.
    const KIND: &'static str;
    /// What they are called in "no jobs".
    const PLURAL: &'static str;
    /// A command that makes one, for empty lists.
    const CREATE: &'static str;
    /// The columns of a table.
    const COLUMNS: &'static [Column];

    /// One cell for each of [`Item::COLUMNS`]. Ages are relative to `now`.
    fn cells(&self, now: SystemTime) -> Vec<String>;

    /// The name or id, for `-o name`.
    fn name(&self) -> String;
}

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: OutputFormat,
    quiet: bool,
}

impl Output {
    /// Answers in `format`; `quiet` leaves the remarks on standard error out.
    pub(crate) fn new(format: OutputFormat, quiet: bool) -> Self {
        Self { format, quiet }
    }

    /// The chosen format.
    pub(crate) fn format(self) -> OutputFormat {
        self.format
    }

    /// Whether answers, and with them errors, are JSON.
    pub(crate) fn is_json(self) -> bool {
        self.format == OutputFormat::Json
    }

    /// Prints a list. An empty one says so on standard error, with a command that would change it.
    pub(crate) fn list<T: Item>(self, items: &[T]) -> Result<(), UserError> {
        if items.is_empty() && !self.is_json() {
            if !self.quiet {
                self.remark(&empty_message::<T>());
            }
            return Ok(());
        }
        self.text(&render_list(items, self.format, SystemTime::now())?)
    }

    /// Prints one thing; `human` is its form for people.
    pub(crate) fn one<T: Item>(self, item: &T, human: impl FnOnce() -> String) -> Result<(), UserError> {
        match self.format {
            OutputFormat::Json => self.document(T::KIND, item),
            OutputFormat::Name => self.text(&format!("{}\n", item.name())),
            OutputFormat::Table | OutputFormat::Wide => self.text(&human()),
        }
    }

    /// Prints one JSON document whose fields stand beside `apiVersion` and `kind`.
    pub(crate) fn document(self, kind: &str, body: &impl Serialize) -> Result<(), UserError> {
        self.text(&pretty(&document(kind, body)?))
    }

    /// Tells programs that something was done to the thing called `name`; people have read it on standard error.
    pub(crate) fn done(self, kind: &str, body: &impl Serialize, name: &str) -> Result<(), UserError> {
        match self.format {
            OutputFormat::Json => self.document(kind, body),
            OutputFormat::Name => self.text(&format!("{name}\n")),
            OutputFormat::Table | OutputFormat::Wide => Ok(()),
        }
    }

    /// Prints text as it is.
    pub(crate) fn text(self, text: &str) -> Result<(), UserError> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| stdout_error(&error))
    }

    /// Prints a remark on standard error.
    fn remark(self, text: &str) {
        // When standard error is gone there is no one left to tell.
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }
}

fn empty_message<T: Item>() -> String {
    format!("no {}; to get one: {}", T::PLURAL, T::CREATE)
}

/// The whole answer as text.
pub(crate) fn render_list<T: Item>(items: &[T], format: OutputFormat, now: SystemTime) -> Result<String, UserError> {
    Ok(match format {
        OutputFormat::Table | OutputFormat::Wide => {
            let rows = items.iter().map(|item| item.cells(now)).collect();
            table::render(T::COLUMNS, rows, format == OutputFormat::Wide)
        }
        OutputFormat::Json => pretty(&json!({
            "apiVersion": API_VERSION,
            "kind": format!("{}List", T::KIND),
            "items": to_value(items)?,
        })),
        OutputFormat::Name => items.iter().map(|item| item.name() + "\n").collect(),
    })
}

/// `NAME  value` lines: one thing in the form for people.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let columns = [Column::new("name"), Column::new("value")];
    let rows = fields
        .iter()
        .map(|(name, value)| vec![format!("{name}:"), value.clone()])
        .collect();
    table::render_body(&columns, rows)
}

/// A table for people, outside of any list.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    table::render(columns, rows, true)
}

/// A JSON document whose fields stand beside `apiVersion` and `kind`. A body has no fields of these names.
pub(crate) fn document(kind: &str, body: &impl Serialize) -> Result<Value, UserError> {
    let mut document = json!({ "apiVersion": API_VERSION, "kind": kind });
    match (to_value(body)?, document.as_object_mut()) {
        (Value::Object(fields), Some(document)) => {
            for (name, value) in fields {
                debug_assert!(!document.contains_key(&name), "`{name}` is the document's own");
                document.entry(name).or_insert(value);
            }
        }
        (other, Some(document)) => {
            document.insert("value".to_owned(), other);
        }
        (_, None) => {}
    }
    Ok(document)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn to_value(body: &(impl Serialize + ?Sized)) -> Result<Value, UserError> {
    serde_json::to_value(body).map_err(|error| UserError::from(anyhow::Error::new(error)))
}

#[cfg(test)]
mod tests;
