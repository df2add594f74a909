//! Uploads by slot (XEP-0363): beside other upload services, beside very many stored uploads, and while many expire.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::http::Load;
use crate::options::Options;
use crate::peers::ejabberd::Ejabberd;
use crate::peers::prosody::FileShare;
use crate::report::{Goal, Report};
use crate::rounds::{Done, Measured, Side, alternate};
use crate::site::{LIMITS, PUBLIC, Site, file, set_up_schema};
use crate::support::ejabberd::Ejabberd as OwnEjabberd;
use crate::support::http::Request;
use crate::support::postgres::Server as Postgres;
use crate::support::prosody::{COMPONENT, DOMAIN};
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::support::wait_for;
use crate::uploads::{Slots, ToSlots, clear, crowd};

/// Bytes of a small file and of a large one.
const SMALL: u64 = 10 * 1024;
const LARGE: u64 = 8 << 20;
/// Accounts that ask for slots here in turn: a user is granted 10 slots a second, after a burst of 20.
const USERS: usize = 600;
/// The settings of an upload service.
const SERVICE: [(&str, &str); 2] = [("upload.enabled", "true"), ("http.endpoint", "http://127.0.0.1:@PORT@")];
/// Stored uploads of the two sites.
const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
/// Real uploads that are fetched in turn.
const FETCHED: usize = 200;
/// Uploads that expire at once: in the comparison of sites, and beside downloads.
const EXPIRED: u64 = 2_000;
const EXPIRED_BESIDE: u64 = 100_000;
/// Characters of the name of a row's file after those of its folder and its time: a prefix and the number of the row.
const NUMBERS: usize = 12;
/// When the first row was stored, in seconds since 1970.
const BEGIN: u64 = 1_700_000_000;
/// Folders that hold the files of rows made here.
const FOLDERS: u64 = 97;
/// Downloads at a time beside the sweep.
const READERS: usize = 32;
/// The longest wait for a sweep to begin or to end.
const SWEEP: Duration = Duration::from_secs(120);

/// Small files.
pub fn small(options: &Options, report: &mut Report) {
    compare(options, report, "slot + PUT 10 KiB", SMALL);
}

/// Files of 8 MiB.
pub fn large(options: &Options, report: &mut Report) {
    compare(options, report, "slot + PUT 8 MiB", LARGE);
}

/// The component of ejabberd beside ejabberd's own service, and that of Prosody beside Prosody's.
fn compare(options: &Options, report: &mut Report, what: &str, bytes: u64) {
    let unsynced = [SERVICE.as_slice(), &[("media.storage.sync", "off")]].concat();
    let [synced, quick] = [&SERVICE[..], &unsynced].map(|settings| {
        let xmpp = OwnEjabberd::start();
        (Server::start(xmpp.xmpp(), &[LIMITS, settings].concat()), xmpp)
    });
    let site = Site::start(&unsynced);
    for server in [&synced.0, &quick.0, &site.server] {
        make_folders(&server.storage().join(".uploads"));
    }
    let (prosody, ejabberd) = (FileShare::start(), Ejabberd::start());
    let kept = |folder: std::path::PathBuf| (bytes > SMALL).then_some(folder);
    for count in [1, 8] {
        let own = |name, server: &Server, slots: Slots| {
            side(name, server.pid(), slots.several(count), bytes, kept(server.storage().join(".uploads")))
        };
        let behind_ejabberd = |name, (server, xmpp): &(Server, OwnEjabberd)| {
            own(name, server, slots(xmpp.xmpp().client_port, server))
        };
        let sides = vec![
            behind_ejabberd("media server", &synced),
            behind_ejabberd("itself without fsync", &quick),
            own("behind Prosody, without fsync", &site.server, slots_of(&site)),
            side("ejabberd", ejabberd.pid(), ejabberd.slots.several(count), bytes, kept(ejabberd.uploads())),
            side("Prosody", prosody.pid(), prosody.slots.several(count), bytes, None),
        ];
        let sides = alternate(options.time, sides);
        let case = format!("{what}, {count} at a time");
        report.rate(&case, "/s", &sides[0], &sides[3], Goal::AtLeast(0.7));
        report.rate("  without fsync", "/s", &sides[1], &sides[3], Goal::AtLeast(1.0));
        report.rate("  without fsync", "/s", &sides[2], &sides[4], Goal::AtLeast(2.0));
        report.p99("  with fsync", &sides[0], &sides[3], Goal::None);
        report.p99("  without fsync", &sides[1], &sides[3], Goal::None);
        report.p99("  without fsync", &sides[2], &sides[4], Goal::None);
    }
}

