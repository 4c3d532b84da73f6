//! docs/configuration.md and the schema say the same.

use std::collections::BTreeMap;

use super::schema::{self, Key, Shape};

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");

/// Every key of the schema, as the document writes it, with its default as it stands in TOML, or `-`.
fn keys() -> BTreeMap<String, &'static str> {
    fn walk(prefix: &str, keys: &'static [Key], found: &mut BTreeMap<String, &'static str>) {
        for key in keys {
            let path = if prefix.is_empty() {
                key.name.to_owned()
            } else {
                format!("{prefix}.{}", key.name)
            };
            match &key.shape {
                Shape::Leaf(leaf) => {
                    found.insert(path, leaf.default.unwrap_or("-"));
                }
                Shape::Map(_) => {
                    found.insert(path, "-");
                }
                Shape::Table(keys) | Shape::ListOf(keys) => walk(&path, keys, found),
                Shape::TableOf(keys) => walk(&format!("{path}.NAME"), keys, found),
            }
        }
    }
    let mut found = BTreeMap::new();
    walk("", schema::ROOT, &mut found);
    found
}

/// The rows of the tables whose first column is `key`: the key and the third column, its default.
fn rows() -> Vec<(&'static str, &'static str)> {
    let cells = |line: &'static str| -> Vec<&'static str> { line.split('|').map(str::trim).collect() };
    let mut in_table = false;
    let mut rows = Vec::new();
    for line in DOCUMENT.lines() {
        match cells(line)[..] {
            ["", "key", "value", "default", ..] => in_table = true,
            ["", key, _, default, _, ""] if in_table => {
                if let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`')) {
                    rows.push((key, default.trim_matches('`')));
                }
            }
            _ => in_table = false,
        }
    }
    rows
}

#[test]
fn each_key_is_documented_once_with_its_default() {
    let rows = rows();
    let documented: BTreeMap<String, &str> = rows.iter().map(|&(key, default)| (key.to_owned(), default)).collect();
    assert_eq!(documented, keys());
    assert_eq!(rows.len(), documented.len(), "a key is documented twice");
}
