//! Two servers with one `node.name`. With a shared directory its lock tells; here the files are in a bucket, and each
//! server has a storage root of its own.

use std::fs;
use std::time::{Duration, Instant};

use crate::schema::succeed;
use crate::site::xmpp_of;
use crate::support::child::Guarded;
use crate::support::prosody::Prosody;
use crate::support::relay::Relay;
use crate::support::scratch::Scratch;
use crate::support::seaweedfs::{ACCESS_KEY, SECRET_KEY, shared};
use crate::support::server::{PROGRAM, Server, properties};
use crate::support::{free_port, postgres, wait_for};

/// The longest wait for the session of a server that is gone.
const WAIT: Duration = Duration::from_secs(10);
/// The log's line about a node that has started.
const STARTED: &str = "this is node a";

/// The settings of a server at this database, with a bucket of its own.
fn with_settings<T>(url: &str, bucket: &str, start: impl FnOnce(&[(&str, &str)]) -> T) -> T {
    let endpoint = shared().endpoint();
    start(&[
        ("node.name", "a"),
        ("jdbc.db.url", url),
        ("media.storage.s3.endpoint", &endpoint),
        ("media.storage.s3.bucket", bucket),
        ("media.storage.s3.access.key", ACCESS_KEY),
        ("media.storage.s3.secret.key", SECRET_KEY),
    ])
}

#[test]
fn a_second_server_with_the_name_of_a_node_does_not_start_until_the_first_one_is_gone() {
    let (prosody, database, relay) =
        (Prosody::start_replacing_components(), postgres::shared(), Relay::listen());
    let url = database.jdbc_url(&database.new_database());
    succeed(&url, &["setup-schema"]);
    relay.relay_to(database.port());
    let relayed = url.replace(&format!(":{}/", database.port()), &format!(":{}/", relay.port()));
    let bucket = shared().new_bucket();
    let mut first = with_settings(&relayed, &bucket, |settings| Server::start(xmpp_of(&prosody), settings));
    first.wait_log(STARTED);

    let scratch = Scratch::new();
    let (root, config) = (scratch.join("media"), scratch.join("mediaserver.properties"));
    fs::create_dir(&root).expect("the scratch directory takes folders");
    let text =
        with_settings(&url, &bucket, |settings| properties(free_port(), xmpp_of(&prosody), &root, settings));
    fs::write(&config, text).expect("the scratch directory takes files");
    let command = [PROGRAM, "-c", &config.display().to_string(), "serve"];
    let mut refused = Guarded::start(&command, &[], &scratch.join("output"));
    let status = wait_for("the second server to end", || refused.ended());
    let printed = refused.printed();
    assert_eq!(status, 1, "{printed}");
    assert!(printed.contains("another server with node.name=a uses this database"), "{printed}");
    assert!(printed.contains("give each node a node.name of its own"), "{printed}");
    assert!(!first.log().contains("node.name"), "{}", first.log());

    // Its session ends with it.
    let killed = Instant::now();
    first.kill();
    first.start_again();
    assert!(killed.elapsed() < WAIT, "{:?}", killed.elapsed());

    // PostgreSQL does not see that its machine is gone.
    relay.stand_still(true);
    let killed = Instant::now();
    first.kill();
    let second = with_settings(&url, &bucket, |settings| Server::start(xmpp_of(&prosody), settings));
    second.wait_log(STARTED);
    assert!(killed.elapsed() < WAIT, "{:?}", killed.elapsed());
    assert!(second.log().contains("it has the name of this node"), "{}", second.log());
}