/// Makes the folders of all pairs of first characters: after some ten thousand uploads a service has them.
fn make_folders(uploads: &Path) {
    let letters = || ('A'..='Z').chain('a'..='z').chain('0'..='9');
    for (first, second) in letters().flat_map(|first| letters().map(move |second| (first, second))) {
        let folder = uploads.join(format!("{first}{second}"));
        std::fs::create_dir_all(folder).expect("the storage takes folders");
    }
}

fn side<'a>(
    name: &'static str,
    server: u32,
    mut uploaders: Vec<ToSlots>,
    bytes: u64,
    stored: Option<std::path::PathBuf>,
) -> Side<'a> {
    Side::new(name, server, move |time| {
        let done = crowd(&mut uploaders, bytes, time);
        // The folders of the first two characters stay: the server knows them.
        let folders = stored.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
        folders.flatten().for_each(|folder| clear(&folder.path()));
        done
    })
}

/// The slots of a site of ours, for accounts that are made now.
fn slots_of(site: &Site) -> Slots {
    (0..USERS).for_each(|number| site.prosody.add_account(DOMAIN, &format!("user{number}")));
    slots(site.prosody.client_port(), &site.server)
}

/// The slots of a media server, at the XMPP server of this port.
fn slots(client_port: u16, server: &Server) -> Slots {
    Slots { client_port, port: server.port(), service: COMPONENT, users: USERS }
}

/// Slots, uploads, downloads and a sweep beside a million stored uploads.
pub fn among_many(options: &Options, report: &mut Report) {
    let sites = [FEW, MANY].map(|count| Store::embedded(Site::start(&SERVICE), count));
    compare_sizes(options, report, "SQLite", &sites);
    drop(sites);
    let server = Postgres::start();
    let sites = [FEW, MANY].map(|count| Store::shared(&server, count));
    compare_sizes(options, report, "PostgreSQL", &sites);
}

fn compare_sizes(options: &Options, report: &mut Report, database: &str, stores: &[Store; 2]) {
    let milliseconds = |turn: &crate::rounds::Turn| 1000.0 / turn.rate;
    let puts = |name, store: &Store| {
        let uploaders = slots_of(&store.site).several(1);
        side(name, store.site.server.pid(), uploaders, SMALL, None)
    };
    let sides = alternate(options.time, vec![puts("among 10^3", &stores[0]), puts("among 10^6", &stores[1])]);
    let mut compare = |what: &str, sides: &[Measured]| {
        let case = format!("{what} among 10^6 uploads, {database}");
        report.compare(&case, "ms", &sides[1], &sides[0], Goal::AtMost(1.3), milliseconds);
    };
    compare("slot + PUT", &sides);
    compare("GET", &alternate(options.time, vec![stores[0].gets(), stores[1].gets()]));
    compare("a sweep of 2,000", &alternate(Duration::ZERO, vec![stores[0].sweeps(), stores[1].sweeps()]));
}

/// A site with very many rows of uploads, whose files are not there.
struct Store {
    site: Site,
    rows: RefCell<Rows>,
}

enum Rows {
    Embedded(rusqlite::Connection),
    Shared(postgres::Client),
}

/// Rows of uploads that belong to 1,000 users. A thousand were stored in each second.
const INSERT: &str = "INSERT INTO uploads (id, file, owner, fileName, mimeType, fileSize, sha256, purpose, created, expires) \
                      SELECT @ID@, @FILE@, 'stored' || (n % 1000) || '@example.org', 'photo.jpg', 'image/jpeg', 10240, NULL, \
                      'message', @CREATED@, @EXPIRES@ FROM @NUMBERS@";

