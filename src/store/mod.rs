//! The store: files on disk and their metadata in PostgreSQL or SQLite.
