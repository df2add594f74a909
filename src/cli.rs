//! The command line: argv parsed without I/O, and the program's ends.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use crate::config::{Config, Places, nearest};
use crate::daemon::{self, CheckExtent, NewChannel, Repair};
use crate::error::{Error, Kind};
use crate::model::{BareJid, Channel};
use crate::preview;
use crate::secret::Secret;

/// What the program does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve in the foreground until a signal comes.
    Serve,
    /// Check the configuration and what it points to.
    Check {
        /// First tell what differs from the original server.
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
        /// Who owns it.
        owner: BareJid,
        /// Whether only those with an affiliation may read it.
        private: bool,
        /// The account that makes it, instead of the server's own.
        creator: Option<BareJid>,
        /// The file with that account's password.
        password_file: Option<PathBuf>,
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
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Parses the arguments behind the program's name. `-h` and `-V` count as soon as they are met.
pub fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Invocation, UsageError> {
    let mut arguments = Arguments::default();
    while let Some(argument) = args.next() {
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(Invocation { config: None, command: Command::Help }),
            Some("-V" | "--version") => return Ok(Invocation { config: None, command: Command::Version }),
            Some("-c") => arguments.configure(args.next())?,
            Some(option) if option.starts_with('-') => arguments.option(&argument, &mut args)?,
            _ => arguments.words.push(argument),
        }
    }
    let config = arguments.config.take();
    Ok(Invocation { config, command: arguments.command()? })
}

/// Runs the program: exit status 0, 1 (failure), 2 (usage) or 78 (configuration).
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    // What this program starts itself as, to decode a picture; hidden, as nobody else has a use for it.
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

Commands:
  serve               serve in the foreground until SIGTERM (the default)
  check               try the configuration and what it points to; options:
                      --strict, --local, --from-java, --channel C --user JID
  setup-schema        create the tables of the metadata
  upgrade-schema      bring the tables up to date
  drop-schema --yes   remove the tables and all metadata in them
  fsck [--repair]     compare files and metadata; --repair: move files without
                      metadata to .lost and delete rows without a file, not
                      more than 5 % of either; --force: more, too
  channel create C --owner JID [--private] [--as JID --password-file F]
                      make the pubsub node of the channel C

Options:
  -c FILE             read the configuration from FILE
  -V, --version       show the version
  -h, --help          show this help

Without -c: the environment variable DATABASE (a JDBC URL whose table
configuration is read), else mediaserver.properties in the working directory,
in /config/media-server or in /etc/buddycloud-media-server.
";

/// The environment variable with the password of the account that `--as` names.
const PASSWORD: &str = "BUDDYCLOUD_MEDIA_PASSWORD";

/// The commands, by their first word.
const COMMANDS: &[&str] =
    &["serve", "check", "setup-schema", "upgrade-schema", "drop-schema", "fsck", "channel"];

/// The options of commands: name, command, and what the value is, if there must be one.
const OPTIONS: &[(&str, &str, Option<&str>)] = &[
    ("--yes", "drop-schema", None),
    ("--repair", "fsck", None),
    ("--force", "fsck", None),
    ("--from-java", "check", None),
    ("--strict", "check", None),
    ("--local", "check", None),
    ("--channel", "check", Some("the address of a channel")),
    ("--user", "check", Some("the address of a user")),
    ("--owner", "channel", Some("the address of a user")),
    ("--private", "channel", None),
    ("--as", "channel", Some("the address of a user")),
    ("--password-file", "channel", Some("a file")),
];

/// The arguments read so far.
#[derive(Default)]
struct Arguments {
    config: Option<PathBuf>,
    /// The command and what follows it.
    words: Vec<OsString>,
    /// Options with their values; empty where they have none.
    options: BTreeMap<&'static str, OsString>,
}

impl Arguments {
    fn configure(&mut self, file: Option<OsString>) -> Result<(), UsageError> {
        let file =
            file.filter(|file| !file.is_empty()).ok_or_else(|| UsageError("-c needs a file".to_owned()))?;
        if self.config.replace(file.into()).is_some() {
            return Err(UsageError("-c is given twice".to_owned()));
        }
        Ok(())
    }

    fn option(
        &mut self,
        argument: &OsStr,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), UsageError> {
        let Some((name, _, value)) = OPTIONS.iter().find(|(name, ..)| argument == *name) else {
            let general = ["--help", "--version"].into_iter();
            return Err(unknown("option", argument, general.chain(OPTIONS.iter().map(|(name, ..)| *name))));
        };
        let value = match value {
            None => OsString::new(),
            Some(what) => {
                let given = rest.next().filter(|given| !given.is_empty());
                given.ok_or_else(|| UsageError(format!("{name} needs {what}")))?
            }
        };
        if self.options.insert(name, value).is_some_and(|before| !before.is_empty()) {
            return Err(UsageError(format!("{name} is given twice")));
        }
        Ok(())
    }

