//! Modules are layers: an import points down, or stays within its layer where the table says so. The same holds for the
//! folders of `src/http` and of `bench`, where the files of one folder do not import one another in a circle either.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What all of the layers stand on, and what these modules may import of one another.
const GROUND: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("limits", &[]),
    ("cache", &[]),
    ("chore", &["error", "limits", "metrics"]),
    ("clock", &[]),
    ("hex", &[]),
    ("secret", &[]),
    ("metrics", &[]),
    ("remote", &[]),
    ("sys", &[]),
    ("https", &["error"]),
    ("log", &["clock", "error", "limits"]),
    ("testing", &[]),
];

/// Each layer, and the layers that it may import besides itself and the ground.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("media_type", &["model"]),
    ("http", &["model", "media_type"]),
    ("xmpp", &["model"]),
    ("s3", &[]),
    ("store", &["model", "s3"]),
    ("preview", &["model", "media_type"]),
    ("media", &["model", "media_type", "store", "preview"]),
    ("tokens", &["store"]),
    ("tickets", &["model", "store", "tokens"]),
    ("uploads", &["model", "media_type", "store", "tokens"]),
    ("transfer", &["model", "media_type", "store", "uploads"]),
    // Of xmpp only the stanza types; `only_stanza_types_reach_the_gate_and_the_component` holds that.
    ("access", &["model", "xmpp"]),
    ("web", &["model", "media_type", "http", "store", "preview", "media", "tickets", "uploads", "access"]),
    ("cluster", &["model", "store", "xmpp", "access"]),
    // Of xmpp the same types.
    ("component", &["model", "http", "xmpp", "store", "media", "uploads", "access"]),
    ("admin", &["model", "http", "store", "media", "uploads", "access", "cluster"]),
    (
        "config",
        &[
            "model",
            "http",
            "xmpp",
            "s3",
            "store",
            "preview",
            "media",
            "uploads",
            "access",
            "web",
            "component",
        ],
    ),
    (
        "daemon",
        &[
            "model",
            "http",
            "xmpp",
            "s3",
            "store",
            "cluster",
            "preview",
            "media",
            "tickets",
            "uploads",
            "access",
            "web",
            "transfer",
            "component",
            "admin",
            "config",
        ],
    ),
    // Of preview only the child that the program starts itself as.
    ("cli", &["model", "config", "daemon", "preview"]),
    // A program of its own, `src/bin/buddycloud-media`. A slot carries the type that its file is served with.
    ("client", &["model", "media_type", "xmpp"]),
];

/// What access and component may name of xmpp: values and the trait it implements, nothing that owns a socket.
const STANZA_TYPES: &[&str] = &["Element", "Handler", "Link", "LinkEvent", "Outbox", "ns"];

/// The files and folders of `src/http` from bottom to top, and what each may import of the others.
const HTTP: Tree = Tree {
    root: "src",
    below: "http/",
    layers: &[
        ("lock", &[]),
        ("settings", &[]),
        ("message", &[]),
        ("form", &["message"]),
        ("limits", &["lock", "message"]),
        ("connection", &["settings", "message", "limits"]),
        ("runtime", &["lock", "settings", "message", "limits", "connection"]),
        ("exchange", &["lock", "settings", "message", "limits", "connection", "runtime"]),
        ("monitor", &["connection", "runtime"]),
        ("server", &["settings", "limits", "connection", "runtime", "exchange", "monitor"]),
        (
            "mod",
            &[
                "settings",
                "message",
                "form",
                "limits",
                "connection",
                "runtime",
                "exchange",
                "monitor",
                "server",
            ],
        ),
    ],
    upward: &[],
    circles: &[],
};

/// The same for the program of `make bench`; `support` is what it shares with the tests.
const BENCH: Tree = Tree {
    root: "bench",
    below: "",
    layers: &[
        ("support", &[]),
        ("process", &[]),
        ("slow", &[]),
        ("rounds", &["process"]),
        ("http", &["rounds"]),
        ("site", &["support"]),
        ("component", &["support", "rounds", "http"]),
        ("uploads", &["support", "rounds", "http", "site"]),
        ("peers", &["support", "uploads"]),
        ("report", &["rounds"]),
        ("options", &["report"]),
        ("plot", &["report"]),
        (
            "rows",
            &[
                "support",
                "process",
                "slow",
                "rounds",
                "http",
                "site",
                "component",
                "uploads",
                "peers",
                "options",
                "report",
            ],
        ),
        ("main", &["options", "report", "plot", "rows"]),
    ],
    upward: &[],
    circles: &[],
};

