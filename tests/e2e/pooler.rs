//! PostgreSQL as others set it up: behind PgBouncer, and in another encoding than UTF-8.

use std::fs;
use std::net::TcpStream;

use crate::schema::{command, succeed};
use crate::site::Site;
use crate::support::child::Guarded;
use crate::support::http::Request;
use crate::support::scratch::Scratch;
use crate::support::{free_port, postgres, wait_for};

/// A PgBouncer before a database.
struct Pooler {
    _process: Guarded,
    url: String,
}

impl Pooler {
    fn start(scratch: &Scratch, database: &str, mode: &str) -> Self {
        let port = free_port();
        let (users, settings) = (scratch.join(format!("{mode}.users")), scratch.join(format!("{mode}.ini")));
        fs::write(&users, format!("\"{}\" \"\"\n", postgres::USER))
            .expect("the scratch directory takes files");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             auth_type = trust\nauth_file = {}\npool_mode = {mode}\nunix_socket_dir =\nlogfile =\n",
            postgres::shared().port(),
            users.display()
        );
        fs::write(&settings, text).expect("the scratch directory takes files");
        // It refuses to run as root.
        let command =
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--", "/usr/sbin/pgbouncer"];
        let skip = if rustix::process::geteuid().is_root() { 0 } else { command.len() - 1 };
        let settings = settings.display().to_string();
        let command = [&command[skip..], &[settings.as_str()]].concat();
        let process = Guarded::start(&command, &[], &scratch.join(format!("{mode}.log")));
        wait_for("PgBouncer", || TcpStream::connect(("127.0.0.1", port)).ok());
        let url = format!("jdbc:postgresql://127.0.0.1:{port}/{database}?user={}", postgres::USER);
        Self { _process: process, url }
    }
}

#[test]
fn a_pooler_in_transaction_mode_is_refused_and_one_in_session_mode_is_not() {
    let database = postgres::shared().new_database();
    let scratch = Scratch::new();
    let direct = postgres::shared().jdbc_url(&database);
    succeed(&direct, &["setup-schema"]);
    let pooler = Pooler::start(&scratch, &database, "transaction");
    for arguments in [&["check"][..], &["serve"], &["upgrade-schema"], &["fsck"]] {
        let (status, printed) = command(&pooler.url, arguments);
        assert_ne!(status, 0, "{arguments:?}: {printed}");
        assert!(printed.contains("connection pooler in transaction mode"), "{arguments:?}: {printed}");
        assert!(printed.contains("pool_mode=session"), "{arguments:?} does not say what to do: {printed}");
        if arguments != ["check"] {
            assert_eq!(status, 78, "{arguments:?}: {printed}");
        }
    }
    let pooler = Pooler::start(&scratch, &database, "session");
    succeed(&pooler.url, &["upgrade-schema"]);
    let site = Site::start(&[("jdbc.db.url", &pooler.url)]);
    let (user, channel) = site.public_channel();
    let id = site.upload(&user, &channel);
    for _ in 0..60 {
        Request::get(&site.url(&channel)).send().expect(200);
    }
    Request::get(&site.url(&format!("{channel}/{id}"))).send().expect(200);
}

#[test]
fn a_database_that_is_not_in_utf_8_refuses_what_it_can_not_hold() {
    let server = postgres::shared();
    let database = "latin_media";
    let make = format!("CREATE DATABASE {database} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    server.client("postgres").batch_execute(&make).expect("a database");
    let url = server.jdbc_url(database);
    succeed(&url, &["setup-schema"]);
    let (_, printed) = command(&url, &["check"]);
    let told = "the encoding of the database is LATIN1, not UTF8";
    assert!(printed.contains(told), "{printed}");

    let site = Site::start(&[("jdbc.db.url", &url)]);
    site.server.wait_log(told);
    let (user, channel) = site.public_channel();
    let media = site.url(&format!("{channel}/{}", site.upload_titled(&user, &channel, "Grüße").member("id")));
    let refused = site.upload_request(&channel).part("title=🤷").basic(user.jid()).send().expect(422);
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    Request::new("POST", &media).part("title=🤷").basic(user.jid()).send().expect(422);
    for path in ["🤷@example.org", "🤷@example.org/x"] {
        let status = Request::get(&site.url(path)).send().status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    let listed = Request::get(&site.url(&channel)).send().expect(200);
    assert_eq!(listed.json()[0]["title"], "Grüße");
    assert_eq!(listed.json().as_array().map(Vec::len), Some(1));
    // The refused uploads left no file.
    let kept = fs::read_dir(site.server.storage().join(&channel)).expect("the channel's folder").count();
    assert_eq!(kept, 1);
}
