//! The command line, parsed without I/O.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};
use media_server::model::{Channel, Purpose};

use crate::address::Target;

/// The text of `--help`.
pub const HELP: &str = "\
usage: buddycloud-media [options] COMMAND

  put CHANNEL FILE|FOLDER...       upload; prints a URL for each file
  get URL|CHANNEL/ID [-o FILE]     download; -o - writes to standard output
  ls CHANNEL                       list, the newest first
  rm URL|CHANNEL/ID...             delete
  set URL|CHANNEL/ID [--title T] [--description D] [--name N]
  avatar CHANNEL FILE              set the channel's picture
  ticket CHANNEL [--post]          print a ticket for many requests
  slot [--purpose P] FILE|FOLDER...
                                   upload by XEP-0363 to any XMPP server; P is
                                   message, profile, ephemeral or permanent
  quota                            show how much you store, and your limit

options: --json, --quiet, --verbose, --config FILE, --version, --help

The account is in the file config: jid, and password.file or password.command.
buddycloud-media(1) explains everything.
";

/// A valid command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Options of all commands.
    pub options: Options,
    /// The command.
    pub command: Command,
}

/// The options of all commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Results as JSON.
    pub json: bool,
    /// Nothing but results and failures.
    pub quiet: bool,
    /// Each step is told.
    pub verbose: bool,
    /// The configuration file.
    pub config: Option<PathBuf>,
}

/// The command.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Upload to a channel.
    Put { channel: Channel, paths: Vec<PathBuf> },
    /// Download.
    Get { target: Target, output: Output },
    /// List a channel.
    List { channel: Channel },
    /// Delete.
    Remove { targets: Vec<Target> },
    /// Change the texts of a media.
    Set { target: Target, changes: Changes },
    /// Set a channel's picture.
    Avatar { channel: Channel, path: PathBuf },
    /// Print a ticket.
    Ticket { channel: Channel, post: bool },
    /// Upload by a slot.
    Slot { purpose: Option<Purpose>, paths: Vec<PathBuf> },
    /// Tell how much is used.
    Quota,
    /// Show the help.
    Help,
    /// Show the version.
    Version,
}

/// Where a download goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// To the current directory, under the media's file name.
    Named,
    /// To this file.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

/// The texts that `set` changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The title.
    pub title: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The file name.
    pub name: Option<String>,
}

/// Reads the arguments behind the program's name; the error is a sentence for the user.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let mut reader = Reader::read(arguments)?;
    if reader.help {
        return Ok(Invocation { options: reader.options, command: Command::Help });
    }
    if reader.version {
        return Ok(Invocation { options: reader.options, command: Command::Version });
    }
    let command = reader.command()?;
    reader.used_up()?;
    Ok(Invocation { options: reader.options, command })
}

/// The words and options of a command line, before anybody asks whether they belong together.
#[derive(Default)]
struct Reader {
    options: Options,
    help: bool,
    version: bool,
    words: std::collections::VecDeque<OsString>,
    output: Option<PathBuf>,
    changes: Changes,
    post: bool,
    purpose: Option<String>,
}

impl Reader {
    fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut parser = Parser::from_args(arguments);
        let mut reader = Self::default();
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                Arg::Long("json") => reader.options.json = true,
                Arg::Short('q') | Arg::Long("quiet") => reader.options.quiet = true,
                Arg::Short('v') | Arg::Long("verbose") => reader.options.verbose = true,
                Arg::Short('c') | Arg::Long("config") => {
                    reader.options.config = Some(value(&mut parser)?.into());
                }
                Arg::Short('h') | Arg::Long("help") => reader.help = true,
                Arg::Short('V') | Arg::Long("version") => reader.version = true,
                Arg::Short('o') | Arg::Long("output") => reader.output = Some(value(&mut parser)?.into()),
                Arg::Long("title") => reader.changes.title = Some(text(&mut parser)?),
                Arg::Long("description") => reader.changes.description = Some(text(&mut parser)?),
                Arg::Long("name") => reader.changes.name = Some(text(&mut parser)?),
                Arg::Long("post") => reader.post = true,
                Arg::Long("purpose") => reader.purpose = Some(text(&mut parser)?),
                Arg::Value(word) => reader.words.push_back(word),
                other => return Err(other.unexpected().to_string()),
            }
        }
        Ok(reader)
    }

    fn command(&mut self) -> Result<Command, String> {
        let name = self.words.pop_front().ok_or("a command is missing")?;
        Ok(match name.to_str().unwrap_or_default() {
            "put" => Command::Put { channel: self.channel()?, paths: self.paths()? },
            "get" => Command::Get { target: self.target()?, output: self.output() },
            "ls" => Command::List { channel: self.channel()? },
            "rm" => Command::Remove { targets: self.targets()? },
            "set" => Command::Set { target: self.target()?, changes: self.changes()? },
            "avatar" => Command::Avatar { channel: self.channel()?, path: self.word("a file")?.into() },
            "ticket" => Command::Ticket { channel: self.channel()?, post: std::mem::take(&mut self.post) },
            "slot" => Command::Slot { purpose: self.purpose()?, paths: self.paths()? },
            "quota" => Command::Quota,
            _ => return Err(format!("unknown command {}", name.display())),
        })
    }

    /// The arguments that the command has not taken.
    fn used_up(&self) -> Result<(), String> {
        if let Some(word) = self.words.front() {
            return Err(format!("unexpected argument {}", word.display()));
        }
        let options = [
            ("-o", self.output.is_some()),
            ("--title, --description and --name", self.changes != Changes::default()),
            ("--post", self.post),
            ("--purpose", self.purpose.is_some()),
        ];
        match options.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(format!("{name} is not for this command")),
            None => Ok(()),
        }
    }

    fn word(&mut self, what: &str) -> Result<OsString, String> {
        self.words.pop_front().ok_or_else(|| format!("{what} is missing"))
    }

    fn channel(&mut self) -> Result<Channel, String> {
        let word = self.word("the channel")?;
        let channel = word.to_str().and_then(|word| word.parse().ok());
        channel.ok_or_else(|| {
            format!("{} is not the address of a channel, such as room@example.com", word.display())
        })
    }

    fn target(&mut self) -> Result<Target, String> {
        let word = self.word("the media (its URL, or CHANNEL/ID)")?;
        word.to_str().ok_or_else(|| format!("{} is not UTF-8", word.display()))?.parse()
    }

    fn targets(&mut self) -> Result<Vec<Target>, String> {
        let mut targets = vec![self.target()?];
        while !self.words.is_empty() {
            targets.push(self.target()?);
        }
        Ok(targets)
    }

    fn paths(&mut self) -> Result<Vec<PathBuf>, String> {
        let first = self.word("a file")?;
        Ok(std::iter::once(first).chain(self.words.drain(..)).map(PathBuf::from).collect())
    }

    fn output(&mut self) -> Output {
        match self.output.take() {
            None => Output::Named,
            Some(path) if path.as_os_str() == "-" => Output::Stdout,
            Some(path) => Output::File(path),
        }
    }

    fn changes(&mut self) -> Result<Changes, String> {
        let changes = std::mem::take(&mut self.changes);
        if changes == Changes::default() {
            return Err("set needs --title, --description or --name".to_owned());
        }
        Ok(changes)
    }

    fn purpose(&mut self) -> Result<Option<Purpose>, String> {
        let Some(name) = self.purpose.take() else { return Ok(None) };
        let known = Purpose::from_name(&name);
        let wrong = || format!("{name} is not a purpose: use message, profile, ephemeral or permanent");
        Ok(Some(known.ok_or_else(wrong)?))
    }
}

