//! Values as PostgreSQL has them.

use std::error::Error;
use std::time::SystemTime;

use postgres::types::{FromSql, ToSql, Type};

use super::super::value::Value;
use crate::clock::Timestamp;

type SqlError = Box<dyn Error + Sync + Send>;

/// A value as the server wants it for a parameter of this type.
pub(super) fn parameter<'a>(value: &'a Value, ty: &Type) -> Box<dyn ToSql + Sync + 'a> {
    match value {
        Value::Null | Value::Unreadable(_) => null(ty),
        Value::Text(text) => Box::new(text.as_str()),
        // No picture has more pixels.
        Value::Int(number) if *ty == Type::INT4 => Box::new(i32::try_from(*number).unwrap_or(i32::MAX)),
        Value::Int(number) => Box::new(*number),
        Value::Time(time) => Box::new(SystemTime::from(*time)),
    }
}

/// The client library checks that NULL, too, is of the parameter's type.
fn null(ty: &Type) -> Box<dyn ToSql + Sync> {
    match *ty {
        Type::INT4 => Box::new(None::<i32>),
        Type::INT8 => Box::new(None::<i64>),
        Type::TIMESTAMP => Box::new(None::<SystemTime>),
        _ => Box::new(None::<String>),
    }
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, SqlError> {
        Ok(match *ty {
            Type::INT4 => Self::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::TIMESTAMP => Self::Time(Timestamp::from(SystemTime::from_sql(ty, raw)?)),
            _ => Self::Text(String::from_sql(ty, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, SqlError> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