impl Store {
    fn embedded(site: Site, count: u64) -> Self {
        let path = site.server.storage().join("metadata.sqlite");
        let connection = rusqlite::Connection::open(path).expect("the database is there");
        connection.busy_timeout(SWEEP).expect("a timeout can be set");
        Self { site, rows: RefCell::new(Rows::Embedded(connection)) }.filled(count)
    }

    fn shared(server: &Postgres, count: u64) -> Self {
        let name = server.new_database();
        let url = server.jdbc_url(&name);
        set_up_schema(&url);
        let site = Site::start(&[SERVICE.as_slice(), &[("jdbc.db.url", &url)]].concat());
        let store = Self { site, rows: RefCell::new(Rows::Shared(server.client(&name))) }.filled(count);
        // As autovacuum would soon.
        store.rows.borrow_mut().run("VACUUM ANALYZE");
        store
    }

    fn filled(self, count: u64) -> Self {
        self.rows.borrow_mut().insert("s", count, 30);
        self
    }

    /// Downloads of uploads by slot, one after the other.
    fn gets(&self) -> Side<'_> {
        let mut uploader = slots_of(&self.site).several(1).remove(0);
        let paths: Vec<String> = (0..FETCHED).map(|_| uploader.put(SMALL).to_owned()).collect();
        let mut next = paths.into_iter().cycle();
        let mut load = Load {
            ports: vec![self.site.server.port()],
            connections: 1,
            status: 200,
            length: SMALL,
            request: Box::new(move |request| {
                let path = next.next().expect("a cycle has no end");
                request
                    .extend_from_slice(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
            }),
        };
        Side::new("GET", self.site.server.pid(), move |time| load.responses(time))
    }

    /// A sweep, from its first row to its last file. It begins by itself.
    fn sweeps(&self) -> Side<'_> {
        let mut round = 0;
        Side::new("sweep", self.site.server.pid(), move |_| {
            round += 1;
            let prefix = format!("x{round}y");
            make_files(&self.site.server.storage().join(".uploads"), &prefix, EXPIRED);
            self.expire(&prefix, EXPIRED);
            let begun = Instant::now();
            let mut rows = self.rows.borrow_mut();
            wait_until(|| rows.expired() == 0 && rows.removals() == 0);
            Done { units: 1.0, time: begun.elapsed(), p99: Duration::ZERO }
        })
    }

    /// Lets so many uploads have expired, and waits until the sweep has begun.
    fn expire(&self, prefix: &str, count: u64) {
        self.rows.borrow_mut().insert(prefix, count, -1);
        wait_until(|| self.rows.borrow_mut().expired() < count);
    }
}