fn value(parser: &mut Parser) -> Result<OsString, String> {
    parser.value().map_err(|error| error.to_string())
}

fn text(parser: &mut Parser) -> Result<String, String> {
    value(parser)?.string().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn channel() -> Channel {
        "room@example.com".parse().unwrap()
    }

    #[test]
    fn commands_are_read() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let target = || "room@example.com/abc".parse::<Target>().unwrap();
        for (line, command) in [
            ("put room@example.com a b", Command::Put { channel: channel(), paths: paths(&["a", "b"]) }),
            ("put room@example.com -- -x", Command::Put { channel: channel(), paths: paths(&["-x"]) }),
            ("get room@example.com/abc", Command::Get { target: target(), output: Output::Named }),
            ("get -o - room@example.com/abc", Command::Get { target: target(), output: Output::Stdout }),
            (
                "get room@example.com/abc -oa",
                Command::Get { target: target(), output: Output::File("a".into()) },
            ),
            ("ls room@example.com", Command::List { channel: channel() }),
            (
                "rm room@example.com/abc room@example.com/abc",
                Command::Remove { targets: vec![target(), target()] },
            ),
            (
                "set room@example.com/abc --title=T --name N",
                Command::Set {
                    target: target(),
                    changes: Changes { title: Some("T".into()), description: None, name: Some("N".into()) },
                },
            ),
            ("avatar room@example.com a", Command::Avatar { channel: channel(), path: "a".into() }),
            ("ticket room@example.com", Command::Ticket { channel: channel(), post: false }),
            ("ticket --post room@example.com", Command::Ticket { channel: channel(), post: true }),
            ("slot a", Command::Slot { purpose: None, paths: paths(&["a"]) }),
            (
                "slot --purpose profile a",
                Command::Slot { purpose: Some(Purpose::Profile), paths: paths(&["a"]) },
            ),
            ("quota", Command::Quota),
            ("--help", Command::Help),
            ("put -V", Command::Version),
        ] {
            assert_eq!(parsed(line).map(|invocation| invocation.command), Ok(command), "{line}");
        }
    }

    #[test]
    fn options_stand_anywhere() {
        let expected = Options { json: true, quiet: true, verbose: true, config: Some("c".into()) };
        for line in
            ["--json -q -v -c c quota", "quota --json --quiet --verbose --config=c", "-qv --json quota -cc"]
        {
            assert_eq!(parsed(line).unwrap().options, expected, "{line}");
        }
    }

    #[test]
    fn wrong_lines_are_refused_in_words() {
        for (line, expected) in [
            ("", "a command is missing"),
            ("fly", "unknown command fly"),
            ("put", "the channel is missing"),
            ("put room@example.com", "a file is missing"),
            ("put example.com a", "example.com is not the address of a channel, such as room@example.com"),
            ("get", "the media (its URL, or CHANNEL/ID) is missing"),
            ("get nothing", "nothing is neither CHANNEL/ID nor the URL of a media"),
            ("get room@example.com/abc more", "unexpected argument more"),
            ("set room@example.com/abc", "set needs --title, --description or --name"),
            ("ls room@example.com -o x", "-o is not for this command"),
            ("put room@example.com a --post", "--post is not for this command"),
            ("slot --purpose fun a", "fun is not a purpose: use message, profile, ephemeral or permanent"),
            ("quota --purpose", "missing argument for option '--purpose'"),
            ("quota --fast", "invalid option '--fast'"),
            ("quota --json=yes", "unexpected argument for option '--json': \"yes\""),
        ] {
            assert_eq!(parsed(line).unwrap_err(), expected, "{line}");
        }
    }

    #[test]
    fn the_help_fits_a_screen() {
        assert!(HELP.lines().count() <= 24, "{}", HELP.lines().count());
        assert!(HELP.lines().all(|line| line.len() <= 80));
    }
}
