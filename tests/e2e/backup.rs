//! The manual's section on backup, restore and moving: its commands are run as they stand there, with the paths and the
//! users of a test.

use std::fs;
use std::path::Path;

use crate::site::{Site, photo_bytes, xmpp_of};
use crate::support::child::run;
use crate::support::http::Request;
use crate::support::postgres;
use crate::support::prosody::Prosody;
use crate::support::scratch::Scratch;
use crate::support::server::PROGRAM;
use crate::support::xmpp_client::Client;

/// The directory of the media, as the manual names it.
const ROOT: &str = "/var/lib/buddycloud-media-server";

/// The commands of a subsection of the manual.
fn commands(subsection: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/buddycloud-media-server.8");
    let page = fs::read_to_string(page).expect("it is in the tree");
    let (_, rest) = page.split_once(&format!("\n.Ss {subsection}")).expect("the subsection is there");
    let (_, display) = rest.split_once("\n.Bd -literal -offset indent\n").expect("it has commands");
    let (display, _) = display.split_once("\n.Ed").expect("the display ends");
    let line = |line: &str| format!("{}\n", line.strip_prefix("# ").unwrap_or(line).replace("\\e", "\\"));
    display.lines().map(line).collect()
}

/// The stand-in for the machine of the manual.
struct Machine<'a> {
    site: &'a Site,
    backup: Scratch,
    /// Lines of shell for the programs of the database.
    database: String,
}

impl Machine<'_> {
    /// Runs the commands of a subsection; gives what they print.
    fn run(&self, subsection: &str) -> String {
        let server = &self.site.server;
        let (root, configuration) = (server.storage().display().to_string(), server.configuration());
        let folder = self.backup.join("configuration");
        fs::create_dir_all(&folder).expect("the scratch directory takes folders");
        fs::copy(&configuration, folder.join("mediaserver.properties")).expect("the configuration is there");
        let commands = commands(subsection)
            .replace(&format!("{ROOT}.old"), &format!("{root}.old"))
            .replace(ROOT, &root)
            .replace("/etc/buddycloud-media-server", &folder.display().to_string())
            .replace("/backup", &self.backup.join("backup").display().to_string())
            .replace("chown -R buddycloud:buddycloud", "chown -R $(id -u):$(id -g)");
        let script = format!(
            "service() {{ :; }}\n\
             runuser() {{ shift 3; \"$@\"; }}\n\
             buddycloud-media-server() {{ '{PROGRAM}' -c '{}' \"$@\"; }}\n\
             {}\n{commands}",
            configuration.display(),
            self.database
        );
        let (status, printed) = run(&["bash", "-euc", &script]);
        assert_eq!(status, 0, "{script}\n{printed}");
        printed
    }
}

/// Two media, an avatar and a preview; the addresses of the former and the bytes of the latter.
struct Contents {
    media: Vec<String>,
    preview: (String, Vec<u8>),
}

impl Contents {
    fn of(site: &Site, user: &Client, channel: &str) -> Self {
        let media = [(); 2].map(|()| site.url(&format!("{channel}/{}", site.upload(user, channel)))).to_vec();
        let avatar = Request::new("PUT", &site.url(&format!("{channel}/avatar"))).basic(user.jid());
        avatar.file(&crate::site::photo(), "image/jpeg").send().expect(201);
        let preview = format!("{}?maxheight=50", media[0]);
        let bytes = Request::get(&preview).send().expect(200).body;
        Self { media, preview: (preview, bytes) }
    }

    fn assert_served(&self, site: &Site, channel: &str) {
        for url in &self.media {
            assert!(
                Request::get(url).send().expect(200).body == photo_bytes(),
                "{url}: other bytes came down"
            );
        }
        assert!(Request::get(&self.preview.0).send().expect(200).body == self.preview.1);
        Request::get(&site.url(&format!("{channel}/avatar"))).send().expect(200);
        let list = Request::get(&site.url(channel)).send().expect(200).json();
        // The avatar is a media of the channel, too.
        assert_eq!(list.as_array().map(Vec::len), Some(self.media.len() + 1), "{list}");
    }
}

/// Backs a site up while it serves, loses all of it, and restores it.
fn survives(mut site: Site, database: String, lose: impl FnOnce(), backup: &str, restore: &str) {
    let (user, channel) = site.public_channel();
    let contents = Contents::of(&site, &user, &channel);
    let backup_folder = Scratch::new();
    let machine = Machine { site: &site, backup: backup_folder, database };
    machine.run(backup);
    let kept = fs::read_to_string(machine.backup.join("backup/mediaserver.properties"));
    assert!(
        kept.is_ok_and(|text| text.contains("media.storage.root")),
        "the configuration is not in the backup"
    );
    // An upload after the backup is lost with the machine.
    site.upload(&user, &channel);
    let Machine { backup, database, .. } = machine;

    site.server.stop();
    lose();
    fs::write(site.server.storage().join("of-another-site"), "").expect("the storage takes files");
    let machine = Machine { site: &site, backup, database };
    let printed = machine.run(restore);
    assert!(printed.contains("files and metadata agree"), "{printed}");
    assert!(!site.server.storage().join("of-another-site").exists(), "it was restored into what was there");
    site.server.start_again();
    site.wait_ready(&channel);
    contents.assert_served(&site, &channel);
    contents.assert_served(&site, &channel);
    site.upload(&user, &channel);
}

#[test]
fn a_site_on_sqlite_is_restored_by_the_commands_of_the_manual() {
    let site = Site::start(&[]);
    let database = site.server.storage().join("metadata.sqlite");
    let lose = move || fs::remove_file(database).expect("it was there");
    survives(site, String::new(), lose, "Backup with SQLite", "Restore with SQLite");
}

#[test]
fn a_site_on_postgresql_is_restored_by_the_commands_of_the_manual() {
    let server = postgres::Server::start();
    let roles = "CREATE ROLE mediaserver LOGIN; CREATE DATABASE mediaserver OWNER mediaserver";
    for statement in roles.split("; ") {
        server.client("postgres").batch_execute(statement).expect("a superuser may");
    }
    let url = format!("jdbc:postgresql://127.0.0.1:{}/mediaserver?user=mediaserver", server.port());
    let prosody = Prosody::start();
    let scratch = Scratch::new();
    let text =
        crate::support::server::properties(0, xmpp_of(&prosody), scratch.path(), &[("jdbc.db.url", &url)]);
    let file = scratch.join("mediaserver.properties");
    fs::write(&file, text).expect("the scratch directory takes files");
    let (status, printed) = run(&[PROGRAM, "-c", &file.display().to_string(), "setup-schema"]);
    assert_eq!(status, 0, "{printed}");

    let site = Site::start_on(prosody, &[("jdbc.db.url", &url)]);
    let database = format!("export PGHOST=127.0.0.1 PGPORT={} PGUSER={}", server.port(), postgres::USER);
    let lose = || {
        let mut client = server.client("postgres");
        client.batch_execute("DROP DATABASE mediaserver WITH (FORCE)").expect("a superuser may");
    };
    survives(site, database, lose, "Backup with PostgreSQL", "Restore with PostgreSQL");
}
