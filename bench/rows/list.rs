//! Pages of a channel with very many media, beside those of a channel with few.

use std::fmt::Write as _;
use std::io::Write;

use media_server::limits::MEDIA_ID_NEW;
use media_server::model::Page;
use media_server::store::list_statement;

use crate::http::Load;
use crate::options::Options;
use crate::report::{Goal, Report};
use crate::rounds::{Side, alternate};
use crate::site::{PRIVATE, PUBLIC, Site, set_up_schema};
use crate::support::http::Request;
use crate::support::postgres::Server as Postgres;

/// Media of the small channels and of the large one.
const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
/// Entries of a page, and the far page's number.
const PAGE: u64 = 50;
const FAR: u64 = 10_000;

/// A row of media `n` of a channel, in SQL of both databases but for the date.
const ROW: &str = "'@CHANNEL@', 'user@example.org', 'A title of media', 'image/jpeg', @DATE@, @DATE@, 'jpg', \
                   'da39a3ee5e6b4b0d3255bfef95601890afd80709', 10240, 480, 640";
const COLUMNS: &str = "id, fileName, entityId, author, title, mimeType, uploadedDate, lastUpdatedDate, fileExtension, \
                       shaChecksum, fileSize, height, width";

/// Lists of SQLite and of PostgreSQL.
pub fn pages(options: &Options, report: &mut Report) {
    let (few, many) = (Site::start(&[]), Site::start(&[]));
    for (site, count) in [(&few, FEW), (&many, MANY)] {
        let database = Embedded::of(site);
        database.fill(PUBLIC, 'a', count);
        database.fill(PRIVATE, 'b', FEW);
    }
    report.note(&format!("SQLite, EXPLAIN QUERY PLAN of a list:\n{}", Embedded::of(&many).explain()));
    compare(options, report, "SQLite", &few, &many);
    drop((few, many));

    let server = Postgres::start();
    let databases = [FEW, MANY].map(|count| Shared::new(&server, count));
    let [few, many] = databases.each_ref().map(|database| Site::start(&[("jdbc.db.url", &database.url)]));
    report.note(&format!("PostgreSQL, EXPLAIN of a list:\n{}", databases[1].explain()));
    compare(options, report, "PostgreSQL", &few, &many);
}

fn compare(options: &Options, report: &mut Report, database: &str, few: &Site, many: &Site) {
    let near = format!("/{PUBLIC}?max={PAGE}");
    let far = format!("{near}&before={}", id('a', MANY + 1 - PAGE * (FAR - 1)));
    let beside = format!("/{PRIVATE}?max={PAGE}");
    let sides = alternate(
        options.time,
        vec![
            side("channel of 1,000", few, &near, false),
            side("first page", many, &near, false),
            side("page 10,000", many, &far, false),
            // The same work as the next, which has to be confirmed, too.
            side("small channel alone", few, &beside, true),
            side("small channel beside", many, &beside, true),
        ],
    );
    let milliseconds = |turn: &crate::rounds::Turn| 1000.0 / turn.rate;
    for (case, ours, theirs) in
        [("first page of 10^6", 1, 0), ("page 10,000 of 10^6", 2, 0), ("channel of 10^3 beside 10^6", 4, 3)]
    {
        let case = format!("list of 50, {database}, {case}");
        report.compare(&case, "ms", &sides[ours], &sides[theirs], Goal::AtMost(1.3), milliseconds);
    }
}

