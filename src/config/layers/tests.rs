//! Defaults, every setting's way to its layer, contradictions, and reloads.

use std::time::Duration;

use super::*;
use crate::access::DomainRule;
use crate::config::properties;
use crate::http::cors::Cors;
use crate::secret::Secret;
use crate::uploads::{JidRule, Keep, Protocol, UploadQuotas};
use crate::xmpp::Security;

/// Every mandatory setting.
const LEAST: &str = "xmpp.component.host=h\nxmpp.component.port=5347\nxmpp.component.subdomain=media.example.com\n\
    xmpp.component.secretkey=hunter2\nxmpp.connection.username=media\nxmpp.connection.password=hunter2\n\
    xmpp.connection.port=5222\nxmpp.connection.servicename=example.com\nmedia.storage.root=/srv/media\n";
const HTTPS: &str =
    "https.enabled=true\nhttps.port=8443\nhttps.keystore.path=/k.jks\nhttps.keystore.password=hunter2\n";

fn source(text: &str) -> Source {
    Source { name: "f".to_owned(), entries: properties::parse("f", text.as_bytes()).unwrap() }
}

/// The configuration of the mandatory settings and these.
fn read(text: &str) -> Result<Config> {
    Config::read(&source(&format!("{LEAST}{text}"))).map(|(config, _)| config)
}

