use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::arguments::{COMMANDS, OPTIONS};
use super::{Command, HELP, parse, status};
use crate::daemon::{CheckExtent, Doing, FileQuery, OutputForm, Repair, UsageOf};
use crate::error::Kind;
use crate::model::{FileKind, Purpose};

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
        ("tickets revoke --all", None, Command::RevokeTickets { user: None, form: OutputForm::Text }),
        ("move-storage", None, Command::MoveStorage { doing: Doing::Trial, form: OutputForm::Text }),
        (
            "--yes move-storage --json",
            None,
            Command::MoveStorage { doing: Doing::Really, form: OutputForm::Json },
        ),
        (
            "tickets --user a@b revoke --json",
            None,
            Command::RevokeTickets { user: "a@b".parse().ok(), form: OutputForm::Json },
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
fn command_lines_about_stored_files() {
    let (text, json) = (OutputForm::Text, OutputForm::Json);
    let user = || "a@b".parse().unwrap();
    let of_user = || FileQuery { user: Some(user()), ..FileQuery::default() };
    let all = FileQuery {
        user: Some(user()),
        older_than: Some(Duration::from_secs(30 * 86_400)),
        purpose: Some(Purpose::Message),
        kind: Some(FileKind::Upload),
        channel: None,
    };
    let channel = FileQuery {
        channel: Some("c@d".parse().unwrap()),
        kind: Some(FileKind::Media),
        ..FileQuery::default()
    };
    let old = FileQuery { older_than: Some(Duration::from_secs(90 * 60)), ..FileQuery::default() };
    let table = [
        ("usage", Command::Usage { of: UsageOf::Everybody, form: text }),
        ("usage --json --user A@b", Command::Usage { of: UsageOf::User(user()), form: json }),
        ("--channel c@d usage", Command::Usage { of: UsageOf::Channel("c@d".parse().unwrap()), form: text }),
        ("list", Command::List { query: FileQuery::default(), form: text }),
        (
            "list --user a@b --older-than 30d --purpose message --kind upload --json",
            Command::List { query: all.clone(), form: json },
        ),
        ("list --channel c@d --kind media", Command::List { query: channel, form: text }),
        ("delete --user a@b", Command::Delete { query: of_user(), doing: Doing::Trial, form: text }),
        ("delete --older-than 90m --yes", Command::Delete { query: old, doing: Doing::Really, form: text }),
        ("purge --user a@b", Command::Purge { user: user(), doing: Doing::Trial, form: text }),
        ("purge --yes --user a@b --json", Command::Purge { user: user(), doing: Doing::Really, form: json }),
        ("export x.json", Command::Export { file: "x.json".into(), form: text }),
        ("import --json x.json", Command::Import { file: "x.json".into(), form: json }),
    ];
    for (line, command) in table {
        assert_eq!(parsed(line), Ok((None, command)), "{line}");
    }
}

#[test]
fn invalid_command_lines_about_stored_files() {
    let age =
        |text: &str| format!("--older-than: \"{text}\" is not a time with a unit, such as 30d, 12h or 90m");
    let filter = "delete needs an option that says which files, such as --user JID or --older-than 30d";
    let no_purpose = "media have no purpose: leave out --purpose";
    let table = [
        ("usage --user a@b --channel c@d", "usage takes --user or --channel, not both".to_owned()),
        ("usage --yes", "--yes belongs to drop-schema, delete, purge or move-storage".to_owned()),
        ("usage --older-than 1d", "--older-than belongs to list or delete".to_owned()),
        ("list more", "more than one command".to_owned()),
        ("list --user a@b/c", "--user: \"a@b/c\" is not an address such as name@example.com".to_owned()),
        ("list --older-than 30", age("30")),
        ("list --older-than d", age("d")),
        ("list --older-than -1d", age("-1d")),
        ("list --older-than 1w", age("1w")),
        ("list --older-than 99999999999999d", age("99999999999999d")),
        (
            "list --purpose all",
            "--purpose: \"all\" is not message, profile, ephemeral or permanent".to_owned(),
        ),
        ("list --kind medias", "--kind: \"medias\" is not media or upload".to_owned()),
        ("list --kind", "--kind needs media or upload".to_owned()),
        ("list --kind media --purpose message", no_purpose.to_owned()),
        ("list --channel c@d --purpose message", no_purpose.to_owned()),
        ("list --channel c@d --kind upload", "uploads are in no channel: leave out --channel".to_owned()),
        ("delete", filter.to_owned()),
        ("delete --yes --json", filter.to_owned()),
        ("purge", "purge needs --user JID".to_owned()),
        ("purge --yes", "purge needs --user JID".to_owned()),
        ("purge --user a@b --kind media", "--kind belongs to list or delete".to_owned()),
        ("export", "usage: export FILE".to_owned()),
        ("export a b", "usage: export FILE".to_owned()),
        ("import", "usage: import FILE".to_owned()),
        ("import a --yes", "--yes belongs to drop-schema, delete, purge or move-storage".to_owned()),
        (
            "check --json",
            "--json belongs to tickets, usage, list, delete, purge, export, import or move-storage"
                .to_owned(),
        ),
    ];
    for (line, expected) in table {
        assert_eq!(parsed(line), Err(expected), "{line}");
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
        ("drop-schema", "drop-schema removes all metadata: add --yes to confirm"),
        ("check --yes", "--yes belongs to drop-schema, delete, purge or move-storage"),
        ("--repair", "--repair belongs to fsck"),
        ("fsck --force", "--force belongs to fsck --repair"),
        ("check --force", "--force belongs to fsck"),
        ("fsck --yes", "--yes belongs to drop-schema, delete, purge or move-storage"),
        ("fsck --from-java", "--from-java belongs to check"),
        ("--from-java", "--from-java belongs to check"),
        ("serve --strict", "--strict belongs to check"),
        ("check --user", "--user needs the address of a user"),
        ("check --user a@b", "--channel and --user go together"),
        ("check --user a@b --user a@b", "--user is given twice"),
        ("check --user a@b --channel x", "--channel: \"x\" is not an address such as name@example.com"),
        ("check --local --user a@b --channel c@d", "--local asks no channel service: leave it out"),
        ("--owner a@b fsck", "--owner belongs to channel"),
        ("tickets", "usage: tickets revoke --all | --user JID"),
        ("tickets revoke", "usage: tickets revoke --all | --user JID"),
        ("tickets revoke --all --user a@b", "usage: tickets revoke --all | --user JID"),
        ("tickets revoke all --all", "usage: tickets revoke --all | --user JID"),
        ("tickets revoke --user a@", "--user: \"a@\" is not an address such as name@example.com"),
        ("serve --all", "--all belongs to tickets"),
        ("channel", "usage: channel create CHANNEL --owner JID"),
        ("channel make c@d", "unknown command \"make\""),
        ("channel create c@d", "channel create needs --owner JID"),
        ("channel create c --owner a@b", "CHANNEL: \"c\" is not an address such as name@example.com"),
        ("channel create c@d --owner a@b/r", "--owner: \"a@b/r\" is not an address such as name@example.com"),
        ("channel create c@d --owner a@b --password-file p", "--password-file goes together with --as"),
    ];
    for (line, expected) in table {
        assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
    }
    let foreign = OsString::from_vec(b"\xff".to_vec());
    assert_eq!(parse([foreign.clone()].into_iter()).unwrap_err().to_string(), "unknown command \"\\xFF\"");
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
