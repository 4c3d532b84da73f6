//! Schemas: the types of records as data.
//!
//! A schema describes what is on the wire, not how a program holds it: `Box<T>` is `T`, `VecDeque<T>` is a list as `Vec<T>` is. Structs
//! and enums stand once each in a table and are referred to by name, so that types can be recursive and two schemas can be
//! compared type by type.

mod display;

use std::{any::TypeId, collections::BTreeMap, collections::HashMap};

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// The type of a record, with all that it refers to.
///
/// It is displayed in the manner of Rust, each struct or enum in full where it first occurs and by its name afterwards:
/// `Bid { auction: u64, bidder: u64, url: String }`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Schema {
    /// The type itself.
    pub root: Type,
    /// The structs and enums that occur in it, by name. Names carry the arguments of generic types; of different types that have
    /// the same name, all but the first carry a number, as in `Bid#2`.
    pub types: BTreeMap<String, Definition>,
}

impl Schema {
    /// The schema of `T`.
    pub fn of<T: Record>() -> Self {
        let mut types = Types::default();
        Self {
            root: T::describe(&mut types),
            types: types.definitions,
        }
    }
}

/// A type, or a reference to its definition.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Type {
    /// A type that has no parts, by its name in Rust: `u64`, `String`, `Duration`.
    Primitive(String),
    /// A struct or an enum, by its name in [`Schema::types`].
    Named(String),
    /// A value or none.
    Option(Box<Self>),
    /// Any number of values in order.
    List(Box<Self>),
    /// A fixed number of values.
    Array(Box<Self>, u64),
    /// Any number of different values.
    Set(Box<Self>),
    /// Keys, and a value for each.
    Map(Box<Self>, Box<Self>),
    /// A value or an error.
    Result(Box<Self>, Box<Self>),
    /// One value of each type.
    Tuple(Vec<Self>),
    /// An encoding that only the code of the type knows. Its name is the compiler's.
    Opaque(String),
}

impl Type {
    /// A type that has no parts, by its name in Rust.
    pub fn primitive(name: &str) -> Self {
        Self::Primitive(name.to_owned())
    }
}

/// A struct or an enum.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    /// A struct.
    Struct(Fields),
    /// An enum: its variants in the order of their indices on the wire.
    Enum(Vec<Variant>),
}

/// One alternative of an enum.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub fields: Fields,
}

impl Variant {
    /// A variant with its fields.
    pub fn new(name: &str, fields: Fields) -> Self {
        Self {
            name: name.to_owned(),
            fields,
        }
    }
}

/// The fields of a struct or a variant, in the order in which they are encoded.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fields {
    /// None.
    Unit,
    /// Fields without names.
    Unnamed(Vec<Type>),
    /// Fields with names.
    Named(Vec<Field>),
}

/// A field with a name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Type,
}

impl Field {
    /// A field of a type.
    pub fn new(name: &str, kind: Type) -> Self {
        Self {
            name: name.to_owned(),
            kind,
        }
    }
}

/// The definitions of a schema while it is put together.
#[derive(Debug, Default)]
pub struct Types {
    definitions: BTreeMap<String, Definition>,
    names: HashMap<TypeId, String>,
}

impl Types {
    /// Refers to the type `T`, which is called `name` and has these generic arguments. Where it occurs for the first time,
    /// `define` describes its fields, which may refer to `T` again.
    pub fn define<T: 'static>(
        &mut self,
        name: &str,
        arguments: &[String],
        define: impl FnOnce(&mut Self) -> Definition,
    ) -> Type {
        let id = TypeId::of::<T>();
        if let Some(name) = self.names.get(&id) {
            return Type::Named(name.clone());
        }
        let name = self.unique(match arguments {
            [] => name.to_owned(),
            _ => format!("{name}<{}>", arguments.join(", ")),
        });
        self.names.insert(id, name.clone());
        // Holds the place of the name until the definition is complete.
        self.definitions.insert(name.clone(), Definition::Struct(Fields::Unit));
        let definition = define(self);
        self.definitions.insert(name.clone(), definition);
        Type::Named(name)
    }

    fn unique(&self, name: String) -> String {
        let mut candidate = name.clone();
        let mut number = 1;
        while self.definitions.contains_key(&candidate) {
            number += 1;
            candidate = format!("{name}#{number}");
        }
        candidate
    }
}
