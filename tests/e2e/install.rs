//! `make install` into a scratch root, and the init script in it run for real, as an administrator would.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::site::xmpp_of;
use crate::support::child::run;
use crate::support::http::Request;
use crate::support::media_client::CLIENT;
use crate::support::prosody::Prosody;
use crate::support::scratch::Scratch;
use crate::support::server::{PROGRAM, Xmpp, properties};
use crate::support::{free_port, wait_for};

const NAME: &str = "buddycloud-media-server";

/// How long the init script waits for a start.
const START_TIME: Duration = Duration::from_secs(20);

/// An installation below a scratch directory.
struct Installation {
    scratch: Scratch,
    port: u16,
}

impl Installation {
    /// Installs the program under test, and configures it.
    fn new() -> Self {
        let installation = Self { scratch: Scratch::new(), port: free_port() };
        installation.make("install");
        installation.configure("");
        let user = run(&["id", "-un"]).1;
        let defaults = format!("DAEMON_USER={user}START_TIME={}\n", START_TIME.as_secs());
        fs::write(installation.path("etc/default").join(NAME), defaults).expect("it takes files");
        installation
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn make(&self, target: &str) {
        let place = |variable: &str, name: &str| format!("{variable}={}", self.path(name).display());
        let variables = [
            place("PREFIX", "usr"),
            place("SYSCONFDIR", "etc"),
            place("LOCALSTATEDIR", "var"),
            place("RUNSTATEDIR", "run"),
            format!("PROGRAM={PROGRAM}"),
            format!("CLIENT={CLIENT}"),
        ];
        fs::create_dir_all(self.path("run")).expect("it takes folders");
        let mut command = vec!["make", "-s", "-C", env!("CARGO_MANIFEST_DIR"), target];
        command.extend(variables.iter().map(String::as_str));
        let (status, printed) = run(&command);
        assert_eq!(status, 0, "make {target}: {printed}");
    }

    fn configuration(&self) -> PathBuf {
        self.path("etc").join(NAME).join("mediaserver.properties")
    }

    /// A configuration that serves without any XMPP server, and these lines.
    fn configure(&self, lines: &str) {
        let xmpp = Xmpp { client_port: 1, component_port: 1 };
        let text = properties(self.port, xmpp, &self.path("var/lib").join(NAME), &[]);
        fs::write(self.configuration(), format!("{text}{lines}")).expect("it takes files");
    }

    /// Runs the init script; gives its exit status and what it printed.
    fn init(&self, action: &str) -> (i32, String) {
        let script = self.path("etc/init.d").join(NAME).display().to_string();
        run(&[&script, action])
    }

    #[track_caller]
    fn expect(&self, action: &str, status: i32) -> String {
        let (got, printed) = self.init(action);
        let output = self.path("var/log").join(format!("{NAME}.log"));
        let output = fs::read_to_string(output).unwrap_or_default();
        assert_eq!(got, status, "{action}: {printed}\n{output}");
        printed
    }

    /// The status of a channel's list, if the server listens: 503, as there is no XMPP server.
    fn asked(&self) -> Option<u16> {
        let url = format!("http://127.0.0.1:{}/room@example.org", self.port);
        Request::get(&url).try_send().ok().map(|answer| answer.status)
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.path("run").join(format!("{NAME}.pid")))
            .expect("a process id")
            .trim()
            .to_owned()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if self.path("etc/init.d").join(NAME).exists() {
            self.init("stop");
        }
    }
}

#[test]
fn the_init_script_does_what_its_standard_says() {
    let site = Installation::new();
    site.expect("status", 3);
    site.expect("reload", 7);
    site.expect("stop", 0);
    site.expect("", 2);
    site.expect("dance", 2);

    site.expect("start", 0);
    // No waiting: start returns when it listens.
    assert_eq!(site.asked(), Some(503));
    site.expect("status", 0);
    let first = site.pid();
    site.expect("start", 0);
    assert_eq!(site.pid(), first, "a second one was started");

    site.configure("cache.max.age=7\n");
    site.expect("reload", 0);
    let log = site.path("var/log").join(format!("{NAME}.log"));
    wait_for("the reload", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("reloaded")).then_some(())
    });
    assert_eq!(site.pid(), first);

    for action in ["restart", "force-reload"] {
        let before = site.pid();
        site.expect(action, 0);
        assert_ne!(site.pid(), before, "{action}");
        assert_eq!(site.asked(), Some(503), "{action}");
    }

    site.expect("stop", 0);
    assert_eq!(site.asked(), None, "it still listens");
    site.expect("status", 3);
    site.expect("stop", 0);
    site.expect("restart", 0);
    let status = Command::new("kill").args(["-KILL", &site.pid()]).status().expect("kill starts");
    assert!(status.success());
    wait_for("its end", || (site.init("status").0 == 1).then_some(()));
    site.expect("start", 0);
    site.expect("status", 0);
}

#[test]
fn a_start_that_fails_says_why() {
    let site = Installation::new();
    site.configure("media.sizelimit=many\n");
    let begun = Instant::now();
    let printed = site.expect("start", 1);
    assert!(printed.contains("media.sizelimit"), "{printed}");
    site.expect("status", 3);
    let taken = TcpListener::bind(("0.0.0.0", site.port)).expect("the port is free");
    site.configure("");
    let printed = site.expect("start", 1);
    assert!(printed.contains("change http.port or http.bind"), "{printed}");
    assert!(begun.elapsed() < START_TIME, "it waited for a server that had ended");
    drop(taken);

    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/mediaserver.properties");
    fs::copy(example, site.configuration()).expect("the example is there");
    site.expect("start", 6);
    fs::remove_file(site.configuration()).expect("it was there");
    site.expect("start", 6);
    fs::remove_file(site.path("usr/sbin").join(NAME)).expect("it was there");
    site.expect("start", 5);
}

