//! The operations on media: upload, serve, list, update, delete.
