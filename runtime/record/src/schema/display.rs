//! Schemas for people.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt::{Display, Formatter, Result},
};

use super::{Definition, Fields, Schema, Type};

impl Display for Schema {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let printer = Printer {
            schema: Some(self),
            shown: RefCell::default(),
        };
        printer.show(&self.root, f)
    }
}

/// Structs and enums by their names.
impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let printer = Printer {
            schema: None,
            shown: RefCell::default(),
        };
        printer.show(self, f)
    }
}

struct Printer<'a> {
    /// Where definitions are looked up, if they are to be shown.
    schema: Option<&'a Schema>,
    shown: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Printer<'a> {
    fn show(&self, ty: &'a Type, f: &mut Formatter<'_>) -> Result {
        match ty {
            Type::Primitive(name) | Type::Opaque(name) => f.write_str(name),
            Type::Named(name) => self.named(name, f),
            Type::Option(item) => self.generic("Option", &[&**item], f),
            Type::List(item) => self.generic("Vec", &[&**item], f),
            Type::Set(item) => self.generic("Set", &[&**item], f),
            Type::Map(key, value) => self.generic("Map", &[&**key, &**value], f),
            Type::Result(value, error) => self.generic("Result", &[&**value, &**error], f),
            Type::Array(item, length) => {
                f.write_str("[")?;
                self.show(item, f)?;
                write!(f, "; {length}]")
            }
            Type::Tuple(items) => {
                f.write_str("(")?;
                self.list(items, f)?;
                f.write_str(if items.len() == 1 { ",)" } else { ")" })
            }
        }
    }

    fn generic(&self, name: &str, arguments: &[&'a Type], f: &mut Formatter<'_>) -> Result {
        write!(f, "{name}<")?;
        self.list(arguments.iter().copied(), f)?;
        f.write_str(">")
    }

    fn list(&self, items: impl IntoIterator<Item = &'a Type>, f: &mut Formatter<'_>) -> Result {
        for (index, item) in items.into_iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            self.show(item, f)?;
        }
        Ok(())
    }

    fn named(&self, name: &'a str, f: &mut Formatter<'_>) -> Result {
        f.write_str(name)?;
        let definition = self.schema.and_then(|schema| schema.types.get(name));
        match definition {
            Some(definition) if self.shown.borrow_mut().insert(name) => self.definition(definition, f),
            _ => Ok(()),
        }
    }

    fn definition(&self, definition: &'a Definition, f: &mut Formatter<'_>) -> Result {
        match definition {
            Definition::Struct(fields) => self.fields(fields, f),
            Definition::Enum(variants) => {
                f.write_str(" { ")?;
                for (index, variant) in variants.iter().enumerate() {
                    write!(f, "{}{}", if index == 0 { "" } else { " | " }, variant.name)?;
                    self.fields(&variant.fields, f)?;
                }
                f.write_str(" }")
            }
        }
    }

    fn fields(&self, fields: &'a Fields, f: &mut Formatter<'_>) -> Result {
        match fields {
            Fields::Unit => Ok(()),
            Fields::Unnamed(items) => {
                f.write_str("(")?;
                self.list(items, f)?;
                f.write_str(")")
            }
            Fields::Named(fields) => {
                f.write_str(" { ")?;
                for (index, field) in fields.iter().enumerate() {
                    write!(f, "{}{}: ", if index == 0 { "" } else { ", " }, field.name)?;
                    self.show(&field.kind, f)?;
                }
                f.write_str(" }")
            }
        }
    }
}
