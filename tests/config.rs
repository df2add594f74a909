//! The table of settings, the example file and the manual say the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use media_server::config::{Change, Config, DefaultValue, SETTINGS, Setting, Source, parse};

const EXAMPLE: &str = "etc/mediaserver.properties";
const MANUAL: &str = "man/mediaserver.properties.5";

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("readable")
}

fn known() -> BTreeSet<String> {
    SETTINGS.iter().map(|setting| setting.key.to_owned()).collect()
}

fn read(text: &str) -> Config {
    let entries = parse(EXAMPLE, text.as_bytes()).expect("properties");
    let (config, notices) = Config::read(&Source { name: EXAMPLE.to_owned(), entries }).expect("valid");
    // The example has the settings without effect, too.
    assert!(notices.iter().all(|notice| notice.text.contains("http.downloads.max")), "{notices:?}");
    config
}

/// Key, value, and whether it is commented out, of each setting in the example: `#key = value` is one, `# text` not.
fn example() -> Vec<(String, String, bool)> {
    let text = text(EXAMPLE);
    let lines = text.lines().filter(|line| !line.starts_with("# ") && *line != "#" && !line.is_empty());
    let setting = |line: &str| {
        let (key, value) = line.trim_start_matches('#').split_once(" =").unwrap_or_else(|| panic!("{line}"));
        (key.to_owned(), value.trim().to_owned(), line.starts_with('#'))
    };
    lines.map(setting).collect()
}

#[test]
fn the_example_has_every_setting_once() {
    let keys: Vec<_> = example().into_iter().map(|(key, ..)| key).collect();
    assert_eq!(keys.len(), SETTINGS.len());
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), known());
}

#[test]
fn the_example_comments_out_defaults_and_sets_mandatory_keys() {
    for (key, value, commented) in example() {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).expect("known");
        assert_eq!(commented, setting.default != DefaultValue::Mandatory, "{key}");
        if let DefaultValue::Fixed(default) = setting.default {
            assert_eq!(value, default, "{key}");
        }
    }
}

#[test]
fn the_example_is_valid_with_and_without_its_comments() {
    let plain = read(&text(EXAMPLE));
    let all: String = example().iter().map(|(key, value, _)| format!("{key} = {value}\n")).collect();
    // A store for the files needs PostgreSQL.
    let on_postgresql = |line: &str| {
        let is_url = line.starts_with("jdbc.db.url =");
        format!("{}\n", if is_url { "jdbc.db.url = jdbc:postgresql:media" } else { line })
    };
    let all: String = all.lines().map(on_postgresql).collect();
    let whole = read(&all);
    let component = |config: Config| (config.xmpp.component.jid, config.xmpp.client.username);
    assert_eq!(component(whole), component(plain));
}

/// Each setting of the manual with its text, white space collapsed.
fn manual() -> Vec<(String, String)> {
    let text = text(MANUAL);
    let items = text.split("\n.It Ic ").skip(1);
    let item = |item: &str| {
        let (key, rest) = item.split_once('\n').expect("a key and its text");
        (key.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    items.map(item).collect()
}

/// The text of the manual about a setting besides its purpose.
fn facts(setting: &Setting) -> String {
    let default = match setting.default {
        DefaultValue::Fixed(text) => format!("default {text}"),
        DefaultValue::Derived(text) => format!("default: {text}"),
        DefaultValue::Mandatory => "mandatory".to_owned(),
        DefaultValue::MandatoryForHttps => "mandatory for HTTPS".to_owned(),
    };
    let reloaded = if setting.change == Change::Restart { "" } else { "; reloaded" };
    format!("({}; {default}{reloaded})", (setting.describe)())
}

#[test]
fn the_manual_has_every_setting_with_its_facts() {
    let manual = manual();
    let keys: Vec<_> = manual.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, SETTINGS.iter().map(|setting| setting.key).collect::<Vec<_>>(), "in the table's order");
    for (setting, (key, text)) in SETTINGS.iter().zip(&manual) {
        assert!(text.contains(&facts(setting)), "{key}: {} is not in: {text}", facts(setting));
    }
}

#[test]
fn the_manual_begins_with_the_help_of_each_setting() {
    for (setting, (key, text)) in SETTINGS.iter().zip(&manual()) {
        // Markup stands at the beginning of a line, which is a blank here.
        let text = [" .Ic", " .Pa", " .Ev", " .Pq", " .Xr"]
            .iter()
            .fold(text.clone(), |text, mark| text.replace(mark, ""));
        let text = text.trim_start_matches(".Pa ");
        let help = setting.help.split([';', ':']).next().unwrap_or_default().trim_end_matches('.');
        assert!(text.starts_with(help), "{key}: the manual does not begin with: {help}");
    }
}

#[test]
fn the_example_of_the_manual_is_all_that_is_needed() {
    let text = text(MANUAL);
    let (_, rest) = text.split_once("\n.Bd -literal -offset indent\n").expect("a display");
    let (display, _) = rest.split_once("\n.Ed").expect("its end");
    read(display);
    for (index, line) in display.lines().enumerate() {
        let others = display.lines().enumerate().filter(|(other, _)| *other != index);
        let others: String = others.map(|(_, line)| format!("{line}\n")).collect();
        let entries = parse(MANUAL, others.as_bytes()).expect("properties");
        let source = Source { name: MANUAL.to_owned(), entries };
        assert!(Config::read(&source).is_err(), "not needed: {line}");
    }
}
