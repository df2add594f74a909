//! The command line: argv parsed without I/O, and the program's ends.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, Places, nearest};
use crate::daemon::{self, Repair};
use crate::error::{Error, Kind};
use crate::preview;

/// What the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve in the foreground until a signal comes.
    Serve,
    /// Check the configuration and what it points to.
    Check {
        /// First tell what differs from the original server.
        from_java: bool,
        /// Refuse unknown keys.
        strict: bool,
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
            Some("--yes") => arguments.yes = true,
            Some("--repair") => arguments.repair = true,
            Some("--force") => arguments.force = true,
            Some("--from-java") => arguments.from_java = true,
            Some("--strict") => arguments.strict = true,
            Some(option) if option.starts_with('-') => return Err(unknown("option", &argument, OPTIONS)),
            _ => arguments.name(&argument)?,
        }
    }
    arguments.invocation()
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
  check               check the configuration and what it points to;
                      --strict: unknown keys are errors; --from-java: first
                      tell what differs from the original server
  setup-schema        create the tables of the metadata
  upgrade-schema      bring the tables up to date
  drop-schema --yes   remove the tables and all metadata in them
  fsck [--repair]     compare files and metadata; --repair: move files without
                      metadata to .lost and delete rows without a file, not
                      more than 5 % of either; --force: more, too

Options:
  -c FILE             read the configuration from FILE
  -V, --version       show the version
  -h, --help          show this help

Without -c: the environment variable DATABASE (a JDBC URL whose table
configuration is read), else mediaserver.properties in the working directory,
in /config/media-server or in /etc/buddycloud-media-server.
";

const OPTIONS: &[&str] = &["--help", "--version", "--yes", "--repair", "--force", "--from-java", "--strict"];
const COMMANDS: &[(&str, Command)] = &[
    ("serve", Command::Serve),
    ("check", Command::Check { from_java: false, strict: false }),
    ("setup-schema", Command::SetupSchema),
    ("upgrade-schema", Command::UpgradeSchema),
    ("drop-schema", Command::DropSchema),
    ("fsck", Command::Fsck { repair: Repair::No }),
];

/// The arguments read so far.
#[derive(Default)]
struct Arguments {
    config: Option<PathBuf>,
    command: Option<Command>,
    yes: bool,
    repair: bool,
    force: bool,
    from_java: bool,
    strict: bool,
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

    fn name(&mut self, argument: &OsStr) -> Result<(), UsageError> {
        let Some((_, command)) = COMMANDS.iter().find(|(name, _)| argument == *name) else {
            let names: Vec<_> = COMMANDS.iter().map(|(name, _)| *name).collect();
            return Err(unknown("command", argument, &names));
        };
        if self.command.replace(*command).is_some() {
            return Err(UsageError("more than one command".to_owned()));
        }
        Ok(())
    }

    fn invocation(self) -> Result<Invocation, UsageError> {
        let command = match self.command.unwrap_or(Command::Serve) {
            Command::Fsck { .. } => Command::Fsck { repair: self.repair() },
            Command::Check { .. } => Command::Check { from_java: self.from_java, strict: self.strict },
            command => command,
        };
        let [drop, fsck, check] = [
            command == Command::DropSchema,
            matches!(command, Command::Fsck { .. }),
            matches!(command, Command::Check { .. }),
        ];
        let refusals = [
            (self.repair && !fsck, "--repair belongs to fsck"),
            (self.force && !(fsck && self.repair), "--force belongs to fsck --repair"),
            (self.from_java && !check, "--from-java belongs to check"),
            (self.strict && !check, "--strict belongs to check"),
            (self.yes && !drop, "--yes belongs to drop-schema"),
            (drop && !self.yes, "drop-schema removes all metadata: add --yes if that is meant"),
        ];
        if let Some((_, what)) = refusals.iter().find(|(wrong, _)| *wrong) {
            return Err(UsageError((*what).to_owned()));
        }
        Ok(Invocation { config: self.config, command })
    }
}

impl Arguments {
    fn repair(&self) -> Repair {
        match (self.repair, self.force) {
            (true, true) => Repair::Forced,
            (true, false) => Repair::Careful,
            (false, _) => Repair::No,
        }
    }
}

fn unknown(what: &str, argument: &OsStr, known: &[&str]) -> UsageError {
    let hint = nearest(&argument.to_string_lossy(), known.iter().copied());
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
        Command::Check { .. } => daemon::check(&config, out),
        Command::SetupSchema => daemon::setup_schema(&config, out),
        Command::UpgradeSchema => daemon::upgrade_schema(&config, out),
        Command::DropSchema => daemon::drop_schema(&config, out),
        Command::Fsck { repair } => daemon::fsck(&config, repair, out),
        // Handled before the configuration is read.
        Command::Version | Command::Help => Ok(()),
    }
}

/// The exit status of an error; 78 is `EX_CONFIG` of sysexits(3).
fn status(kind: Kind) -> ExitCode {
    match kind {
        Kind::Config => ExitCode::from(78),
        Kind::Unavailable | Kind::Full | Kind::Exhausted | Kind::Corrupt | Kind::Failure => ExitCode::from(1),
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

    #[test]
    fn valid_command_lines() {
        let table = [
            ("", None, Command::Serve),
            ("serve", None, Command::Serve),
            ("check", None, Command::Check { from_java: false, strict: false }),
            ("check --from-java", None, Command::Check { from_java: true, strict: false }),
            ("check --strict", None, Command::Check { from_java: false, strict: true }),
            ("--strict check --from-java", None, Command::Check { from_java: true, strict: true }),
            ("-c f", Some("f"), Command::Serve),
            ("-c -x check", Some("-x"), Command::Check { from_java: false, strict: false }),
            ("check -c f", Some("f"), Command::Check { from_java: false, strict: false }),
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
            ("check --force", "--force belongs to fsck --repair"),
            ("fsck --yes", "--yes belongs to drop-schema"),
            ("fsck --from-java", "--from-java belongs to check"),
            ("--from-java", "--from-java belongs to check"),
            ("serve --strict", "--strict belongs to check"),
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
        for (name, _) in COMMANDS {
            assert!(HELP.contains(&format!("\n  {name} ")), "{name}");
        }
        for option in OPTIONS {
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
