//! The store: files on disk and their metadata in PostgreSQL or SQLite.

mod files;
mod walk;

pub use files::{Files, Published, Sealed, StoredFile, Upload};
pub use walk::Found;
