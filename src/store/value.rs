//! Values of columns and parameters, the same for both databases.

use std::vec;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};

/// The value of a column or of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// A text.
    Text(String),
    /// A number; each database stores it in as many bytes as its column has.
    Int(i64),
    /// A date.
    Time(Timestamp),
    /// The reason why a column's value is none of the above.
    Unreadable(String),
}

/// A row that a statement gave. Its columns are taken one after the other, from the left.
#[derive(Debug)]
pub struct Row(vec::IntoIter<Value>);

impl Row {
    pub(super) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// The value of the next column.
    pub(super) fn next<T: FromValue>(&mut self) -> Result<T> {
        T::from_value(self.0.next().unwrap_or(Value::Null))
    }

    /// The value of the only column that matters.
    pub(super) fn single<T: FromValue>(mut self) -> Result<T> {
        self.next()
    }
}

/// A type that a column may have.
pub(super) trait FromValue: Sized {
    fn from_value(value: Value) -> Result<Self>;
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Text(text) => Ok(text),
            other => Err(unfit("a text", &other)),
        }
    }
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Int(number) => Ok(number),
            other => Err(unfit("a number", &other)),
        }
    }
}

impl FromValue for Timestamp {
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Time(time) => Ok(time),
            // SQLite has no type for dates: they are microseconds.
            Value::Int(micros) => Ok(Self::from_micros(micros)),
            other => Err(unfit("a date", &other)),
        }
    }
}

/// A size. A negative one counts as 0.
impl FromValue for u64 {
    fn from_value(value: Value) -> Result<Self> {
        i64::from_value(value).map(|size| size.try_into().unwrap_or(0))
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

fn unfit(expected: &str, value: &Value) -> Error {
    let found = match value {
        Value::Null => "NULL",
        Value::Text(_) => "a text",
        Value::Int(_) => "a number",
        Value::Time(_) => "a date",
        Value::Unreadable(reason) => reason,
    };
    Error::new(Kind::Corrupt, format!("a column holds {found}, not {expected}"))
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

/// No database holds more than [`i64::MAX`], and no disk does.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(number.try_into().unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        (number as u64).into()
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}

/// The values of a statement's parameters, in their order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { [$($crate::store::value::Value::from($value)),*] };
}
pub(super) use values;
