//! Several nodes on one database.

pub mod prompts;