/// A tree whose files are in order, and the faults that it still has.
struct Tree {
    /// The folder of the crate.
    root: &'static str,
    /// The part of it that is looked at.
    below: &'static str,
    /// Files and folders from bottom to top: each may import those that it lists, and itself.
    layers: &'static [(&'static str, &'static [&'static str])],
    /// Imports that point up, to be mended. A new one is refused, and so is an entry that is mended.
    upward: &'static [(&'static str, &'static str)],
    /// Files that import one another in a circle, to be mended likewise.
    circles: &'static [&'static [&'static str]],
}

#[test]
fn imports_within_http_point_down() {
    assert_points_down(&HTTP);
}

#[test]
fn imports_within_the_benchmark_point_down() {
    assert_points_down(&BENCH);
}

#[test]
fn files_of_http_import_one_another_in_no_circle() {
    assert_no_circles(&HTTP);
}

#[test]
fn files_of_the_benchmark_import_one_another_in_no_circle() {
    assert_no_circles(&BENCH);
}

fn assert_points_down(tree: &Tree) {
    let mut below = BTreeSet::new();
    for (layer, allowed) in tree.layers {
        assert!(
            allowed.iter().all(|name| below.contains(name)),
            "{layer} may import a layer that is not below it"
        );
        below.insert(layer);
    }
    let layers: BTreeMap<&str, &[&str]> = tree.layers.iter().copied().collect();
    let (mut wrong, mut known, mut seen) =
        (Vec::new(), BTreeSet::new(), BTreeSet::from(["support".to_owned()]));
    for (from, targets) in files(tree) {
        let layer = tree.layer_of(&from);
        let Some(allowed) = layers.get(layer.as_str()) else {
            wrong.push(format!("{from}: {layer} has no layer"));
            continue;
        };
        for target in targets {
            let other = tree.layer_of(&target);
            if layer == other || allowed.contains(&other.as_str()) {
                continue;
            }
            let pair = tree.upward.iter().find(|pair| **pair == (from.as_str(), target.as_str()));
            match pair {
                Some(pair) => drop(known.insert(*pair)),
                None => wrong.push(format!("{from} imports {target}")),
            }
        }
        seen.insert(layer);
    }
    wrong.extend(
        tree.layers.iter().filter(|(name, _)| !seen.contains(*name)).map(|(name, _)| format!("no {name}")),
    );
    wrong.extend(
        tree.upward.iter().filter(|pair| !known.contains(*pair)).map(|pair| format!("mended: {pair:?}")),
    );
    assert!(wrong.is_empty(), "layers of {}/{}:\n{}", tree.root, tree.below, wrong.join("\n"));
}

fn assert_no_circles(tree: &Tree) {
    let found = circles(&files(tree));
    let known: BTreeSet<Vec<String>> =
        tree.circles.iter().map(|files| files.iter().map(|file| (*file).to_owned()).collect()).collect();
    let new: Vec<_> = found.difference(&known).collect();
    let mended: Vec<_> = known.difference(&found).collect();
    assert!(new.is_empty(), "files that import one another in a circle: {new:#?}");
    assert!(mended.is_empty(), "mended, so take it from the list: {mended:#?}");
}

impl Tree {
    /// The first name of a path below the part that is looked at.
    fn layer_of(&self, path: &str) -> String {
        let inner = path.strip_prefix(self.below).unwrap_or(path);
        inner.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned()
    }
}

/// The files of the tree, without tests, and which of them each imports.
fn files(tree: &Tree) -> BTreeMap<String, BTreeSet<String>> {
    let source = Modules::read(tree.root);
    let within = |path: &str| path.starts_with(tree.below);
    let mut found = BTreeMap::new();
    for (module, (path, code)) in &source.0 {
        if within(path) && path != "support.rs" {
            let paths = relative_paths(code);
            let targets = paths.iter().filter_map(|import| source.resolve(module, import, 0));
            let targets = targets.map(|target| source.0[&target].0.clone());
            found.insert(path.clone(), targets.filter(|target| target != path && within(target)).collect());
        }
    }
    assert!(found.len() > 10, "no sources found in {}/{}", tree.root, tree.below);
    found
}

