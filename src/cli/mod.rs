//! The command line: argv parsed without I/O, and the exit statuses of the program.

mod arguments;
mod command;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

pub use self::arguments::parse;
pub use self::command::{Command, Invocation, UsageError};
use crate::config::{Config, Places};
use crate::daemon::{self, NewChannel};
use crate::error::{Error, Kind};
use crate::preview;
use crate::secret::Secret;

/// Runs the program: exit status 0, 1 (failure), 2 (usage) or 78 (configuration).
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    // The program starts itself with this word to decode a picture. It is hidden because it is of no use to people.
    if arguments.next_if(|first| first == "preview-child").is_some() {
        return preview::child_main(arguments);
    }
    match parse(arguments) {
        Ok(Invocation { command: Command::Help, .. }) => show(HELP),
        Ok(Invocation { command: Command::Version, .. }) => show(VERSION),
        Ok(invocation) => match run(invocation) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                status(error.kind())
            }
        },
        Err(usage) => {
            complain(&format!("{usage}\nTry: {NAME} -h"));
            ExitCode::from(2)
        }
    }
}

const NAME: &str = "buddycloud-media-server";
const VERSION: &str = concat!("buddycloud-media-server ", env!("CARGO_PKG_VERSION"), "\n");
const HELP: &str = "\
usage: buddycloud-media-server [-c FILE] [COMMAND]
  serve               serve in the foreground until SIGTERM (the default)
  check               try the configuration and what it points to; options:
                      --strict, --local, --from-java, --channel C --user JID
  setup-schema        create the tables of the metadata
  upgrade-schema      bring the tables up to date
  drop-schema --yes   remove the tables and all metadata in them
  fsck [--repair]     compare files and metadata; --repair: repair differences,
                      at most 5 % of files and rows; --force: no limit
  channel create C --owner JID [--private] [--as JID --password-file F]
                      make the pubsub node of the channel C
  tickets revoke --all | --user JID       revoke all tickets, or a user's
  usage               show stored files and bytes; --user JID, --channel C
  list [FILTERS]      files, newest first; FILTERS: --user JID, --channel C,
                      --older-than 30d, --purpose P, --kind media|upload
  delete FILTERS      delete files; without --yes: only list them
  purge --user JID    remove all data of a user; without --yes: show how much
  export FILE         write the metadata to a new file
  import FILE         fill an empty database with the metadata of that file
  move-storage        move files from media.storage.from; without --yes: count
The last eight take --json.
  -c FILE             read the configuration from FILE; the manual page says
                      where else the program looks for it
  -V, --version, -h, --help   show the version, or this help
";

/// The environment variable with the password of the account that `--as` names.
const PASSWORD: &str = "BUDDYCLOUD_MEDIA_PASSWORD";

/// Executes a command.
fn run(invocation: Invocation) -> Result<(), Error> {
    let places = Places::standard(invocation.config, std::env::var_os("DATABASE"));
    let source = places.read(daemon::configuration_rows)?;
    let out = &mut io::stdout();
    if matches!(invocation.command, Command::Check { from_java: true, .. }) {
        daemon::tell_moving(&source, out);
    }
    let (config, notices) = Config::read(&source)?;
    if matches!(invocation.command, Command::Check { strict: true, .. }) {
        Config::refuse_unknown_keys(&notices)?;
    }
    if invocation.command != Command::Serve {
        for notice in &notices {
            complain(&format!("{}: {}", notice.level, notice.text));
        }
    }
    match invocation.command {
        Command::Serve => daemon::serve(daemon::Start {
            source: &source,
            config: &config,
            notices: &notices,
            reread: &|| places.read(daemon::configuration_rows),
            notify_socket: std::env::var_os("NOTIFY_SOCKET"),
        }),
        Command::Check { extent, .. } => daemon::check(&source, &config, &extent, out),
        Command::SetupSchema => daemon::setup_schema(&config, out),
        Command::UpgradeSchema => daemon::upgrade_schema(&config, out),
        Command::DropSchema => daemon::drop_schema(&config, out),
        Command::Fsck { repair } => daemon::fsck(&config, repair, out),
        Command::CreateChannel { channel, owner, private, creator, password_file } => {
            let with_password = |jid| Ok::<_, Error>((jid, password(password_file.as_deref())?));
            let creator = creator.map(with_password).transpose()?;
            daemon::create_channel(&config, &NewChannel { channel, owner, private, creator }, out)
        }
        Command::RevokeTickets { user, form } => daemon::revoke_tickets(&config, user.as_ref(), form, out),
        Command::Usage { of, form } => daemon::usage(&config, &of, form, out),
        Command::List { query, form } => daemon::list(&config, &query, form, out),
        Command::Delete { query, doing, form } => daemon::delete(&config, &query, doing, form, out),
        Command::Purge { user, doing, form } => daemon::purge(&config, &user, doing, form, out),
        Command::Export { file, form } => daemon::export(&config, &file, form, out),
        Command::Import { file, form } => daemon::import(&config, &file, form, out),
        Command::MoveStorage { doing, form } => daemon::move_storage(&config, doing, form, out),
        // Handled before the configuration is read.
        Command::Version | Command::Help => Ok(()),
    }
}

/// The password of the account that `--as` names: the first line of the file, or the environment variable.
fn password(file: Option<&Path>) -> Result<Secret, Error> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|cause| {
            Error::caused(Kind::Config, format!("can't read the password from {}", path.display()), cause)
        })?,
        None => std::env::var(PASSWORD).unwrap_or_default(),
    };
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::new(line)),
        None => {
            let what = format!(
                "--as needs a password: set {PASSWORD}, or give --password-file a file that holds one"
            );
            Err(Error::new(Kind::Config, what))
        }
    }
}

/// The exit status of an error; 78 is `EX_CONFIG` of sysexits(3).
fn status(kind: Kind) -> ExitCode {
    match kind {
        Kind::Config => ExitCode::from(78),
        Kind::Unavailable
        | Kind::Full
        | Kind::Exhausted
        | Kind::Untranslatable
        | Kind::Corrupt
        | Kind::Failure => ExitCode::from(1),
    }
}

/// Writes to standard output. A closed pipe is not an error.
fn show(text: &str) -> ExitCode {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("can't write: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes to standard error; a failure can't be reported.
fn complain(text: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "{NAME}: {text}");
}
