//! The commands, as a valid command line gives them.

use std::fmt;
use std::path::PathBuf;

use crate::daemon::{CheckExtent, Doing, FileQuery, OutputForm, Repair, UsageOf};
use crate::model::{BareJid, Channel};

/// A command of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve in the foreground until a signal comes.
    Serve,
    /// Check the configuration and what it points to.
    Check {
        /// First list the differences from the original server.
        from_java: bool,
        /// Refuse unknown keys.
        strict: bool,
        /// How much is tried.
        extent: CheckExtent,
    },
    /// Create the tables.
    SetupSchema,
    /// Bring the tables up to date.
    UpgradeSchema,
    /// Remove the tables with all metadata.
    DropSchema,
    /// Compare files and metadata.
    Fsck {
        /// Also repair what is found.
        repair: Repair,
    },
    /// Make the node of a channel.
    CreateChannel {
        /// The channel's address.
        channel: Channel,
        /// The owner of the channel.
        owner: BareJid,
        /// Whether only those with an affiliation may read it.
        private: bool,
        /// The account that makes it, instead of the server's own.
        creator: Option<BareJid>,
        /// The file with that account's password.
        password_file: Option<PathBuf>,
    },
    /// Revoke tickets.
    RevokeTickets {
        /// Whose; everybody's without one.
        user: Option<BareJid>,
        /// How the result is printed.
        form: OutputForm,
    },
    /// Tell how much is stored.
    Usage {
        /// The user.
        of: UsageOf,
        /// How it is printed.
        form: OutputForm,
    },
    /// List files.
    List {
        /// Which.
        query: FileQuery,
        /// How they are printed.
        form: OutputForm,
    },
    /// Delete files.
    Delete {
        /// Which.
        query: FileQuery,
        /// Whether they are deleted.
        doing: Doing,
        /// How they are printed.
        form: OutputForm,
    },
    /// Remove all that is stored of a user.
    Purge {
        /// The user.
        user: BareJid,
        /// Whether it is removed.
        doing: Doing,
        /// How it is printed.
        form: OutputForm,
    },
    /// Write the metadata to a new file.
    Export {
        /// The file.
        file: PathBuf,
        /// How the result is printed.
        form: OutputForm,
    },
    /// Fill an empty database with the metadata of an export.
    Import {
        /// The file.
        file: PathBuf,
        /// How the result is printed.
        form: OutputForm,
    },
    /// Move the files from their old place.
    MoveStorage {
        /// Whether they are moved.
        doing: Doing,
        /// How the result is printed.
        form: OutputForm,
    },
    /// Show the version.
    Version,
    /// Show the help.
    Help,
}

/// A valid command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// `-c FILE`
    pub config: Option<PathBuf>,
    /// The command.
    pub command: Command,
}

/// Why a command line is invalid, and what may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(pub(super) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}