/// The sets of files each of which reaches all the others of its set. A folder's `mod.rs` declares and re-exports its
/// files, and they share the types that stand in it: that alone is no circle.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<String>> {
    let next = |file: &String| {
        let folder = file.strip_suffix("mod.rs").map(str::to_owned);
        let imports = imports.get(file).into_iter().flatten();
        imports.filter(move |target| folder.as_ref().is_none_or(|folder| !target.starts_with(folder)))
    };
    let mut reached: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for start in imports.keys() {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(file) = open.pop() {
            open.extend(next(file).filter(|target| seen.insert(*target)));
        }
        reached.insert(start, seen);
    }
    let reaches = |from: &String, to: &String| reached.get(from).is_some_and(|files| files.contains(to));
    let circle = |file: &String| -> Vec<String> {
        imports.keys().filter(|other| reaches(file, other) && reaches(other, file)).cloned().collect()
    };
    imports.keys().map(circle).filter(|files| !files.is_empty()).collect()
}

#[test]
fn circles_are_found() {
    let imports = |pairs: &[(&str, &str)]| {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            found.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            found.entry((*to).to_owned()).or_default();
        }
        circles(&found).into_iter().map(|files| files.join(" ")).collect::<Vec<_>>()
    };
    assert!(imports(&[("a", "b"), ("b", "c"), ("a", "c")]).is_empty());
    assert_eq!(imports(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]), ["b c"]);
    assert_eq!(imports(&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]), ["a b", "c d"]);
    assert!(imports(&[("f/mod.rs", "f/a.rs"), ("f/a.rs", "f/mod.rs")]).is_empty());
    assert_eq!(imports(&[("f/mod.rs", "g.rs"), ("g.rs", "f/mod.rs")]), ["f/mod.rs g.rs"]);
}

/// The modules of a crate by their names from its root: their files and their text, without comments and tests.
struct Modules(BTreeMap<Vec<String>, (String, String)>);

impl Modules {
    fn read(root: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        // `bench` has it from the folder of the tests.
        let mut found =
            BTreeMap::from([(vec!["support".to_owned()], ("support.rs".to_owned(), String::new()))]);
        walk(&root, &mut |path| {
            let inner = path.strip_prefix(&root).expect("below the root").to_str().expect("UTF-8").to_owned();
            let mut module: Vec<String> =
                inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if module.last().is_some_and(|name| matches!(name.as_str(), "mod" | "lib" | "main")) {
                module.pop();
            }
            if !module.iter().any(|name| name.ends_with("tests")) {
                found.insert(module, (inner, code_of(&fs::read_to_string(path).expect("readable"))));
            }
        });
        Self(found)
    }

    /// The module where that which `path` names stands, seen from `module`; re-exports are followed.
    fn resolve(&self, module: &[String], path: &str, depth: usize) -> Option<Vec<String>> {
        let mut names = path.split("::").filter(|name| !name.is_empty()).peekable();
        let mut place = module.to_vec();
        if names.next_if_eq(&"crate").is_some() {
            place.clear();
        } else if names.next_if_eq(&"self").is_none() && names.peek() != Some(&"super") {
            // A path without a root begins at a module's own child, or at another crate.
            place.push((*names.peek()?).to_owned());
            self.0.get(&place)?;
            place.pop();
        }
        while names.next_if_eq(&"super").is_some() {
            place.pop();
        }
        while let Some(name) = names.peek() {
            place.push((*name).to_owned());
            if !self.0.contains_key(&place) {
                place.pop();
                break;
            }
            names.next();
        }
        let (_, code) = self.0.get(&place)?;
        let exported = names.peek().filter(|_| depth < 4).and_then(|name| {
            let same = |import: &String| import.rsplit("::").next() == Some(*name);
            uses(code)
                .iter()
                .filter(|import| same(import))
                .find_map(|import| self.resolve(&place, import, depth + 1))
        });
        Some(exported.unwrap_or(place))
    }
}

