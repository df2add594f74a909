//! The store: files, and their metadata in PostgreSQL or SQLite.
//!
//! [`Files`] keeps complete files, [`Uploads`] unfinished ones; [`Metadata`] is the interface of a
//! database. `operations` writes each of these operations once, over an [`Engine`]: `postgres` or `sqlite`.

mod advisory;
mod block_table;
mod cache;
mod chore_table;
mod columns;
#[cfg(test)]
mod conformance;
mod console;
mod content_table;
mod directory;
mod emptying;
mod engine;
mod epochs;
#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
mod file_conformance;
mod file_table;
mod files;
mod hash;
mod identity;
mod lock;
mod lost;
mod metadata;
mod move_lock;
mod moving;
#[cfg(test)]
mod node_database;
mod node_locks;
mod notice;
mod operations;
mod place;
#[cfg(test)]
mod place_conformance;
#[cfg(test)]
#[path = "../../tests/support/port.rs"]
mod port;
mod postgres;
#[cfg(test)]
#[path = "../../tests/support/postgres.rs"]
pub(crate) mod postgres_server;
mod prompt_table;
#[cfg(test)]
#[path = "../../tests/support/python.rs"]
mod python;
mod s3_files;
mod schema;
#[cfg(test)]
#[path = "../../tests/support/seaweedfs.rs"]
mod seaweedfs;
mod sqlite;
mod statements;
mod stream_holder;
mod upload;
#[cfg(test)]
mod upload_conformance;
mod upload_files;
mod upload_operations;
mod upload_table;
mod user_data;
mod value;
mod walk;

#[cfg(test)]
use crate::testing::folder;

pub use self::block_table::{Block, BlockTable};
pub use self::cache::{BlockCache, BlockFile, CacheState, LocalFile};
pub use self::chore_table::ChoreTable;
pub use self::console::{Console, EmptiedUpload, Import, NamedSums, StoredRow, UsageSum};
pub use self::content_table::{ContentTable, FileContent};
pub use self::directory::{Directory, storage_error};
pub use self::engine::{Change, Engine, Session, WriteError};
pub use self::epochs::EpochTable;
pub use self::file_table::{FileFilter, FilePlace, FileRow, FileSum, FileTable};
pub use self::files::{
    BlockSource, FetchError, FileList, Files, Listed, Part, Presented, Published, StoredFile,
};
pub use self::hash::Algorithm;
pub use self::identity::{DatabaseState, Identity, Match, StoreId};
pub use self::lock::RootLock;
pub use self::lost::Losses;
pub use self::metadata::{
    Deleted, FileName, KnownAs, MediaInsert, MediaPage, MediaRow, MediaUpdate, Metadata, Pool, PreviewInsert,
    PreviewRow, Removal, UsageKind, WrongSum,
};
pub use self::move_lock::MoveLock;
pub use self::moving::{Moving, NearPlace};
pub use self::node_locks::{NameLock, NameOwner, end_name_owner, is_other_ready, lock_name, say_ready};
pub use self::notice::{Notice, UnknownNotice};
pub use self::operations::Store;
pub use self::postgres::{DedicatedConnection, DedicatedConnections, Postgres, PostgresSettings, SslMode};
pub use self::prompt_table::{PromptTable, StreamEpoch};
pub use self::s3_files::S3Files;
pub use self::schema::{CURRENT, Schema, SqliteSchema, Upgraded, refuse_newer, verify};
pub use self::sqlite::Sqlite;
pub use self::statements::list as list_statement;
pub use self::stream_holder::{
    StreamHolder, beat, end_holder, find_holder, give_up_stream, lock_owner, take_stream, unlock_stream,
    watch_holder,
};
pub use self::upload::{MOVER, Sealed, Upload, Uploads};
pub use self::upload_files::{ListedUpload, UploadDirectory, UploadFiles, UploadList};
pub use self::upload_table::{
    GoneUpload, SecretTable, StoredSecret, UploadInsert, UploadLookup, UploadRemoval, UploadRow, UploadSums,
    UploadTable,
};
pub use self::user_data::{UserData, UserTotals};
