//! What the operator sets: where it is written, its syntax, and every setting with its type and default.

mod format;
mod jdbc;
mod list;
mod moving;
mod nearest;
mod properties;
mod settings;
mod source;
mod typed;
pub mod units;
mod values;

pub use format::SecurityMode;
pub use jdbc::{Database, PostgresUrl};
pub use list::{Bind, Domains, Origins};
pub use moving::moving_advice;
pub use nearest::nearest;
pub use properties::{Entry, parse};
pub use settings::{Row, TABLE, Unset};
pub use source::Places;
pub use typed::{
    Admin, Client, Component, Config, Gate, Http, Https, Logging, Media, Metadata, convert, need_restart,
};
pub use values::{Notice, Source};