    fn command(mut self) -> Result<Command, UsageError> {
        let words = std::mem::take(&mut self.words);
        let (name, more) = match &words[..] {
            [] => ("serve", &[][..]),
            [first, more @ ..] => (known(first)?, more),
        };
        if name != "channel" && !more.is_empty() {
            return Err(UsageError("more than one command".to_owned()));
        }
        self.check_options(name)?;
        Ok(match name {
            "check" => self.check()?,
            "setup-schema" => Command::SetupSchema,
            "upgrade-schema" => Command::UpgradeSchema,
            "drop-schema" if self.has("--yes") => Command::DropSchema,
            "drop-schema" => {
                let what = "drop-schema removes all metadata: add --yes if that is meant";
                return Err(UsageError(what.to_owned()));
            }
            "fsck" => Command::Fsck { repair: self.repair()? },
            "channel" => self.channel(more)?,
            _ => Command::Serve,
        })
    }

    fn check_options(&self, command: &str) -> Result<(), UsageError> {
        let mut foreign = OPTIONS.iter().filter(|(name, owner, _)| self.has(name) && *owner != command);
        match foreign.next() {
            Some((name, owner, _)) => Err(UsageError(format!("{name} belongs to {owner}"))),
            None => Ok(()),
        }
    }

    fn repair(&self) -> Result<Repair, UsageError> {
        match (self.has("--repair"), self.has("--force")) {
            (true, true) => Ok(Repair::Forced),
            (true, false) => Ok(Repair::Careful),
            (false, true) => Err(UsageError("--force belongs to fsck --repair".to_owned())),
            (false, false) => Ok(Repair::No),
        }
    }

    fn check(&self) -> Result<Command, UsageError> {
        let right = match (self.value("--channel")?, self.value("--user")?) {
            (Some(channel), Some(user)) => Some((channel, user)),
            (None, None) => None,
            _ => return Err(UsageError("--channel and --user go together".to_owned())),
        };
        let local = self.has("--local");
        if local && right.is_some() {
            return Err(UsageError("--local asks no channel service: leave it out".to_owned()));
        }
        let extent = CheckExtent { local, right };
        Ok(Command::Check { from_java: self.has("--from-java"), strict: self.has("--strict"), extent })
    }

    fn channel(&self, words: &[OsString]) -> Result<Command, UsageError> {
        let [create, channel] = words else {
            return Err(UsageError("say: channel create CHANNEL --owner JID".to_owned()));
        };
        if create != "create" {
            return Err(unknown("command", create, ["create"].into_iter()));
        }
        let creator = self.value("--as")?;
        if creator.is_none() && self.has("--password-file") {
            return Err(UsageError("--password-file goes together with --as".to_owned()));
        }
        let owner = self.value("--owner")?;
        Ok(Command::CreateChannel {
            channel: address("CHANNEL", channel)?,
            owner: owner.ok_or_else(|| UsageError("channel create needs --owner JID".to_owned()))?,
            private: self.has("--private"),
            creator,
            password_file: self.options.get("--password-file").map(PathBuf::from),
        })
    }

    fn has(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    /// The address that is the value of an option.
    fn value<T: FromStr>(&self, option: &str) -> Result<Option<T>, UsageError> {
        self.options.get(option).map(|value| address(option, value)).transpose()
    }
}

/// The name of a command.
fn known(word: &OsStr) -> Result<&'static str, UsageError> {
    let name = COMMANDS.iter().find(|name| word == **name);
    name.copied().ok_or_else(|| unknown("command", word, COMMANDS.iter().copied()))
}

/// An address of XMPP; `place` says where it stands.
fn address<T: FromStr>(place: &str, value: &OsStr) -> Result<T, UsageError> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| UsageError(format!("{place}: {value:?} is no address such as name@example.com")))
}

fn unknown(what: &str, argument: &OsStr, known: impl Iterator<Item = &'static str>) -> UsageError {
    let hint = nearest(&argument.to_string_lossy(), known);
    let hint = hint.map_or(String::new(), |known| format!("; did you mean {known}?"));
    UsageError(format!("unknown {what} {argument:?}{hint}"))
}

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

/// Writes to standard output. It is no failure if its reader has gone.
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

