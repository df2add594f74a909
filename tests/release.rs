//! The release checklist refuses a tree that is not ready: `scripts/release --look` in a repository made for the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository in which everything is ready for version 1.2.3.
struct Repository(PathBuf);

impl Repository {
    fn ready(name: &str) -> Self {
        let root =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("release-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let repository = Self(root);
        fs::create_dir_all(repository.0.join("scripts")).expect("a folder can be made");
        fs::create_dir_all(repository.0.join("debian")).expect("a folder can be made");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/release");
        fs::copy(script, repository.0.join("scripts/release")).expect("the script is there");
        repository
            .write("Cargo.toml", "[package]\nname = \"buddycloud-media-server\"\nversion = \"1.2.3\"\n");
        let others = "[[package]]\nname = \"aaa\"\nversion = \"9.9.9\"\n\n";
        let own = "[[package]]\nname = \"buddycloud-media-server\"\nversion = \"1.2.3\"\n\n";
        repository.write("Cargo.lock", &format!("{others}{own}{}", others.replace("aaa", "zzz")));
        repository.write("CHANGELOG.md", &format!("# Changelog\n\n## 1.2.3 - {}\n\n- New.\n", today()));
        repository.write("debian/changelog", "buddycloud-media-server (1.2.3) unstable; urgency=medium\n");
        repository.git(&["init", "-q", "-b", "main"]);
        repository.commit();
        repository
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file can be written");
    }

    fn replace(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.0.join(name)).expect("the file is there");
        assert!(text.contains(from), "{name}: {text}");
        self.write(name, &text.replace(from, to));
    }

    fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Test", "-c", "user.email=test@example.org"]);
        let output = git.args(arguments).current_dir(&self.0).output().expect("git is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "All of it"]);
    }

    /// The exit status of the checklist, and what it refuses.
    fn look(&self, version: &str) -> (Option<i32>, Vec<String>) {
        let script = self.0.join("scripts/release");
        let output = Command::new(script).args(["--look", version]).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let refused = text.lines().filter_map(|line| line.strip_prefix("release: REFUSED: "));
        (output.status.code(), refused.map(str::to_owned).collect())
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The date in UTC, as the changelog has it.
fn today() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().expect("date is there");
    String::from_utf8(output.stdout).expect("it is ASCII").trim().to_owned()
}

#[test]
fn a_tree_that_is_ready_is_not_refused() {
    let repository = Repository::ready("ready");
    assert_eq!(repository.look("1.2.3"), (Some(0), Vec::new()));
    repository.git(&["tag", "v1.2.2"]);
    repository.git(&["tag", "v0.10.0"]);
    assert_eq!(repository.look("1.2.3"), (Some(0), Vec::new()));
}

#[test]
fn each_missing_condition_is_named() {
    type Break = fn(&Repository);
    let cases: &[(&str, Break, &str)] = &[
        ("dirty", |it| it.write("new", ""), "nothing is uncommitted"),
        ("branch", |it| it.git(&["checkout", "-q", "-b", "other"]), "the branch is main"),
        ("tag", |it| it.git(&["tag", "v1.2.3"]), "there is no tag v1.2.3"),
        ("newer", |it| it.git(&["tag", "v1.10.0"]), "no released version is newer"),
        ("cargo", |it| it.replace("Cargo.toml", "1.2.3", "1.2.4"), "Cargo.toml has version 1.2.3"),
        ("lock", |it| it.replace("Cargo.lock", "1.2.3", "1.2.4"), "Cargo.lock has version 1.2.3"),
        (
            "changelog",
            |it| it.replace("CHANGELOG.md", "## 1.2.3", "## Unreleased\n\n## 1.2.3"),
            "CHANGELOG.md begins with",
        ),
        ("date", |it| it.replace("CHANGELOG.md", &today(), "2020-01-01"), "CHANGELOG.md begins with"),
        (
            "debian",
            |it| it.replace("debian/changelog", "1.2.3", "1.2.2"),
            "debian/changelog begins with version 1.2.3",
        ),
        (
            "mark",
            |it| {
                fs::create_dir_all(it.0.join("src")).expect("a folder can be made");
                it.write("src/lib.rs", &format!("// {}: all of it\n", "TO".to_owned() + "DO"));
            },
            "no file has a mark of unfinished work",
        ),
    ];
    for (name, damage, refused) in cases {
        let repository = Repository::ready(name);
        damage(&repository);
        if *name != "dirty" {
            repository.git(&["add", "-A"]);
            repository.git(&["commit", "-q", "--allow-empty", "-m", "Damage"]);
        }
        let (status, found) = repository.look("1.2.3");
        assert_eq!(status, Some(1), "{name}");
        assert!(matches!(&found[..], [one] if one.starts_with(refused)), "{name}: {found:?}");
    }
}

#[test]
fn a_version_has_three_numbers() {
    let repository = Repository::ready("version");
    for version in ["1.2", "v1.2.3", "1.2.3-rc1", "01.2.3", ""] {
        let (status, refused) = repository.look(version);
        assert_eq!(status, Some(1), "{version}");
        assert!(refused[0].contains("is a version"), "{version}: {refused:?}");
    }
}