#[test]
fn imports_are_resolved_to_the_files_that_hold_them() {
    let module = |name: &str, code: &str| {
        (name.split('/').map(str::to_owned).collect::<Vec<_>>(), (format!("{name}.rs"), code_of(code)))
    };
    let modules = Modules(BTreeMap::from([
        module("a", "mod b;\n#[cfg(test)]\nmod tests;\npub use b::{One, c::Two};\npub struct Three;"),
        module("a/b", "pub struct One;"),
        module("a/b/c", "pub struct Two;\n#[cfg(test)]\nmod tests {\n    use crate::a::b::One;\n}\n"),
        module("d", "pub(in crate::a) fn f() -> super::a::One {} // crate::a::Three"),
    ]));
    let from = |place: &str, path: &str| {
        let place: Vec<String> = place.split('/').map(str::to_owned).collect();
        modules.resolve(&place, path, 0).map(|found| found.join("/"))
    };
    for (place, path, expected) in [
        ("d", "crate::a::One", Some("a/b")),
        ("d", "super::a::Two", Some("a/b/c")),
        ("d", "crate::a::Three", Some("a")),
        ("a/b/c", "super::super::Three", Some("a")),
        ("a/b/c", "super::One", Some("a/b")),
        ("a", "self::b::One", Some("a/b")),
        ("a", "b::c", Some("a/b/c")),
        ("a", "std::fmt", None),
    ] {
        assert_eq!(from(place, path).as_deref(), expected, "{path} in {place}");
    }
    let code = |name: &[&str]| {
        let name: Vec<String> = name.iter().map(|part| (*part).to_owned()).collect();
        relative_paths(&modules.0[&name].1)
    };
    assert_eq!(code(&["d"]), ["super::a::One"]);
    assert!(code(&["a", "b", "c"]).is_empty());
}

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
fn only_stanza_types_reach_the_gate_and_the_component() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let is_test = path.ends_with("tests.rs") || path.ends_with("testing.rs");
        if !matches!(module.as_str(), "access" | "component") || is_test {
            continue;
        }
        for import in imports(&text) {
            let Some(item) = import.strip_prefix("xmpp::") else { continue };
            if !STANZA_TYPES.contains(&item.split("::").next().unwrap_or_default()) {
                wrong.push(format!("{path}: {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "a layer reaches into xmpp:\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_them() {
    let text = "use crate::model::{Jid, Media};\nuse crate::{error::Error, http};\nlet x = crate::sys::wait();\n// crate::web\n";
    let expected = ["error::Error", "http", "model::Jid", "model::Media", "sys::wait"];
    let mut found = imports(text);
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(imports("#[cfg(test)]\nmod tests;\nuse crate::web;\n"), ["web"]);
    assert!(imports("#[cfg(test)]\nmod tests {\n    use crate::web;\n}\n").is_empty());
}

/// Every source file: its top-level module, its path, its text without comments and unit tests.
fn sources() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut |path| {
        let inner = path.strip_prefix(&root).expect("below src").to_str().expect("UTF-8").to_owned();
        let module = inner.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(path).expect("readable");
        match module.as_str() {
            "main" | "lib" => {}
            // It is a crate of its own, over this one.
            "bin" => {
                let text = text.replace("crate::", "").replace("media_server::", "crate::");
                found.push(("client".to_owned(), inner, text));
            }
            _ => found.push((module, inner, text)),
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
    let code = code_of(text);
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        expand(&code[start + "crate::".len()..], "", &mut found);
    }
    found
}

/// Every path that begins with `crate::`, `super::` or `self::`, groups taken apart.
fn relative_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (start, _) in code.match_indices(root) {
            let before = &code[..start];
            let within = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            // `pub(in crate::http)` says who may import, and imports nothing.
            if !within && !before.ends_with("(in ") {
                expand(&code[start..], "", &mut found);
            }
        }
    }
    found
}

/// Every path of the `use` declarations, groups taken apart.
fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, word) in code.match_indices("use ") {
        if !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            expand(&code[start + word.len()..], "", &mut found);
        }
    }
    found
}

/// The text without comments and without the tests at its end. Tests in another file are not its end.
fn code_of(text: &str) -> String {
    let inline = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub mod tests {"];
    let end = inline.iter().filter_map(|start| text.find(start)).min().unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or_default()).collect()
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