fn side<'a>(name: &'static str, site: &Site, path: &str, confirmed: bool) -> Side<'a> {
    let fields = move |jid: &str| {
        let mut fields = String::from("Host: localhost\r\n");
        if confirmed {
            let _ = write!(fields, "Authorization: Basic {}\r\n", crate::site::token(jid));
        }
        fields
    };
    let request = Request::get(&site.url(&path[1..]));
    let request = if confirmed { request.basic(site.user.jid()) } else { request };
    let response = request.send().expect(200);
    let entries = response.json().as_array().map_or(0, Vec::len);
    assert_eq!(entries as u64, PAGE, "the page of {path} is not full");
    let (path, jid) = (path.to_owned(), site.user.jid().to_owned());
    let mut load = Load {
        ports: vec![site.server.port()],
        connections: 1,
        status: 200,
        length: response.body.len() as u64,
        request: Box::new(move |request| {
            let _ = write!(request, "GET {path} HTTP/1.1\r\n{}\r\n", fields(&jid));
        }),
    };
    Side::new(name, site.server.pid(), move |time| load.responses(time))
}

/// The id of media number `n`: as long as those the server makes.
fn id(prefix: char, number: u64) -> String {
    format!("{prefix}{number:0width$}", width = MEDIA_ID_NEW - 1)
}

fn insert(channel: &str, date: &str, source: &str, id: &str) -> String {
    let row = ROW.replace("@CHANNEL@", channel).replace("@DATE@", date);
    format!("INSERT INTO medias ({COLUMNS}) SELECT {id}, 'file.jpg', {row} FROM {source}")
}

/// The page that EXPLAIN is asked about.
fn far_page() -> Page {
    let before = id('a', MANY / 2).parse().ok();
    Page { max: 50, after: None, before }
}

/// The embedded database of a site.
struct Embedded(rusqlite::Connection);

impl Embedded {
    fn of(site: &Site) -> Self {
        let path = site.server.storage().join("metadata.sqlite");
        Self(rusqlite::Connection::open(path).expect("the database is there"))
    }

    fn fill(&self, channel: &str, prefix: char, count: u64) {
        let numbers = format!(
            "(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
             SELECT n FROM numbers)"
        );
        let id = format!("printf('{prefix}%0{}d', n)", MEDIA_ID_NEW - 1);
        let sql = insert(channel, "1700000000000000 + n * 1000", &numbers, &id);
        self.0.execute_batch(&sql).expect("the database takes the rows");
    }

    fn explain(&self) -> String {
        let sql = list_statement("BINARY", &far_page()).replace('$', "?");
        let mut statement =
            self.0.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("the statement is SQL");
        let before = id('a', MANY / 2);
        let rows = statement.query_map(rusqlite::params![PUBLIC, 51, before], |row| row.get::<_, String>(3));
        let rows: Result<Vec<String>, _> = rows.expect("the database explains").collect();
        rows.expect("the database explains").join("\n")
    }
}

/// A database of a PostgreSQL server.
struct Shared {
    client: std::cell::RefCell<postgres::Client>,
    url: String,
}

impl Shared {
    fn new(server: &Postgres, count: u64) -> Self {
        let name = server.new_database();
        let url = server.jdbc_url(&name);
        set_up_schema(&url);
        let mut client = server.client(&name);
        for (channel, prefix, count) in [(PUBLIC, 'a', count), (PRIVATE, 'b', FEW)] {
            let id = format!("'{prefix}' || lpad(n::text, {}, '0')", MEDIA_ID_NEW - 1);
            let date = "TIMESTAMP '2024-01-01' + n * INTERVAL '1 millisecond'";
            let sql = insert(channel, date, &format!("generate_series(1, {count}) AS numbers(n)"), &id);
            client.batch_execute(&sql).expect("the database takes the rows");
        }
        // As autovacuum would soon.
        client.batch_execute("VACUUM ANALYZE").expect("a superuser");
        Self { client: std::cell::RefCell::new(client), url }
    }

    fn explain(&self) -> String {
        let sql = format!("EXPLAIN (ANALYZE, BUFFERS) {}", list_statement("\"C\"", &far_page()));
        let before = id('a', MANY / 2);
        let rows = self
            .client
            .borrow_mut()
            .query(&sql, &[&PUBLIC, &51_i64, &before])
            .expect("the database explains");
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
    }
}
