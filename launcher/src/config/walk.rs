//! The walk over a parsed cluster.toml: compares it with the schema and finds every mistake, where serde stops at the first.
//!
//! What is wrong is left out of the resulting table, so that later checks can go on with the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::diagnostic::{Problem, did_you_mean, either};
use super::schema::{Key, LeafKey, MapKey, ROOT, Shape, article};

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Everything that is right.
    pub(super) table: Table,
    /// Where each value stands, by its dotted path (`host.0.slots`).
    pub(super) spans: BTreeMap<String, Range<usize>>,
    /// Paths that were there and wrong; checks that need them keep silent.
    pub(super) bad: BTreeSet<String>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
}

/// The table the walk is in.
struct Here<'a> {
    /// Its dotted path; empty at the top.
    path: &'a str,
    /// To be read after the name of a key: `in [[host]] "tm03"`.
    label: &'a str,
    /// Where it stands.
    span: Range<usize>,
}

impl Here<'_> {
    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

/// Parses `text` and walks it.
pub(super) fn walk(text: &str) -> Walked {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let mut walked = Walked::default();
    let here = Here {
        path: "",
        label: "at the top level",
        span: document.span(),
    };
    walked.table = walked.fixed_keys(ROOT, document.get_ref(), &here);
    // What the parser had to guess at would only be reported twice.
    let line_of = |offset: usize| {
        text.as_bytes()
            .iter()
            .take(offset)
            .filter(|&&byte| byte == b'\n')
            .count()
    };
    let broken: BTreeSet<usize> = syntax_errors
        .iter()
        .filter_map(|error| error.span())
        .map(|span| line_of(span.start))
        .collect();
    if !syntax_errors.is_empty() {
        walked
            .problems
            .retain(|problem| !broken.contains(&line_of(problem.order())));
    }
    for error in syntax_errors {
        let span = error.span().unwrap_or(0..0);
        walked
            .problems
            .push(Problem::at("config.syntax", "this is not TOML", span, error.message()));
    }
    walked
}

impl Walked {
    fn wrong(&mut self, path: String, problem: Problem) {
        self.bad.insert(path);
        self.problems.push(problem);
    }

    /// A table whose keys are known.
    fn fixed_keys(&mut self, keys: &'static [Key], table: &DeTable<'_>, here: &Here<'_>) -> Table {
        let mut result = Table::new();
        for (name, value) in table {
            let known = keys.iter().find(|key| key.name == name.get_ref());
            let Some(key) = known else {
                let problem = unknown_key(name, keys, here.label);
                self.wrong(here.path_of(name.get_ref()), problem);
                continue;
            };
            if let Some(value) = self.value(key, value, here) {
                result.insert(key.name.to_owned(), value);
            }
        }
        for key in keys {
            if let Shape::Leaf(leaf) = &key.shape
                && leaf.required
                && !table.contains_key(key.name)
            {
                let message = format!("`{}` is missing {}", key.name, here.label);
                let problem = Problem::at(
                    "config.missing-key",
                    message,
                    here.span.clone(),
                    format!("needs `{}`: {}", key.name, leaf.expects),
                );
                self.wrong(here.path_of(key.name), problem);
            }
        }
        result
    }

    fn value(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>, here: &Here<'_>) -> Option<Value> {
        let path = here.path_of(key.name);
        match &key.shape {
            Shape::Leaf(leaf) => self.leaf(key.name, leaf, value, path, here.label),
            Shape::Map(map) => self.map(map, value, path, here),
            Shape::Table(keys) => {
                let table = self.expect_table(key.name, value, &path)?;
                let label = inner_label(here, key.name);
                let here = Here {
                    path: &path,
                    label: &label,
                    span: value.span(),
                };
                Some(Value::Table(self.fixed_keys(keys, table, &here)))
            }
            Shape::TableOf(keys) => {
                let table = self.expect_table(key.name, value, &path)?;
                Some(Value::Table(self.free_tables(keys, table, &path)))
            }
            Shape::ListOf(keys) => self.list(key.name, keys, value, &path),
        }
    }

    fn leaf(
        &mut self,
        name: &str,
        leaf: &LeafKey,
        value: &Spanned<DeValue<'_>>,
        path: String,
        label: &str,
    ) -> Option<Value> {
        match leaf.read(value) {
            Ok(read) => {
                self.spans.insert(path, value.span());
                Some(read)
            }
            Err(reason) => {
                let mut problem = Problem::at(
                    "config.bad-value",
                    format!("bad value for `{name}` {label}"),
                    value.span(),
                    reason,
                );
                problem.help = suggest_choice(leaf, value.get_ref());
                self.wrong(path, problem);
                None
            }
        }
    }

    fn map(&mut self, map: &MapKey, value: &Spanned<DeValue<'_>>, path: String, here: &Here<'_>) -> Option<Value> {
        let key = path.rsplit('.').next().unwrap_or(&path);
        let table = self.expect_table(key, value, &path)?;
        let mut result = Table::new();
        for (name, value) in table {
            let entry = format!("{path}.{}", name.get_ref());
            if let Err(reason) = (map.check_name)(name.get_ref()) {
                let message = format!("bad key `{key}.{}` {}", name.get_ref(), here.label);
                self.wrong(entry, Problem::at("config.unknown-key", message, name.span(), reason));
            } else if let Some(read) = self.leaf(
                &format!("{key}.{}", name.get_ref()),
                &map.value,
                value,
                entry,
                here.label,
            ) {
                result.insert(name.get_ref().to_string(), read);
            }
        }
        Some(Value::Table(result))
    }