fn refused(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn defaults() {
    let config = read("").unwrap();
    let keys = "http.port or http.bind";
    let listen = |address: &str, optional| http::Listen {
        address: address.parse().unwrap(),
        tls: false,
        optional,
        keys,
    };
    assert_eq!(config.http.listen, [listen("0.0.0.0:8080", false), listen("[::]:8080", true)]);
    let expected =
        http::Limits { connections: 8192, connections_per_address: 256, requests_per_second: 0, uploads: 48 };
    assert_eq!((config.http.limits, config.http.threads), (expected, 128));
    assert!(config.http.trusted_proxies.is_empty() && config.admin.listen.is_empty());
    assert_eq!(config.keystore, None);
    assert_eq!((&config.web.endpoint, &config.web.cors), (&None, &Cors::Any));
    assert_eq!(config.web.cache_max_age, Duration::from_secs(86400));
    assert!(!config.web.page_indexed);
    let xmpp::Settings { component, client, .. } = &config.xmpp;
    assert_eq!(
        (component.host.as_str(), component.port, component.jid.as_str()),
        ("h", 5347, "media.example.com")
    );
    assert_eq!(component.secret, Secret::new("hunter2"));
    assert_eq!(
        (client.host.as_str(), client.port, client.service.as_str()),
        ("example.com", 5222, "example.com")
    );
    assert_eq!((client.username.as_str(), &client.password), ("media", &Secret::new("hunter2")));
    assert_eq!((client.security, &client.ca), (Security::Enabled, &None));
    let access = &config.access;
    assert_eq!(access.domains, [DomainRule::Below("example.com".to_owned())]);
    assert_eq!((access.reply_timeout, access.cache_ttl), (Duration::from_secs(30), Duration::from_secs(30)));
    assert_eq!(
        (access.confirm_stanza, access.confirm_address),
        (access::ConfirmStanza::Message, access::ConfirmAddress::Full)
    );
    assert_eq!((access.pending_per_user, access.pending_per_address, access.pending_total), (8, 256, 1024));
    assert_eq!((access.lookups_per_address, access.lookups_total), (64, 1024));
    assert_eq!(access.nodes.node(&"a@p.q".parse().unwrap()), "/user/a@p.q/posts");
    assert_eq!((&access.endpoint, access.service_name.as_str()), (&None, "example.com"));
    assert_eq!((config.media.size_limit, config.media.to_disk_threshold), (104_857_600, 1_048_576));
    assert_eq!(config.media.quotas, Quotas { channel: None, user: None });
    assert_eq!(config.housekeeping, media::HousekeepingSettings::default());
    let uploads = &config.uploads;
    assert_eq!((uploads.enabled, uploads.endpoint.as_str(), uploads.size_limit), (false, "", 104_857_600));
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    let keep = Keep { message: days(31), profile: None, ephemeral: days(1), permanent: None };
    assert_eq!((uploads.keep, uploads.quotas), (keep, UploadQuotas::default()));
    assert_eq!(uploads.allow, [JidRule::Domain("example.com".to_owned())]);
    assert!(uploads.deny.is_empty() && uploads.external.is_none());
    assert!(!uploads.makes_room && !uploads.purpose_prefixes);
    assert_eq!((uploads.to_disk_threshold, uploads.cache_max_age), (1_048_576, Duration::from_secs(86400)));
    assert_eq!(access.upload_size, None);
    assert_eq!(config.component, component::Settings::default());
    let previews = &config.previews;
    let jobs = thread::available_parallelism().map_or(1, usize::from).min(6);
    assert_eq!((previews.count, previews.jobs, previews.queue, previews.ahead), (50, jobs, 8, true));
    let decoding = preview::Decoding::Child(preview::own_program());
    let studio = preview::Settings { decoding, ..preview::Settings::default() };
    assert_eq!(format!("{:?}", previews.studio), format!("{studio:?}"));
    assert_eq!(
        config.storage,
        Storage {
            root: "/srv/media".into(),
            sync: true,
            shared: false,
            from: None,
            s3: None,
            cache_bytes: 10 << 30,
            redirect_from: None
        }
    );
    assert_eq!(config.database, Database::Sqlite("/srv/media/metadata.sqlite".into()));
    assert_eq!(config.node, None);
    assert_eq!(config.logging, Logging { file: None, level: log::LevelFilter::Info });
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn every_setting_reaches_its_layer() {
    // All values differ from their defaults and from one another.
    let config = read(
        "http.port=1\nhttp.bind=::1\nhttp.endpoint=https://a/b/\nhttp.threads=200\nhttp.uploads.max=2\n\
         http.downloads.max=3\nhttp.connections.max=4\nhttp.connections.per.address.max=5\n\
         http.rate.limit=26\nhttp.trusted.proxies=10.0.0.1\nhttp.cors.origins=\ncache.max.age=6\nhttp.enabled=yes\n\
         page.indexed=true\n\
         https.enabled=true\nhttps.port=7\nhttps.keystore=/k.p12\nhttps.keystore.password=hunter3\n\
         xmpp.connection.host=c\nxmpp.connection.securitymode=required\nxmpp.connection.tls.ca=/ca.pem\n\
         xmpp.reply.timeout=8\nxmpp.cache.ttl=9\nxmpp.channel.nodes=p.q: {local}\nxmpp.confirm.stanza=auto\nxmpp.confirm.address=none\n\
         xmpp.pending.per.user.max=10\n\
         xmpp.pending.per.address.max=11\nxmpp.pending.max=12\nxmpp.lookups.per.address.max=22\n\
         xmpp.lookups.max=23\nmedia.domains=*\nmedia.storage.sync=off\nmedia.storage.shared=true\n\
         media.storage.from=/srv/old\n\
         media.storage.s3.endpoint=https://s3.a/b/\nmedia.storage.s3.bucket=c\nmedia.storage.s3.region=d\n\
         media.storage.s3.access.key=e\nmedia.storage.s3.secret.key=hunter5\nmedia.storage.s3.timeout=300\n\
         media.storage.s3.cache.bytes=34G\nmedia.storage.s3.redirect=35M\n\
         media.sizelimit=13\nmedia.todisk.threshold=14K\nmedia.quota.channel=24\n\
         media.quota.user=25\nhousekeeping.interval=27\nhousekeeping.orphan.age=28m\n\
         housekeeping.lost.keep=29d\n\
         upload.enabled=on\nupload.sizelimit=27\nupload.allow=a.b *.c.d\n\
         upload.deny=e@a.b\nupload.keep.message=28\nupload.keep.profile=29\nupload.keep.ephemeral=30\n\
         upload.keep.permanent=31\nupload.purpose.prefixes=on\nupload.quota.user=32\nupload.quota.day=33\n\
         upload.quota.message=34\nupload.quota.profile=35\nupload.quota.ephemeral=36\n\
         upload.quota.permanent=37\nupload.quota.all=38\nupload.quota.makes.room=on\n\
         upload.external.secret=0123456789abcdef\nupload.external.protocol=v2\njdbc.db.url=jdbc:postgresql:m\njdbc.pool.size=15\n\
         node.name=a-1.B\n\
         preview.max.pixels=16\npreview.max.bytes=17\npreview.max.count=18\npreview.timeout=19\n\
         preview.jobs.max=20\npreview.queue.max=21\npreview.at.upload=no\npreview.ffmpeg=/f\npreview.ffprobe=/p\n\
         preview.sandbox=off\n\
         admin.bind=127.0.0.1:22, [::1]:23\nadmin.jids=e@c.d, f@c.d\n\
         logging.file=/l\nlogging.level=trace",
    )
    .unwrap();
    let listen = |address: &str, tls, keys| http::Listen {
        address: address.parse().unwrap(),
        tls,
        optional: false,
        keys,
    };
    let served = [
        listen("[::1]:1", false, "http.port or http.bind"),
        listen("[::1]:7", true, "https.port or http.bind"),
    ];
    assert_eq!(config.http.listen, served);
    let limits =
        http::Limits { connections: 4, connections_per_address: 5, requests_per_second: 26, uploads: 2 };
    assert_eq!((config.http.limits, config.http.threads), (limits, 200));
    assert_eq!(config.http.trusted_proxies, ["10.0.0.1".parse::<crate::model::Network>().unwrap()]);
    let keystore = Keystore { path: "/k.p12".into(), password: Secret::new("hunter3") };
    assert_eq!(config.keystore, Some(keystore));
    let watched = ["127.0.0.1:22", "[::1]:23"].map(|address| listen(address, false, "admin.bind"));
    assert_eq!(config.admin.listen, watched);
    let admins = ["e@c.d", "f@c.d"].map(|jid| jid.parse().unwrap()).to_vec();
    let component = component::Settings { admins, endpoint: Some("https://a/b".to_owned()) };
    assert_eq!(config.component, component);
    assert_eq!((config.web.endpoint.as_deref(), &config.web.cors), (Some("https://a/b"), &Cors::Off));
    assert_eq!(config.web.cache_max_age, Duration::from_secs(6));
    assert!(config.web.page_indexed);
    let client = &config.xmpp.client;
    assert_eq!((client.host.as_str(), client.security), ("c", Security::Required));
    assert_eq!(client.ca, Some("/ca.pem".into()));
    let access = &config.access;
    assert_eq!(
        (&*access.domains, access.endpoint.as_deref()),
        (&[DomainRule::Any][..], Some("https://a/b/"))
    );
    assert_eq!((access.reply_timeout, access.cache_ttl), (Duration::from_millis(8), Duration::from_secs(9)));
    assert_eq!(
        (access.confirm_stanza, access.confirm_address),
        (access::ConfirmStanza::Auto, access::ConfirmAddress::None)
    );
    assert_eq!((access.pending_per_user, access.pending_per_address, access.pending_total), (10, 11, 12));
    assert_eq!((access.lookups_per_address, access.lookups_total), (22, 23));
    assert_eq!(access.nodes.node(&"a@p.q".parse().unwrap()), "a");
    assert_eq!((config.media.size_limit, config.media.to_disk_threshold), (13, 14_336));
    assert_eq!(config.media.quotas, Quotas { channel: Some(24), user: Some(25) });
    let media::HousekeepingSettings { interval, orphan_age, lost_keep } = config.housekeeping;
    assert_eq!((interval, orphan_age), (Duration::from_secs(27), Duration::from_secs(28 * 60)));
    assert_eq!(lost_keep, Some(Duration::from_secs(29 * 86_400)));
    assert_eq!(read("housekeeping.lost.keep=0").unwrap().housekeeping.lost_keep, None);
    let uploads = &config.uploads;
    assert_eq!((uploads.enabled, uploads.endpoint.as_str(), uploads.size_limit), (true, "https://a/b", 27));
    let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<JidRule>>();
    assert_eq!((&uploads.allow, &uploads.deny), (&rules(&["a.b", "*.c.d"]), &rules(&["e@a.b"])));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let keep =
        Keep { message: seconds(28), profile: seconds(29), ephemeral: seconds(30), permanent: seconds(31) };
    assert_eq!(uploads.keep, keep);
    let quotas = UploadQuotas {
        user: Some(32),
        day: Some(33),
        message: Some(34),
        profile: Some(35),
        ephemeral: Some(36),
        permanent: Some(37),
        all: Some(38),
    };
    assert_eq!((uploads.quotas, uploads.makes_room, uploads.purpose_prefixes), (quotas, true, true));
    let external = uploads.external.as_ref().unwrap();
    assert_eq!((&external.secret, external.protocol), (&Secret::new("0123456789abcdef"), Protocol::V2));
    assert_eq!((uploads.to_disk_threshold, uploads.cache_max_age), (14_336, Duration::from_secs(6)));
    assert_eq!(access.upload_size, Some(27 + 17));
    let previews = &config.previews;
    assert_eq!((previews.count, previews.jobs, previews.queue, previews.ahead), (18, 20, 21, false));
    let preview::Settings { max_pixels, max_bytes, time, ffmpeg, ffprobe, decoding, sandbox } =
        &previews.studio;
    assert_eq!(*sandbox, preview::Sandbox::Off);
    assert!(matches!(decoding, preview::Decoding::Child(_)), "{decoding:?}");
    assert_eq!((*max_pixels, *max_bytes, *time), (16, 17, Duration::from_secs(19)));
    assert_eq!((ffmpeg, ffprobe), (&PathBuf::from("/f"), &PathBuf::from("/p")));
    let bucket = s3::Settings {
        endpoint: "https://s3.a/b".to_owned(),
        bucket: "c".to_owned(),
        region: "d".to_owned(),
        access_key: "e".to_owned(),
        secret_key: Secret::new("hunter5"),
        timeout: Duration::from_millis(300),
    };
    let from = Some(OldStorage::Directory("/srv/old".into()));
    assert_eq!(
        config.storage,
        Storage {
            root: "/srv/media".into(),
            sync: false,
            shared: true,
            from,
            s3: Some(bucket),
            cache_bytes: 34 << 30,
            redirect_from: Some(35 << 20)
        }
    );
    assert!(!format!("{config:?}").contains("hunter5"));
    let Database::Postgres(database) = &config.database else { panic!("PostgreSQL") };
    assert_eq!((database.database.as_deref(), database.pool_size), (Some("m"), 15));
    assert_eq!((config.node.as_deref(), database.has_nodes), (Some("a-1.B"), true));
    assert_eq!(config.logging, Logging { file: Some("/l".into()), level: log::LevelFilter::Trace });
}

#[test]
fn a_node_needs_a_database_that_others_can_use_too() {
    for text in ["node.name=a", "node.name=a\njdbc.db.url=jdbc:sqlite:x"] {
        let error = refused(text);
        assert!(error.contains("node.name") && error.contains("PostgreSQL"), "{error}");
    }
    read("node.name=a\njdbc.db.url=jdbc:postgresql:m").unwrap();
}

#[test]
fn https_replaces_http_unless_both_are_enabled() {
    let table = [
        ("", true, false),
        ("https.enabled=true", false, true),
        ("https.enabled=TRUE\nhttp.enabled=true", true, true),
        ("http.enabled=true", true, false),
    ];
    for (text, http, https) in table {
        let config = read(&format!("{HTTPS}https.enabled=false\n{text}")).unwrap();
        let serves = |tls| config.http.listen.iter().any(|listen| listen.tls == tls);
        assert_eq!((serves(false), serves(true)), (http, https), "{text}");
        assert_eq!(config.keystore.is_some(), https, "{text}");
    }
    assert_eq!(refused("http.enabled=no"), "f:10: http.enabled: neither HTTP nor HTTPS would be served");
    assert_eq!(
        refused(&format!("{HTTPS}http.enabled=true\nhttp.port=8443")),
        "f:11: https.port: the same as http.port"
    );
    assert!(read(&format!("{HTTPS}http.port=8443")).is_ok());
}

#[test]
fn java_keystores_are_refused_with_advice() {
    for kind in ["JKS", "JSK", "jks"] {
        let text = refused(&format!("{HTTPS}https.keystore.type={kind}"));
        assert!(text.starts_with("f:14: https.keystore.type: Java keystores are not supported"), "{text}");
        let line = "keytool -importkeystore -srckeystore /k.jks -srcstoretype JKS -destkeystore /k.p12 ";
        assert!(text.contains(line), "{text}");
    }
    assert!(read("https.keystore.type=JKS").is_ok(), "not read without HTTPS");
}

#[test]
fn uploads_leave_threads_to_other_requests() {
    for threads in 3..=1024 {
        let limits = read(&format!("http.threads={threads}")).unwrap().http.limits;
        assert!(limits.uploads > 0 && limits.uploads < threads, "{threads}");
    }
    assert_eq!(
        refused("http.threads=20\nhttp.uploads.max=20"),
        "f:10: http.threads: 20 threads must be more than http.uploads.max (20)"
    );
    assert!(read("http.uploads.max=127").is_ok());
}

#[test]
fn previews_leave_workers_free() {
    for threads in 3..=1024 {
        let previews = read(&format!("http.threads={threads}")).unwrap().previews;
        assert!(previews.jobs > 0 && previews.jobs + previews.queue < threads, "{threads}");
    }
    assert_eq!(
        refused("http.threads=20\npreview.jobs.max=4\npreview.queue.max=16"),
        "f:10: http.threads: 20 threads must be more than preview.jobs.max (4) and preview.queue.max (16) \
         together"
    );
}

#[test]
fn uploads_by_slot_need_an_endpoint_that_clients_accept() {
    for endpoint in [
        "https://a.example",
        "https://a.example:8443/media/",
        "http://127.0.0.1:8080",
        "http://127.9.9.9/x",
        "http://[::1]:8080/x",
        "http://[::1]",
        "http://localhost:1",
    ] {
        let config = read(&format!("upload.enabled=true\nhttp.endpoint={endpoint}")).unwrap();
        assert_eq!(config.uploads.endpoint, endpoint.trim_end_matches('/'));
        assert_eq!(config.access.upload_size, Some(104_857_617));
    }
    let wrong = "http.endpoint: upload.enabled needs an https:// URL here, for XMPP clients accept no other";
    assert_eq!(refused("upload.enabled=true"), format!("f: {wrong}"));
    for endpoint in [
        "http://a.example",
        "http://10.0.0.1",
        "http://[2001:db8::1]",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://127.0.0.1@a.example",
    ] {
        let text = format!("http.endpoint={endpoint}\nupload.enabled=true");
        assert_eq!(refused(&text), format!("f:10: {wrong}"), "{endpoint}");
        assert!(read(&format!("http.endpoint={endpoint}")).is_ok(), "without uploads");
    }
}

#[test]
fn the_secret_and_the_protocol_of_an_external_service_belong_together() {
    let secret = "upload.external.secret=0123456789abcdef";
    for (text, wrong) in [
        (secret.to_owned(), "f: upload.external.protocol: missing beside upload.external.secret"),
        (
            "upload.external.protocol=v".to_owned(),
            "f: upload.external.secret: missing beside upload.external.protocol",
        ),
        (format!("{secret}\nupload.external.protocol="), "f:11: upload.external.protocol: not jwt, v2 or v"),
        (
            "upload.external.protocol=jwt\nupload.external.secret=".to_owned(),
            "f:11: upload.external.secret: not a text of at least 16 bytes",
        ),
        (
            "upload.external.secret=hunter2\nupload.external.protocol=jwt".to_owned(),
            "f:10: upload.external.secret: not a text of at least 16 bytes",
        ),
    ] {
        assert_eq!(refused(&text), wrong);
    }
    for protocol in ["jwt", "v2", "V"] {
        let config = read(&format!("{secret}\nupload.external.protocol={protocol}")).unwrap();
        assert!(config.uploads.external.is_some() && !config.uploads.enabled, "{protocol}");
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
    }
}

#[test]
fn files_are_kept_for_ever_where_the_time_is_0_unless_they_are_to_vanish() {
    let config = read("upload.keep.message=0").unwrap();
    assert_eq!(config.uploads.keep.message, None);
    assert!(
        refused("upload.keep.ephemeral=0").starts_with("f:10: upload.keep.ephemeral: \"0\" is not a time")
    );
}

#[test]
fn nodes_share_a_storage_by_their_names() {
    let named = "media.storage.shared=true\njdbc.db.url=jdbc:postgresql:m";
    assert!(read(&format!("{named}\nnode.name=a")).unwrap().storage.shared);
    assert_eq!(
        refused(named),
        "f:10: media.storage.shared: each node needs a name of its own: set node.name"
    );
    for embedded in ["", "jdbc.db.url=jdbc:sqlite:/m"] {
        let text = refused(&format!("media.storage.shared=true\nnode.name=a\n{embedded}"));
        assert!(text.starts_with("f:11: node.name: ") && text.contains("PostgreSQL"), "{text}");
    }
}

#[test]
fn files_move_from_one_place_to_another() {
    let from = |text: &str| format!("media.storage.from={text}\n");
    assert_eq!(refused(&from("/srv/media")), "f:10: media.storage.from: the same as media.storage.root");
    assert_eq!(refused(&from("s3")), "f:10: media.storage.from: media.storage.s3.endpoint is missing");
    for (text, bucket) in [("/srv/media", true), ("/srv/old", true), ("s3", false)] {
        let storage = read(&format!("{}{IN_BUCKET}", from(text))).unwrap().storage;
        assert_eq!(storage.bucket().is_some(), bucket, "{text}");
    }
    let storage = read(&from("/srv/old")).unwrap().storage;
    assert!(storage.bucket().is_none());
    assert_eq!(storage.from, Some(OldStorage::Directory("/srv/old".into())));
}

#[test]
fn the_account_is_a_local_part_or_an_address() {
    let account = |name: &str| read(&format!("xmpp.connection.username={name}"));
    for name in ["media", "Media", "media@example.com", "media@EXAMPLE.com"] {
        assert_eq!(account(name).unwrap().xmpp.client.username, "media", "{name}");
    }
    for (name, what) in [
        ("media@example.org", "its domain is not xmpp.connection.servicename"),
        ("media@example.com/x", "neither the local part of an XMPP address nor a bare JID"),
        ("a b", "neither the local part of an XMPP address nor a bare JID"),
        ("@example.com", "neither the local part of an XMPP address nor a bare JID"),
    ] {
        assert_eq!(account(name).unwrap_err().to_string(), format!("f:10: xmpp.connection.username: {what}"));
    }
}

#[test]
fn the_component_has_a_domain() {
    let jid = |text: &str| read(text).map(|config| config.xmpp.component.jid.to_string());
    assert_eq!(jid("xmpp.component.subdomain=a.b\nxmpp.component.servername=c.d").unwrap(), "a.b.c.d");
    assert_eq!(jid("xmpp.component.subdomain=a.b").unwrap(), "a.b");
    for bad in [".b", "a@b.c", "a b.c", "a/b.c"] {
        assert!(jid(&format!("xmpp.component.subdomain={bad}")).is_err(), "{bad}");
    }
}

/// The configuration in force after the first of these was started and the others were loaded one after another.
fn merged(texts: &[&str]) -> Merged {
    let sources = texts.iter().map(|text| source(&format!("{LEAST}{text}")));
    let mut sources = sources.collect::<Vec<_>>().into_iter();
    let mut running = sources.next().unwrap();
    let mut last = Config::merge(&running, &running).unwrap();
    for new in sources {
        last = Config::merge(&running, &new).unwrap();
        running = last.source.clone();
    }
    last
}

#[test]
fn a_reload_changes_only_what_may_change_and_names_the_rest() {
    let Merged { config, waiting, .. } =
        merged(&["http.port=1\nmedia.sizelimit=5", "http.port=2\nhttp.bind=::1\nmedia.sizelimit=6"]);
    assert_eq!(waiting, ["http.port", "http.bind"]);
    assert_eq!(config.http.listen.iter().map(|listen| listen.address.port()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(config.media.size_limit, 6);
    assert!(merged(&["http.port=8080", "", "http.port=08080\nhttps.enabled=no"]).waiting.is_empty());
    // Another reload compares with what runs, not with what was last read.
    let Merged { config, waiting, .. } = merged(&["http.port=1", "http.port=2", "http.port=2"]);
    assert_eq!((config.http.listen[0].address.port(), waiting), (1, vec!["http.port"]));
    assert!(merged(&["http.port=1", "http.port=2", "http.port=1"]).waiting.is_empty());
}

#[test]
fn every_setting_that_takes_a_restart_keeps_its_running_value() {
    let other = |key| match key {
        "http.enabled" | "media.storage.sync" | "https.enabled" => "off",
        "media.storage.s3.cache.bytes" => "77G",
        "xmpp.component.subdomain" => "77.example.com",
        // Beside a server name, the subdomain is not a whole name.
        "xmpp.component.servername" => "77\nxmpp.component.subdomain=media",
        "xmpp.connection.securitymode" => "required",
        "xmpp.connection.username" => "other@example.com",
        "jdbc.db.url" => "jdbc:postgresql:other",
        "media.storage.s3.endpoint" => "http://77",
        "media.storage.s3.timeout" => "777",
        "media.storage.shared" => "on",
        "admin.bind" => "127.0.0.1:77",
        "http.bind" | "http.trusted.proxies" => "::77",
        _ => "77",
    };
    // Several nodes and a bucket need PostgreSQL, and a shared directory several nodes.
    let running_text = format!("{HTTPS_ON}{IN_BUCKET}node.name=a\n");
    let running = read(&running_text).map(|config| format!("{config:?}")).unwrap();
    let restart = s::SETTINGS.iter().filter(|setting| setting.change == s::Change::Restart);
    let keys: Vec<_> = restart.map(|setting| setting.key).collect();
    for key in &keys {
        let Merged { config, waiting, .. } =
            merged(&[&running_text, &format!("{running_text}\n{key}={}", other(key))]);
        assert_eq!(waiting, [*key]);
        assert_eq!(format!("{config:?}"), running, "{key}");
    }
    assert!(keys.len() > 20, "{keys:?}");
}

const IN_BUCKET: &str = "jdbc.db.url=jdbc:postgresql:m\nmedia.storage.s3.endpoint=http://a\nmedia.storage.s3.bucket=b\n\
    media.storage.s3.access.key=c\nmedia.storage.s3.secret.key=d\n";

#[test]
fn a_bucket_needs_all_its_settings_and_postgresql() {
    read(IN_BUCKET).unwrap();
    for (left_out, told) in [
        ("media.storage.s3.endpoint", "media.storage.s3.bucket: media.storage.s3.endpoint is missing"),
        ("media.storage.s3.bucket", "media.storage.s3.bucket: missing"),
        ("media.storage.s3.access.key", "media.storage.s3.access.key: missing"),
        ("media.storage.s3.secret.key", "media.storage.s3.secret.key: missing"),
        ("jdbc.db.url", "need their metadata in PostgreSQL"),
    ] {
        let rest: Vec<_> = IN_BUCKET.lines().filter(|line| !line.starts_with(left_out)).collect();
        let error = read(&rest.join("\n")).unwrap_err().to_string();
        assert!(error.contains(told), "{left_out}: {error}");
    }
    let refused = read(&IN_BUCKET.replace("postgresql:m", "sqlite:m")).unwrap_err();
    assert_eq!(refused.kind(), Kind::Config);
}

const HTTPS_ON: &str = "http.enabled=on\nhttps.enabled=on\nhttps.port=8443\nhttps.keystore.path=/k.p12\n\
    https.keystore.password=p\n";

#[test]
fn defaults_derive_from_the_running_settings() {
    let new = "xmpp.component.subdomain=media\nxmpp.component.servername=example.org";
    let Merged { config, waiting, .. } = merged(&["", new]);
    assert_eq!(waiting, ["xmpp.component.servername"]);
    assert_eq!(config.access.domains, [DomainRule::Below("example.com".to_owned())]);
    assert_eq!(config.xmpp.component.jid.as_str(), "media.example.com");
    let Merged { config, waiting, .. } = merged(&["", "media.storage.root=/other"]);
    assert_eq!(waiting, ["media.storage.root"]);
    assert_eq!(config.database, Database::Sqlite("/srv/media/metadata.sqlite".into()));
}

#[test]
fn limits_wait_for_the_number_of_threads_they_belong_to() {
    let shares = "http.uploads.max=150\npreview.queue.max=99";
    let Merged { config, waiting, .. } = merged(&["", &format!("http.threads=200\n{shares}")]);
    assert_eq!(waiting, ["http.threads", "http.uploads.max", "preview.queue.max"]);
    assert_eq!((config.http.threads, config.http.limits.uploads, config.previews.queue), (128, 48, 8));
    let Merged { config, waiting, .. } = merged(&["", "http.uploads.max=2"]);
    assert_eq!((waiting.len(), config.http.limits.uploads), (0, 2));
}

#[test]
fn https_stays_on_with_the_keystore_it_has_until_it_is_wanted_again() {
    let other = HTTPS_ON.replace("/k.p12", "/other.p12");
    let path = |config: Config| config.keystore.unwrap().path;
    let Merged { config, waiting, .. } = merged(&[HTTPS_ON, ""]);
    let all =
        ["http.enabled", "https.enabled", "https.port", "https.keystore.path", "https.keystore.password"];
    assert_eq!((path(config), waiting), ("/k.p12".into(), all.to_vec()));
    let Merged { config, waiting, .. } = merged(&[HTTPS_ON, "", &other]);
    assert_eq!((path(config), waiting), ("/other.p12".into(), Vec::new()));
}

#[test]
fn unknown_keys_are_named_all_at_once() {
    let notices = |text: &str| Config::read(&source(&format!("{LEAST}{text}"))).unwrap().1;
    let error =
        Config::refuse_unknown_keys(&notices("htp.port=1\nhttps.keystore=/k\nmail.to=x")).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert_eq!(error.to_string(), "f:10: htp.port: unknown; did you mean http.port?; f:12: mail.to: unknown");
    assert!(Config::refuse_unknown_keys(&notices("https.keystore=/k\nhttp.tests.port=1")).is_ok());
}

#[test]
fn a_new_configuration_must_be_valid_by_itself() {
    let running = source(LEAST);
    for wrong in [
        "http.port=80a",
        "http.threads=9\nhttp.uploads.max=9",
        "https.enabled=true",
        "xmpp.connection.username=a@b",
        "upload.enabled=true",
        "upload.external.protocol=jwt",
    ] {
        let new = source(&format!("{LEAST}http.uploads.max=8\n{wrong}"));
        assert!(Config::merge(&running, &new).is_err(), "{wrong}");
    }
}
