//! The operator's settings: where they are written, their syntax, one table with every setting, and what each layer gets.

mod jdbc;
mod keystore;
mod layers;
mod list;
mod moving;
mod nearest;
mod properties;
mod settings;
mod source;
mod types;
pub mod units;
mod values;

pub use jdbc::Database;
pub use keystore::Keystore;
pub use layers::{Config, Logging, Merged, Storage};
pub use moving::moving_advice;
pub use nearest::nearest;
pub use properties::{Entry, parse};
pub use settings::{Change, DefaultValue, SETTINGS, Setting};
pub use source::Places;
pub use types::OldStorage;
pub use values::{Notice, Source};
