//! The arguments of the program, parsed without I/O.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::command::{Command, Invocation, UsageError};
use crate::config::{nearest, units};
use crate::daemon::{CheckExtent, Doing, FileQuery, OutputForm, Repair, UsageOf};
use crate::model::{FileKind, Purpose};

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

/// The commands, by their first word.
pub(super) const COMMANDS: &[&str] = &[
    "serve",
    "check",
    "setup-schema",
    "upgrade-schema",
    "drop-schema",
    "fsck",
    "channel",
    "tickets",
    "usage",
    "list",
    "delete",
    "purge",
    "export",
    "import",
    "move-storage",
];

/// The options of commands: name, commands, and what the value is, if there must be one.
pub(super) const OPTIONS: &[(&str, &[&str], Option<&str>)] = &[
    ("--yes", &["drop-schema", "delete", "purge", "move-storage"], None),
    ("--repair", &["fsck"], None),
    ("--force", &["fsck"], None),
    ("--from-java", &["check"], None),
    ("--strict", &["check"], None),
    ("--local", &["check"], None),
    ("--channel", &["check", "usage", "list", "delete"], Some("the address of a channel")),
    ("--user", &["check", "tickets", "usage", "list", "delete", "purge"], Some("the address of a user")),
    ("--all", &["tickets"], None),
    ("--older-than", &["list", "delete"], Some("a time such as 30d")),
    ("--purpose", &["list", "delete"], Some("a purpose")),
    ("--kind", &["list", "delete"], Some("media or upload")),
    ("--json", &["tickets", "usage", "list", "delete", "purge", "export", "import", "move-storage"], None),
    ("--owner", &["channel"], Some("the address of a user")),
    ("--private", &["channel"], None),
    ("--as", &["channel"], Some("the address of a user")),
    ("--password-file", &["channel"], Some("a file")),
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
        if !matches!(name, "channel" | "tickets" | "export" | "import") && !more.is_empty() {
            return Err(UsageError("more than one command".to_owned()));
        }
        self.check_options(name)?;
        Ok(match name {
            "check" => self.check()?,
            "setup-schema" => Command::SetupSchema,
            "upgrade-schema" => Command::UpgradeSchema,
            "drop-schema" if self.has("--yes") => Command::DropSchema,
            "drop-schema" => {
                let what = "drop-schema removes all metadata: add --yes to confirm";
                return Err(UsageError(what.to_owned()));
            }
            "fsck" => Command::Fsck { repair: self.repair()? },
            "channel" => self.channel(more)?,
            "tickets" => self.tickets(more)?,
            "usage" => Command::Usage { of: self.usage()?, form: self.form() },
            "list" => Command::List { query: self.query()?, form: self.form() },
            "delete" => self.delete()?,
            "purge" => self.purge()?,
            "export" => Command::Export { file: file(name, more)?, form: self.form() },
            "import" => Command::Import { file: file(name, more)?, form: self.form() },
            "move-storage" => Command::MoveStorage { doing: self.doing(), form: self.form() },
            _ => Command::Serve,
        })
    }

    fn check_options(&self, command: &str) -> Result<(), UsageError> {
        let mut foreign =
            OPTIONS.iter().filter(|(name, owners, _)| self.has(name) && !owners.contains(&command));
        match foreign.next() {
            Some((name, owners, _)) => Err(UsageError(format!("{name} belongs to {}", any_of(owners)))),
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
            return Err(UsageError("usage: channel create CHANNEL --owner JID".to_owned()));
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

    fn tickets(&self, words: &[OsString]) -> Result<Command, UsageError> {
        let user = self.value("--user")?;
        let is_revoke = matches!(words, [word] if word == "revoke");
        if !is_revoke || self.has("--all") == user.is_some() {
            return Err(UsageError("usage: tickets revoke --all | --user JID".to_owned()));
        }
        Ok(Command::RevokeTickets { user, form: self.form() })
    }

    fn usage(&self) -> Result<UsageOf, UsageError> {
        match (self.value("--user")?, self.value("--channel")?) {
            (None, None) => Ok(UsageOf::Everybody),
            (Some(user), None) => Ok(UsageOf::User(user)),
            (None, Some(channel)) => Ok(UsageOf::Channel(channel)),
            _ => Err(UsageError("usage takes --user or --channel, not both".to_owned())),
        }
    }

    fn query(&self) -> Result<FileQuery, UsageError> {
        let query = FileQuery {
            user: self.value("--user")?,
            channel: self.value("--channel")?,
            older_than: self.named("--older-than", age, "a time with a unit, such as 30d, 12h or 90m")?,
            purpose: self.named(
                "--purpose",
                Purpose::from_name,
                &any_of(&Purpose::ALL.map(Purpose::name)),
            )?,
            kind: self.named("--kind", kind, "media or upload")?,
        };
        if query.purpose.is_some() && (query.kind == Some(FileKind::Media) || query.channel.is_some()) {
            return Err(UsageError("media have no purpose: leave out --purpose".to_owned()));
        }
        if query.channel.is_some() && query.kind == Some(FileKind::Upload) {
            return Err(UsageError("uploads are in no channel: leave out --channel".to_owned()));
        }
        Ok(query)
    }

    fn delete(&self) -> Result<Command, UsageError> {
        let query = self.query()?;
        if query == FileQuery::default() {
            let what = "delete needs an option that says which files, such as --user JID or --older-than 30d";
            return Err(UsageError(what.to_owned()));
        }
        Ok(Command::Delete { query, doing: self.doing(), form: self.form() })
    }

    fn purge(&self) -> Result<Command, UsageError> {
        let user = self.value("--user")?.ok_or_else(|| UsageError("purge needs --user JID".to_owned()))?;
        Ok(Command::Purge { user, doing: self.doing(), form: self.form() })
    }

    fn doing(&self) -> Doing {
        if self.has("--yes") { Doing::Really } else { Doing::Trial }
    }

    fn form(&self) -> OutputForm {
        if self.has("--json") { OutputForm::Json } else { OutputForm::Text }
    }

    /// The value of an option that is one of some words.
    fn named<T>(
        &self,
        option: &str,
        parse: impl Fn(&str) -> Option<T>,
        wanted: &str,
    ) -> Result<Option<T>, UsageError> {
        let Some(value) = self.options.get(option) else { return Ok(None) };
        let parsed = value.to_str().and_then(parse);
        parsed.map(Some).ok_or_else(|| UsageError(format!("{option}: {value:?} is not {wanted}")))
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

/// The only word behind a command.
fn file(command: &str, words: &[OsString]) -> Result<PathBuf, UsageError> {
    match words {
        [file] if !file.is_empty() => Ok(PathBuf::from(file)),
        _ => Err(UsageError(format!("usage: {command} FILE"))),
    }
}

/// A time with its unit. Without one, 30 could mean seconds or days.
fn age(text: &str) -> Option<Duration> {
    let has_unit = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    units::time(text, Duration::from_secs(1)).filter(|_| has_unit)
}

fn kind(text: &str) -> Option<FileKind> {
    [FileKind::Media, FileKind::Upload].into_iter().find(|kind| kind.name() == text)
}

/// Words in a sentence: "a, b or c".
fn any_of(words: &[&str]) -> String {
    match words {
        [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => words.concat(),
    }
}

/// An address of XMPP; `place` says where it stands.
fn address<T: FromStr>(place: &str, value: &OsStr) -> Result<T, UsageError> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| UsageError(format!("{place}: {value:?} is not an address such as name@example.com")))
}

fn unknown(what: &str, argument: &OsStr, known: impl Iterator<Item = &'static str>) -> UsageError {
    let hint = nearest(&argument.to_string_lossy(), known);
    let hint = hint.map_or(String::new(), |known| format!("; did you mean {known}?"));
    UsageError(format!("unknown {what} {argument:?}{hint}"))
}