    /// `[groups.X]`: tables of one kind under free names.
    fn free_tables(&mut self, keys: &'static [Key], table: &DeTable<'_>, path: &str) -> Table {
        let mut result = Table::new();
        for (name, value) in table {
            let inner = format!("{path}.{}", name.get_ref());
            let fits = !name.get_ref().is_empty()
                && name
                    .get_ref()
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if !fits {
                let problem = Problem::at(
                    "config.bad-value",
                    "bad name of a group",
                    name.span(),
                    "expected letters, digits, `-` and `_`",
                );
                self.wrong(inner, problem);
                continue;
            }
            if let Some(table) = self.expect_table(name.get_ref(), value, &inner) {
                self.spans.insert(inner.clone(), name.span());
                let label = format!("in [{inner}]");
                let here = Here {
                    path: &inner,
                    label: &label,
                    span: value.span(),
                };
                let read = self.fixed_keys(keys, table, &here);
                result.insert(name.get_ref().to_string(), Value::Table(read));
            }
        }
        result
    }

    /// `[[host]]`: an array of tables. A table without what is required is left out.
    fn list(&mut self, name: &str, keys: &'static [Key], value: &Spanned<DeValue<'_>>, path: &str) -> Option<Value> {
        let Some(items) = value.get_ref().as_array() else {
            let problem = Problem::at(
                "config.bad-value",
                format!("`{name}` is a list of tables"),
                value.span(),
                format!("write [[{name}]]"),
            );
            self.wrong(path.to_owned(), problem);
            return None;
        };
        let mut result = Vec::new();
        for item in items {
            let inner = format!("{path}.{}", result.len());
            let Some(table) = self.expect_table(name, item, &inner) else {
                continue;
            };
            let title = table.get("name").and_then(|name| name.get_ref().as_str());
            let label = title.map_or_else(
                || format!("in [[{name}]]"),
                |title| format!("in [[{name}]] \"{title}\""),
            );
            let here = Here {
                path: &inner,
                label: &label,
                span: item.span(),
            };
            let read = self.fixed_keys(keys, table, &here);
            let complete = keys
                .iter()
                .all(|key| !matches!(&key.shape, Shape::Leaf(leaf) if leaf.required) || read.contains_key(key.name));
            if complete {
                self.spans.insert(inner, item.span());
                result.push(Value::Table(read));
            } else {
                let prefix = format!("{inner}.");
                self.spans.retain(|path, _| !path.starts_with(&prefix));
                self.bad.insert(path.to_owned());
            }
        }
        Some(Value::Array(result))
    }

    fn expect_table<'a, 'i>(
        &mut self,
        name: &str,
        value: &'a Spanned<DeValue<'i>>,
        path: &str,
    ) -> Option<&'a DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let found = value.get_ref().type_str();
            let problem = Problem::at(
                "config.bad-value",
                format!("`{name}` is a table"),
                value.span(),
                format!("expected a table, found {} {found}", article(found)),
            );
            self.wrong(path.to_owned(), problem);
        }
        table
    }
}

/// How the keys of an inner table are introduced.
fn inner_label(here: &Here<'_>, name: &str) -> String {
    if here.path.is_empty() {
        format!("in [{name}]")
    } else if here.path.starts_with("host.") {
        format!("{}, {name}", here.label)
    } else {
        format!("in [{}.{name}]", here.path)
    }
}

fn unknown_key(name: &Spanned<toml::de::DeString<'_>>, keys: &'static [Key], label: &str) -> Problem {
    let typed = name.get_ref();
    let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
    let problem = Problem::at(
        "config.unknown-key",
        format!("unknown key `{typed}` {label}"),
        name.span(),
        format!("expected one of: {}", known.join(", ")),
    );
    match suggest_key(typed, &known) {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// What an unknown key was probably meant to be: a neighbour misspelt, or a key of another table.
pub(super) fn suggest_key(typed: &str, known: &[&str]) -> Option<String> {
    if let Some(meant) = did_you_mean(typed, known.iter().copied()) {
        return Some(format!("did you mean `{meant}`?"));
    }
    let mut homes = Vec::new();
    for key in ROOT {
        match &key.shape {
            Shape::Table(keys) if keys.iter().any(|inner| inner.name == typed) => homes.push(format!("[{}]", key.name)),
            Shape::TableOf(keys) if keys.iter().any(|inner| inner.name == typed) => {
                homes.push(format!("[{}.NAME]", key.name))
            }
            Shape::ListOf(keys) if keys.iter().any(|inner| inner.name == typed) => {
                homes.push(format!("[[{}]]", key.name))
            }
            _ => {}
        }
    }
    let homes: Vec<&str> = homes.iter().map(String::as_str).collect();
    (!homes.is_empty()).then(|| format!("`{typed}` belongs in {}", either(&homes)))
}

pub(super) fn suggest_choice(leaf: &LeafKey, value: &DeValue<'_>) -> Option<String> {
    let words: Vec<&str> = match value {
        DeValue::String(word) => vec![word],
        DeValue::Array(words) => words.iter().filter_map(|word| word.get_ref().as_str()).collect(),
        _ => return None,
    };
    let wrong = words.into_iter().find(|word| !leaf.choices.contains(word))?;
    did_you_mean(wrong, leaf.choices.iter().copied()).map(|meant| format!("did you mean \"{meant}\"?"))
}
