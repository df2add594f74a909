//! Modules are layers: an import points down, or stays within its layer where the table says so.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What all of the layers stand on, and what these modules may import of one another.
const GROUND: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("limits", &[]),
    ("cache", &[]),
    ("clock", &[]),
    ("secret", &[]),
    ("metrics", &[]),
    ("sys", &[]),
    ("log", &["error"]),
    ("testing", &[]),
];

/// Each layer, and the layers that it may import besides itself and the ground.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("media_type", &["model"]),
    ("http", &["model", "media_type"]),
    ("xmpp", &["model"]),
    ("store", &["model"]),
    ("preview", &["model", "media_type"]),
    ("media", &["model", "media_type", "store", "preview"]),
    // Of xmpp only the stanza types; `only_stanza_types_reach_the_gate` holds that.
    ("access", &["model", "xmpp"]),
    ("web", &["model", "media_type", "http", "store", "preview", "media", "access"]),
    ("admin", &["model", "http", "store", "media", "access"]),
    ("config", &["model", "http", "xmpp", "store", "preview", "media", "access", "web"]),
    ("daemon", &["model", "http", "xmpp", "store", "preview", "media", "access", "web", "admin", "config"]),
    // Of preview only the child that the program starts itself as.
    ("cli", &["config", "daemon", "preview"]),
];

/// What access may name of xmpp: values and the trait it implements, nothing that owns a socket.
const STANZA_TYPES: &[&str] = &["Element", "Handler", "Link", "LinkEvent", "Outbox", "ns"];

#[test]
fn imports_point_down() {
    let ground: BTreeMap<&str, &[&str]> = GROUND.iter().copied().collect();
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let Some(allowed) = layers.get(module.as_str()).or_else(|| ground.get(module.as_str())) else {
            wrong.push(format!("{path}: the module {module} has no layer"));
            continue;
        };
        let stands_on_ground = layers.contains_key(module.as_str());
        for import in imports(&text) {
            let target = import.split("::").next().unwrap_or_default();
            // `testing` is compiled into tests only.
            let own = target == module || target == "testing" || allowed.contains(&target);
            let ground = stands_on_ground && ground.contains_key(target);
            if !(own || ground) {
                wrong.push(format!("{path}: {module} imports {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point up:\n{}", wrong.join("\n"));
}

#[test]
fn only_stanza_types_reach_the_gate() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        if module != "access" {
            continue;
        }
        for import in imports(&text) {
            let Some(item) = import.strip_prefix("xmpp::") else { continue };
            if !STANZA_TYPES.contains(&item.split("::").next().unwrap_or_default()) {
                wrong.push(format!("{path}: {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "the gate reaches into xmpp:\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_them() {
    let text = "use crate::model::{Jid, Media};\nuse crate::{error::Error, http};\nlet x = crate::sys::wait();\n// crate::web\n";
    let expected = ["error::Error", "http", "model::Jid", "model::Media", "sys::wait"];
    let mut found = imports(text);
    found.sort();
    assert_eq!(found, expected);
}

/// Every source file: its top-level module, its path, its text without comments and unit tests.
fn sources() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut |path| {
        let inner = path.strip_prefix(&root).expect("below src").to_str().expect("UTF-8").to_owned();
        let module = inner.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        if module != "main" && module != "lib" {
            found.push((module, inner, fs::read_to_string(path).expect("readable")));
        }
    });
    assert!(found.len() > 10, "no sources found below {}", root.display());
    found
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path);
        }
    }
}

/// Every path behind `crate::`, groups taken apart.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default()
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        expand(&code[start + "crate::".len()..], "", &mut found);
    }
    found
}

/// Reads one path or group at the start of `code`; returns how many bytes it took.
fn expand(code: &str, prefix: &str, found: &mut Vec<String>) -> usize {
    if !code.starts_with('{') {
        let name = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '*';
        let length = code.find(|c| !name(c)).unwrap_or(code.len());
        let path = format!("{prefix}{}", &code[..length]);
        if code[length..].starts_with('{') {
            return length + expand(&code[length..], &path, found);
        }
        found.push(path);
        return length;
    }
    let mut at = 1;
    while at < code.len() && !code[at..].starts_with('}') {
        let next = code[at..].chars().next().unwrap_or('}');
        if next == ',' || next.is_whitespace() {
            at += next.len_utf8();
        } else {
            at += expand(&code[at..], prefix, found).max(1);
        }
    }
    at + 1
}
