//! The values of the vectors as JSON, and back: the table "Values" of `spec/vectors/README.md`, a row an `impl`.
//!
//! The macros below declare a record, an enumeration or a union of records once, and so its fields are named once:
//! as `struct` or `enum`, and as JSON. A field that is missing or unknown is an error, as the README wants it.

use serde_json::{json, Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub trait Json: Sized {
    /// Reads the value, or says what is wrong with the JSON.
    fn read(json: &Value) -> Result<Self, String>;
    fn write(&self) -> Value;
}

/// What a program that reads doubles can still hold: beyond it stands `#bigint`.
const LARGEST_PLAIN: i64 = (1 << 53) - 1;

impl Json for i64 {
    fn read(json: &Value) -> Result<i64, String> {
        let digits = json.get("#bigint").and_then(Value::as_str);
        json.as_i64()
            .or_else(|| digits.and_then(|text| text.parse().ok()))
            .ok_or_else(|| format!("{json} is no whole number of 64 bits"))
    }

    fn write(&self) -> Value {
        if self.abs() <= LARGEST_PLAIN {
            json!(self)
        } else {
            json!({"#bigint": self.to_string()})
        }
    }
}

impl Json for bool {
    fn read(json: &Value) -> Result<bool, String> {
        json.as_bool().ok_or_else(|| format!("{json} is neither true nor false"))
    }

    fn write(&self) -> Value {
        json!(self)
    }
}

impl Json for String {
    fn read(json: &Value) -> Result<String, String> {
        json.as_str().map(str::to_owned).ok_or_else(|| format!("{json} is no text"))
    }

    fn write(&self) -> Value {
        json!(self)
    }
}

/// Nothing is `null`.
impl<T: Json> Json for Option<T> {
    fn read(json: &Value) -> Result<Option<T>, String> {
        if json.is_null() {
            Ok(None)
        } else {
            T::read(json).map(Some)
        }
    }

    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::write)
    }
}

fn items(json: Option<&Value>) -> Result<&Vec<Value>, String> {
    json.and_then(Value::as_array).ok_or_else(|| "an array is missing".to_owned())
}

/// A list is an array.
impl<T: Json> Json for Vec<T> {
    fn read(json: &Value) -> Result<Vec<T>, String> {
        items(Some(json))?.iter().map(T::read).collect()
    }

    fn write(&self) -> Value {
        Value::Array(self.iter().map(T::write).collect())
    }
}

/// A list from which the first is taken: an array as well.
impl<T: Json> Json for VecDeque<T> {
    fn read(json: &Value) -> Result<VecDeque<T>, String> {
        Vec::read(json).map(VecDeque::from)
    }

    fn write(&self) -> Value {
        Value::Array(self.iter().map(T::write).collect())
    }
}

impl<A: Json, B: Json> Json for (A, B) {
    fn read(json: &Value) -> Result<(A, B), String> {
        match items(json.get("#tup"))?.as_slice() {
            [first, second] => Ok((A::read(first)?, B::read(second)?)),
            _ => Err(format!("{json} is no tuple of two")),
        }
    }

    fn write(&self) -> Value {
        json!({"#tup": [self.0.write(), self.1.write()]})
    }
}

impl<T: Json + Ord> Json for BTreeSet<T> {
    fn read(json: &Value) -> Result<BTreeSet<T>, String> {
        items(json.get("#set"))?.iter().map(T::read).collect()
    }

    fn write(&self) -> Value {
        json!({"#set": self.iter().map(T::write).collect::<Vec<_>>()})
    }
}

impl<K: Json + Ord, V: Json> Json for BTreeMap<K, V> {
    fn read(json: &Value) -> Result<BTreeMap<K, V>, String> {
        let pair = |json: &Value| match json.as_array().map(Vec::as_slice) {
            Some([key, value]) => Ok((K::read(key)?, V::read(value)?)),
            _ => Err(format!("{json} is no pair of key and value")),
        };
        items(json.get("#map"))?.iter().map(pair).collect()
    }

    fn write(&self) -> Value {
        json!({"#map": self.iter().map(|(key, value)| json!([key.write(), value.write()])).collect::<Vec<_>>()})
    }
}

/// A field's name in JSON, where it may be a word of Rust: `static`.
pub fn plain(name: &str) -> &str {
    name.trim_start_matches("r#")
}

/// The fields of a record of which `names` are all; `is` may stand beside them.
pub fn fields<'a>(json: &'a Value, names: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let found = json.as_object().ok_or_else(|| format!("{json} is no record"))?;
    match found.keys().find(|found| *found != "is" && !names.iter().any(|name| plain(name) == *found)) {
        Some(unknown) => Err(format!("the field {unknown} is unknown")),
        None => Ok(found),
    }
}

/// One field of a record.
pub fn field<T: Json>(record: &Map<String, Value>, name: &str) -> Result<T, String> {
    let name = plain(name);
    let json = record.get(name).ok_or_else(|| format!("the field {name} is missing"))?;
    T::read(json).map_err(|wrong| format!("{name}: {wrong}"))
}

/// A record: an object with all of its fields.
#[macro_export]
macro_rules! record {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name { $($(#[$doc])* pub $field: $type),* }

        impl $crate::codec::Json for $name {
            fn read(json: &serde_json::Value) -> Result<Self, String> {
                let record = $crate::codec::fields(json, &[$(stringify!($field)),*])?;
                Ok($name { $($field: $crate::codec::field(record, stringify!($field))?),* })
            }

            fn write(&self) -> serde_json::Value {
                let mut record = serde_json::Map::new();
                $(record.insert($crate::codec::plain(stringify!($field)).to_owned(), self.$field.write());)*
                serde_json::Value::Object(record)
            }
        }
    };
}

/// Records of several kinds: the same, with the kind under `is`.
#[macro_export]
macro_rules! union {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $kind:ident { $($field:ident: $type:ty),* }),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $kind { $($field: $type),* }),* }

        impl $crate::codec::Json for $name {
            fn read(json: &serde_json::Value) -> Result<Self, String> {
                match json.get("is").and_then(serde_json::Value::as_str) {
                    $(Some(stringify!($kind)) => {
                        let _record = $crate::codec::fields(json, &[$(stringify!($field)),*])?;
                        Ok($name::$kind { $($field: $crate::codec::field(_record, stringify!($field))?),* })
                    })*
                    Some(kind) => Err(format!("{kind} is no {}", stringify!($name))),
                    None => Err("the field is is missing".to_owned()),
                }
            }

            fn write(&self) -> serde_json::Value {
                let mut record = serde_json::Map::new();
                match self {
                    $($name::$kind { $($field),* } => {
                        record.insert("is".to_owned(), stringify!($kind).into());
                        $(record.insert($crate::codec::plain(stringify!($field)).to_owned(), $field.write());)*
                    })*
                }
                serde_json::Value::Object(record)
            }
        }
    };
}

/// An enumeration: a member is its name.
#[macro_export]
macro_rules! names {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $member:ident),* $(,)? }) => {
        $(#[$about])*
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)] // the names of the specification
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $member),* }

        impl $crate::codec::Json for $name {
            fn read(json: &serde_json::Value) -> Result<Self, String> {
                match json.as_str() {
                    $(Some(stringify!($member)) => Ok($name::$member),)*
                    _ => Err(format!("{json} is no {}", stringify!($name))),
                }
            }

            fn write(&self) -> serde_json::Value {
                match self { $($name::$member => stringify!($member).into()),* }
            }
        }
    };
}
