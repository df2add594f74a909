use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

use super::arguments::{COMMANDS, OPTIONS};
use super::{Command, HELP, parse, status};
use crate::daemon::{CheckExtent, Repair};
use crate::error::Kind;

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
        ("tickets revoke --all", None, Command::RevokeTickets { user: None }),
        ("tickets --user a@b revoke", None, Command::RevokeTickets { user: "a@b".parse().ok() }),
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
        ("tickets", "say: tickets revoke --all, or tickets revoke --user JID"),
        ("tickets revoke", "say: tickets revoke --all, or tickets revoke --user JID"),
        ("tickets revoke --all --user a@b", "say: tickets revoke --all, or tickets revoke --user JID"),
        ("tickets revoke all --all", "say: tickets revoke --all, or tickets revoke --user JID"),
        ("tickets revoke --user a@", "--user: \"a@\" is no address such as name@example.com"),
        ("serve --all", "--all belongs to tickets"),
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