/// Writes to standard error; a failure can be told to nobody.
fn complain(text: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "{NAME}: {text}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parsed(line: &str) -> Result<(Option<PathBuf>, Command), String> {
        let result = parse(line.split_whitespace().map(OsString::from));
        result.map(|invocation| (invocation.config, invocation.command)).map_err(|usage| usage.to_string())
    }

    fn check(from_java: bool, strict: bool, extent: CheckExtent) -> Command {
        Command::Check { from_java, strict, extent }
    }

    fn channel(private: bool, creator: Option<&str>, password_file: Option<&str>) -> Command {
        Command::CreateChannel {
            channel: "c@d".parse().unwrap(),
            owner: "a@b".parse().unwrap(),
            private,
            creator: creator.map(|jid| jid.parse().unwrap()),
            password_file: password_file.map(PathBuf::from),
        }
    }

    #[test]
    fn valid_command_lines() {
        let right = Some(("c@d".parse().unwrap(), "a@b".parse().unwrap()));
        let right = CheckExtent { local: false, right };
        let table = [
            ("", None, Command::Serve),
            ("serve", None, Command::Serve),
            ("check", None, check(false, false, CheckExtent::default())),
            ("check --from-java", None, check(true, false, CheckExtent::default())),
            ("check --strict", None, check(false, true, CheckExtent::default())),
            ("--strict check --from-java", None, check(true, true, CheckExtent::default())),
            ("check --local", None, check(false, false, CheckExtent { local: true, right: None })),
            ("check --user a@b --channel c@d", None, check(false, false, right)),
            ("-c f", Some("f"), Command::Serve),
            ("-c -x check", Some("-x"), check(false, false, CheckExtent::default())),
            ("check -c f", Some("f"), check(false, false, CheckExtent::default())),
            ("channel create c@d --owner a@b", None, channel(false, None, None)),
            (
                "channel --as e@f create --private --owner a@b --password-file p c@d",
                None,
                channel(true, Some("e@f"), Some("p")),
            ),
            ("setup-schema", None, Command::SetupSchema),
            ("upgrade-schema", None, Command::UpgradeSchema),
            ("drop-schema --yes", None, Command::DropSchema),
            ("--yes drop-schema", None, Command::DropSchema),
            ("fsck", None, Command::Fsck { repair: Repair::No }),
            ("--repair fsck", None, Command::Fsck { repair: Repair::Careful }),
            ("fsck --force --repair", None, Command::Fsck { repair: Repair::Forced }),
            ("-V", None, Command::Version),
            ("check --version", None, Command::Version),
            ("--help --nonsense", None, Command::Help),
            ("-h", None, Command::Help),
        ];
        for (line, config, command) in table {
            assert_eq!(parsed(line), Ok((config.map(PathBuf::from), command)), "{line}");
        }
    }

    #[test]
    fn invalid_command_lines() {
        let table = [
            ("-c", "-c needs a file"),
            ("-c a -c b", "-c is given twice"),
            ("chek", "unknown command \"chek\"; did you mean check?"),
            ("setup_schema", "unknown command \"setup_schema\"; did you mean setup-schema?"),
            ("frobnicate", "unknown command \"frobnicate\""),
            ("check serve", "more than one command"),
            ("-x", "unknown option \"-x\""),
            ("--repiar", "unknown option \"--repiar\"; did you mean --repair?"),
            ("--", "unknown option \"--\""),
            ("drop-schema", "drop-schema removes all metadata: add --yes if that is meant"),
            ("check --yes", "--yes belongs to drop-schema"),
            ("--repair", "--repair belongs to fsck"),
            ("fsck --force", "--force belongs to fsck --repair"),
            ("check --force", "--force belongs to fsck"),
            ("fsck --yes", "--yes belongs to drop-schema"),
            ("fsck --from-java", "--from-java belongs to check"),
            ("--from-java", "--from-java belongs to check"),
            ("serve --strict", "--strict belongs to check"),
            ("check --user", "--user needs the address of a user"),
            ("check --user a@b", "--channel and --user go together"),
            ("check --user a@b --user a@b", "--user is given twice"),
            ("check --user a@b --channel x", "--channel: \"x\" is no address such as name@example.com"),
            ("check --local --user a@b --channel c@d", "--local asks no channel service: leave it out"),
            ("--owner a@b fsck", "--owner belongs to channel"),
            ("channel", "say: channel create CHANNEL --owner JID"),
            ("channel make c@d", "unknown command \"make\""),
            ("channel create c@d", "channel create needs --owner JID"),
            ("channel create c --owner a@b", "CHANNEL: \"c\" is no address such as name@example.com"),
            ("channel create c@d --owner a@b/r", "--owner: \"a@b/r\" is no address such as name@example.com"),
            ("channel create c@d --owner a@b --password-file p", "--password-file goes together with --as"),
        ];
        for (line, expected) in table {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
        let foreign = OsString::from_vec(b"\xff".to_vec());
        assert_eq!(
            parse([foreign.clone()].into_iter()).unwrap_err().to_string(),
            "unknown command \"\\xFF\""
        );
        let config = parse(["-c".into(), foreign.clone()].into_iter()).unwrap().config;
        assert_eq!(config, Some(foreign.into()));
    }

    #[test]
    fn the_help_fits_a_screen_and_names_every_command() {
        assert!(HELP.lines().count() <= 24 && HELP.lines().all(|line| line.len() < 80));
        for name in COMMANDS {
            assert!(HELP.contains(&format!("\n  {name} ")), "{name}");
        }
        for (option, ..) in OPTIONS {
            assert!(HELP.contains(option), "{option}");
        }
    }

    #[test]
    fn only_configuration_errors_exit_with_78() {
        let shown = |kind| format!("{:?}", status(kind));
        assert_eq!(shown(Kind::Config), format!("{:?}", ExitCode::from(78)));
        for kind in [Kind::Unavailable, Kind::Full, Kind::Exhausted, Kind::Corrupt, Kind::Failure] {
            assert_eq!(shown(kind), format!("{:?}", ExitCode::from(1)));
        }
    }
}