impl Rows {
    /// Inserts so many rows that expire in so many days, with the names of [`file_name`].
    fn insert(&mut self, prefix: &str, count: u64, days: i64) {
        let width = NUMBERS - prefix.len();
        let (id, file, created, expires, numbers) = match self {
            Self::Embedded(_) => (
                "lower(hex(randomblob(12)))".to_owned(),
                format!("printf('%02d%010d{prefix}%0{width}d', n % {FOLDERS}, {BEGIN} + n / 1000, n)"),
                format!("{BEGIN} * 1000000 + n * 1000"),
                format!("unixepoch() * 1000000 + {days} * 86400000000 + n"),
                format!(
                    "(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
                     SELECT n FROM numbers)"
                ),
            ),
            Self::Shared(_) => (
                "substr(md5(random()::text), 1, 24)".to_owned(),
                format!(
                    "lpad((n % {FOLDERS})::text, 2, '0') || ({BEGIN} + n / 1000)::text || '{prefix}' \
                     || lpad(n::text, {width}, '0')"
                ),
                format!("to_timestamp({BEGIN}) AT TIME ZONE 'UTC' + n * INTERVAL '1 millisecond'"),
                format!(
                    "CURRENT_TIMESTAMP AT TIME ZONE 'UTC' + {days} * INTERVAL '1 day' + n * INTERVAL '1 microsecond'"
                ),
                format!("generate_series(1, {count}) AS numbers(n)"),
            ),
        };
        let values = [
            ("@ID@", id),
            ("@FILE@", file),
            ("@CREATED@", created),
            ("@EXPIRES@", expires),
            ("@NUMBERS@", numbers),
        ];
        let sql = values.iter().fold(INSERT.to_owned(), |sql, (name, value)| sql.replace(name, value));
        self.run(&sql);
    }

    fn run(&mut self, sql: &str) {
        match self {
            Self::Embedded(connection) => connection.execute_batch(sql).expect("the database takes the rows"),
            Self::Shared(client) => client.batch_execute(sql).expect("the database takes the rows"),
        }
    }

    /// Uploads that have expired and are not emptied yet.
    fn expired(&mut self) -> u64 {
        let now = match self {
            Self::Embedded(_) => "unixepoch() * 1000000",
            Self::Shared(_) => "CURRENT_TIMESTAMP AT TIME ZONE 'UTC'",
        };
        self.count(&format!("uploads WHERE file IS NOT NULL AND expires IS NOT NULL AND expires <= {now}"))
    }

    /// Files that must go and are still there, or may be.
    fn removals(&mut self) -> u64 {
        self.count("removals")
    }

    /// The number of rows of a table, or of those for which a condition holds.
    fn count(&mut self, rows: &str) -> u64 {
        let sql = format!("SELECT COUNT(*) FROM {rows}");
        let count: i64 = match self {
            Self::Embedded(connection) => {
                connection.query_row(&sql, [], |row| row.get(0)).expect("the database counts")
            }
            Self::Shared(client) => client.query_one(&sql, &[]).expect("the database counts").get(0),
        };
        count.unsigned_abs()
    }
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SWEEP;
    while !is_so() {
        assert!(Instant::now() < deadline, "the housekeeper does not sweep");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Downloads while a hundred thousand uploads go with their files.
pub fn beside_sweep(options: &Options, report: &mut Report) {
    let (store, scratch) = (Store::embedded(Site::start(&SERVICE), FEW), Scratch::new());
    let media =
        store.site.upload(PUBLIC, &file(&scratch, "small.bin", 10 * 1024), "application/octet-stream");
    wait_for("the media", || {
        (Request::get(&store.site.url(&media[1..])).try_send().ok()?.status == 200).then_some(())
    });
    let mut load = Load {
        ports: vec![store.site.server.port()],
        connections: READERS,
        status: 200,
        length: SMALL,
        request: Box::new(move |request| {
            request.extend_from_slice(format!("GET {media} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        }),
    };
    let mut downloads = |name| {
        let run = |time| load.responses(time);
        alternate(options.time, vec![Side::new(name, store.site.server.pid(), run)]).remove(0)
    };
    let idle = downloads("itself without a sweep");
    make_files(&store.site.server.storage().join(".uploads"), "y", EXPIRED_BESIDE);
    store.expire("y", EXPIRED_BESIDE);
    let beside = downloads("media server");
    let left = store.rows.borrow_mut().expired();
    assert!(left > 0, "the sweep ended before the downloads did");
    let case = format!("GET 10 KiB at {READERS} while 10^5 uploads expire");
    report.p99(&case, &beside, &idle, Goal::AtMost(2.0));
    report.rate(&case, "/s", &beside, &idle, Goal::None);
}

/// The name of the file of a row, made as the media server makes it: two characters for the directory, the seconds since
/// 1970, and more characters.
fn file_name(prefix: &str, number: u64) -> String {
    let width = NUMBERS - prefix.len();
    format!("{:02}{}{prefix}{number:0width$}", number % FOLDERS, BEGIN + number / 1000)
}

/// The files of rows that [`Rows::insert`] makes.
fn make_files(uploads: &Path, prefix: &str, count: u64) {
    for number in 1..=count {
        let name = file_name(prefix, number);
        let folder = uploads.join(&name[..2]);
        std::fs::create_dir_all(&folder).expect("the storage takes folders");
        std::fs::write(folder.join(name), [7; SMALL as usize]).expect("the storage takes files");
    }
}