#[test]
fn a_wrong_configuration_neither_stops_a_running_server_nor_is_reloaded_in_silence() {
    let site = Installation::new();
    site.expect("start", 0);
    let first = site.pid();
    site.configure("media.sizelimit=many\n");
    for action in ["restart", "force-reload", "reload"] {
        let printed = site.expect(action, 1);
        assert!(printed.contains("media.sizelimit"), "{action}: {printed}");
        assert_eq!((site.pid(), site.asked()), (first.clone(), Some(503)), "{action}");
    }
    let log = site.path("var/log").join(format!("{NAME}.log"));
    let told = || fs::read_to_string(&log).is_ok_and(|log| log.contains("the configuration is not reloaded"));
    wait_for("the server to be told, since its log may have been moved", || told().then_some(()));
    site.configure("");
    site.expect("reload", 0);
    site.expect("restart", 0);
    assert_ne!(site.pid(), first);
    let log = fs::read_to_string(&log).expect("it is there");
    assert!(!log.contains("service manager"), "{log}");
}

#[test]
fn uninstall_removes_everything_but_the_configuration() {
    let site = Installation::new();
    for file in ["usr/sbin/", "etc/init.d/", "etc/logrotate.d/", "usr/share/bash-completion/completions/"] {
        assert!(site.path(file).join(NAME).is_file(), "{file}");
    }
    let configured = fs::read_to_string(site.configuration()).expect("it is there");
    site.make("install");
    assert_eq!(fs::read_to_string(site.configuration()).expect("it is there"), configured, "overwritten");
    let unit = fs::read_to_string(site.path("usr/lib/systemd/system").join(format!("{NAME}.service")));
    let program = site.path("usr/sbin").join(NAME).display().to_string();
    assert!(unit.expect("the unit is there").contains(&format!("ExecStart={program} $OPTIONS serve")));
    let unit = site.path("usr/lib/systemd/system").join(format!("{NAME}.service")).display().to_string();
    let (status, printed) = run(&["systemd-analyze", "--man=no", "verify", &unit]);
    assert_eq!((status, printed.contains(NAME)), (0, false), "{printed}");
    let (status, printed) = run(&["systemd-analyze", "security", "--offline=true", "--threshold=15", &unit]);
    assert_eq!(status, 0, "{printed}");

    site.make("uninstall");
    let (_, left) = run(&["find", &site.scratch.path().display().to_string(), "-type", "f"]);
    let mut left: Vec<_> = left.lines().collect();
    left.sort_unstable();
    let defaults = site.path("etc/default").join(NAME);
    assert_eq!(left, [site.configuration(), defaults].map(|path| path.display().to_string()));
}

#[test]
fn scripts_and_units_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = |name: &str| root.join(name).display().to_string();
    let (status, printed) = run(&["sh", "-n", &file(&format!("etc/init.d/{NAME}"))]);
    assert_eq!(status, 0, "{printed}");
    let (status, printed) = run(&["bash", "-n", &file(&format!("etc/bash-completion/{NAME}"))]);
    assert_eq!(status, 0, "{printed}");
    let changelog = fs::read_to_string(root.join("debian/changelog")).expect("it is in the tree");
    let version = format!("{NAME} ({})", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&version), "debian/changelog is not about {version}");
}

#[test]
fn the_example_for_prosody_is_all_that_it_needs() {
    let prosody = Prosody::start();
    prosody.add_account("example.com", "mediaserver");
    let scratch = Scratch::new();
    let text = properties(8080, xmpp_of(&prosody), scratch.path(), &[]).replace("example.org", "example.com");
    let secret = "xmpp.component.secretkey=a long secret\n";
    let file = scratch.join("mediaserver.properties");
    fs::write(&file, text + secret).expect("the scratch directory takes files");
    let (status, printed) = run(&[PROGRAM, "-c", &file.display().to_string(), "check"]);
    assert_eq!(status, 0, "{printed}");
    assert!(printed.contains("component: ok") && printed.contains("client: ok"), "{printed}");
}

#[test]
fn words_are_completed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/bash-completion").join(NAME);
    let complete = |line: &str| {
        let script = format!(
            ". '{}'; COMP_WORDS=({line} ''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _buddycloud_media_server; \
             echo ${{COMPREPLY[@]}}",
            file.display()
        );
        run(&["bash", "-c", &script]).1.trim().to_owned()
    };
    let help = run(&[PROGRAM, "-h"]).1;
    let commands = help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    for command in commands.filter(|word| word.starts_with(char::is_lowercase)) {
        assert!(complete(NAME).split(' ').any(|word| word == command), "{command}");
    }
    assert_eq!(complete(&format!("{NAME} fsck")), "--repair --force -c");
    assert_eq!(complete(&format!("{NAME} -c x check")), "--from-java --strict --local --channel --user -c");
    assert_eq!(complete(&format!("{NAME} channel create")), "--owner --private --as --password-file -c");
}
