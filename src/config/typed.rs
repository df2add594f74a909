//! The configuration as the daemon uses it: every setting parsed, defaults filled in, contradictions refused.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Database;
use super::format::{Keystore, SecurityMode};
use super::list::{Bind, Domains, Origins};
use super::settings::{self as s, TABLE};
use super::values::{Notice, Source, Values};
use crate::error::Result;
use crate::model::BareJid;
use crate::preview::Sandbox;
use crate::secret::Secret;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `http.*` and `cache.max.age`
    pub http: Http,
    /// `https.*`; none if HTTPS is not served.
    pub https: Option<Https>,
    /// `xmpp.component.*`
    pub component: Component,
    /// `xmpp.connection.*`
    pub client: Client,
    /// The other `xmpp.*`, and `media.domains`
    pub gate: Gate,
    /// `media.*`
    pub media: Media,
    /// `preview.*`
    pub preview: Preview,
    /// `jdbc.*`
    pub metadata: Metadata,
    /// `admin.*`
    pub admin: Admin,
    /// `logging.*`
    pub logging: Logging,
}

/// How HTTP is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `http.enabled`: whether it is served in the clear.
    pub enabled: bool,
    /// `http.port`; 0: any.
    pub port: u16,
    /// `http.bind`, of HTTPS, too.
    pub bind: Bind,
    /// `http.endpoint`, as it is written.
    pub endpoint: Option<String>,
    /// `http.threads`
    pub threads: usize,
    /// `http.uploads.max`; with the next one, below `threads`.
    pub uploads_max: usize,
    /// `http.downloads.max`
    pub downloads_max: usize,
    /// `http.connections.max`
    pub connections_max: usize,
    /// `http.connections.per.address.max`
    pub connections_per_address_max: usize,
    /// `http.rate.limit`; 0: none.
    pub rate_limit: u32,
    /// `http.trusted.proxies`; IPv4 addresses are not mapped.
    pub trusted_proxies: Vec<IpAddr>,
    /// `http.cors.origins`
    pub cors_origins: Origins,
    /// `cache.max.age`, whole seconds.
    pub cache_max_age: Duration,
}

/// How the server is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// `admin.bind`; empty: not at all.
    pub bind: Vec<SocketAddr>,
}

/// How HTTPS is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Https {
    /// `https.port`; 0: any.
    pub port: u16,
    /// `https.keystore.path`, a PKCS#12 file.
    pub keystore: PathBuf,
    /// `https.keystore.password`
    pub password: Secret,
}

/// The XMPP component (XEP-0114).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// `xmpp.component.host`
    pub host: String,
    /// `xmpp.component.port`
    pub port: u16,
    /// `xmpp.component.subdomain` and `xmpp.component.servername`: the component's address.
    pub jid: BareJid,
    /// `xmpp.component.servername`
    pub servername: BareJid,
    /// `xmpp.component.secretkey`
    pub secret: Secret,
}

/// The XMPP account that asks channel services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `xmpp.connection.host`
    pub host: String,
    /// `xmpp.connection.port`
    pub port: u16,
    /// `xmpp.connection.username` at `xmpp.connection.servicename`; it has a local part.
    pub jid: BareJid,
    /// `xmpp.connection.password`
    pub password: Secret,
    /// `xmpp.connection.securitymode`
    pub security: SecurityMode,
    /// `xmpp.connection.tls.ca`, a PEM file.
    pub tls_ca: Option<PathBuf>,
}

impl Client {
    /// The account's domain.
    pub fn service(&self) -> BareJid {
        self.jid.domain().parse().expect("the domain of an address is an address")
    }
}

/// How users and channel services are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// `xmpp.reply.timeout`
    pub reply_timeout: Duration,
    /// `xmpp.cache.ttl`; zero: nothing is kept.
    pub cache_ttl: Duration,
    /// `xmpp.pending.per.user.max`
    pub pending_per_user_max: usize,
    /// `xmpp.pending.per.address.max`
    pub pending_per_address_max: usize,
    /// `xmpp.pending.max`
    pub pending_max: usize,
    /// `xmpp.lookups.per.address.max`
    pub lookups_per_address_max: usize,
    /// `xmpp.lookups.max`
    pub lookups_max: usize,
    /// `media.domains`
    pub domains: Domains,
}

/// How files are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `media.storage.root`
    pub root: PathBuf,
    /// `media.storage.sync`
    pub sync: bool,
    /// `media.sizelimit`, bytes; fits an `i64`.
    pub size_limit: u64,
    /// `media.todisk.threshold`, bytes.
    pub to_disk_threshold: usize,
    /// `media.quota.channel`, bytes; none: without end.
    pub quota_channel: Option<u64>,
    /// `media.quota.user`, likewise.
    pub quota_user: Option<u64>,
}

/// How previews are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// `preview.max.pixels`
    pub max_pixels: u64,
    /// `preview.max.bytes`
    pub max_bytes: u64,
    /// `preview.max.count`
    pub max_count: usize,
    /// `preview.timeout`
    pub timeout: Duration,
    /// `preview.jobs.max`; with the next one, below `http.threads`.
    pub jobs_max: usize,
    /// `preview.queue.max`
    pub queue_max: usize,
    /// `preview.ffmpeg`
    pub ffmpeg: PathBuf,
    /// `preview.ffprobe`
    pub ffprobe: PathBuf,
    /// `preview.sandbox`
    pub sandbox: Sandbox,
}

/// Where the metadata is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// `jdbc.db.url`
    pub database: Database,
    /// `jdbc.pool.size`
    pub pool_size: u32,
}

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `logging.file`; none: standard error.
    pub file: Option<PathBuf>,
    /// `logging.level`
    pub level: log::LevelFilter,
}

impl Config {
    /// Reads a configuration. Errors are of kind `Config` and name all that is wrong; the notices are
    /// to be logged.
    pub fn read(source: &Source) -> Result<(Self, Vec<Notice>)> {
        let values = Values::read(source)?;
        let component = component(&values)?;
        let media = media(&values)?;
        let config = Self {
            http: http(&values)?,
            preview: preview(&values)?,
            https: https(&values)?,
            client: client(&values)?,
            gate: gate(&values, &component.servername)?,
            metadata: metadata(&values, &media.root)?,
            admin: Admin { bind: values.get(&s::ADMIN_BIND)?.unwrap_or_default() },
            logging: Logging { file: values.get(&s::LOGGING_FILE)?, level: values.need(&s::LOGGING_LEVEL)? },
            component,
            media,
        };
        Ok((config, values.into_notices()))
    }
}

/// The keys whose values differ and take effect only after a restart.
pub fn need_restart(running: &Source, new: &Source) -> Vec<&'static str> {
    let (running, new) = (Values::matched(running), Values::matched(new));
    let differs = |key| running.text(key) != new.text(key);
    TABLE.iter().filter(|row| !row.reloadable && differs(row.key)).map(|row| row.key).collect()
}

fn http(values: &Values<'_>) -> Result<Http> {
    let https = values.need(&s::HTTPS_ENABLED)?;
    let enabled = values.get(&s::HTTP_ENABLED)?.unwrap_or(!https);
    if !enabled && !https {
        return Err(values.wrong(s::HTTP_ENABLED.key, "neither HTTP nor HTTPS would be served"));
    }
    let (threads, uploads_max, downloads_max) = threads(values)?;
    Ok(Http {
        enabled,
        port: values.need(&s::HTTP_PORT)?,
        bind: values.need(&s::HTTP_BIND)?,
        endpoint: values.get(&s::HTTP_ENDPOINT)?,
        threads,
        uploads_max,
        downloads_max,
        connections_max: values.need(&s::HTTP_CONNECTIONS_MAX)?,
        connections_per_address_max: values.need(&s::HTTP_CONNECTIONS_PER_ADDRESS_MAX)?,
        rate_limit: values.need(&s::HTTP_RATE_LIMIT)?,
        trusted_proxies: values.get(&s::HTTP_TRUSTED_PROXIES)?.unwrap_or_default(),
        cors_origins: values.need(&s::HTTP_CORS_ORIGINS)?,
        cache_max_age: values.need(&s::CACHE_MAX_AGE)?,
    })
}

/// Threads, and the shares of uploads and downloads: slow ones must not take every thread.
fn threads(values: &Values<'_>) -> Result<(usize, usize, usize)> {
    let threads = values.need(&s::HTTP_THREADS)?;
    let uploads = values.get(&s::HTTP_UPLOADS_MAX)?.unwrap_or(threads * 3 / 8);
    let downloads = values.get(&s::HTTP_DOWNLOADS_MAX)?.unwrap_or(threads / 2);
    if uploads + downloads < threads {
        return Ok((threads, uploads, downloads));
    }
    let what = format!(
        "{threads} threads must be more than http.uploads.max ({uploads}) and http.downloads.max \
         ({downloads}) together"
    );
    Err(values.wrong(s::HTTP_THREADS.key, &what))
}

fn https(values: &Values<'_>) -> Result<Option<Https>> {
    if !values.need(&s::HTTPS_ENABLED)? {
        return Ok(None);
    }
    let keystore = values.need(&s::HTTPS_KEYSTORE_PATH)?;
    if values.need(&s::HTTPS_KEYSTORE_TYPE)? == Keystore::Jks {
        return Err(values.wrong(s::HTTPS_KEYSTORE_TYPE.key, &convert(&keystore)));
    }
    let port = values.need(&s::HTTPS_PORT)?;
    let http = values.get(&s::HTTP_ENABLED)? == Some(true);
    if http && port > 0 && port == values.need(&s::HTTP_PORT)? {
        return Err(values.wrong(s::HTTPS_PORT.key, "the same as http.port"));
    }
    Ok(Some(Https { port, keystore, password: values.need(&s::HTTPS_KEYSTORE_PASSWORD)? }))
}

/// How a Java keystore becomes one that can be read.
pub fn convert(keystore: &Path) -> String {
    let (from, to) = (keystore.display(), keystore.with_extension("p12"));
    let to = to.display();
    format!(
        "Java keystores are not read; convert it: keytool -importkeystore -srckeystore {from} \
         -srcstoretype JKS -destkeystore {to} -deststoretype PKCS12, then set https.keystore.path={to} and \
         https.keystore.type=PKCS12"
    )
}

fn component(values: &Values<'_>) -> Result<Component> {
    let servername = values.need(&s::XMPP_COMPONENT_SERVERNAME)?;
    let subdomain = values.need(&s::XMPP_COMPONENT_SUBDOMAIN)?;
    let jid = format!("{subdomain}.{servername}").parse::<BareJid>().ok();
    let jid = jid.filter(|jid| jid.local().is_none());
    Ok(Component {
        host: values.need(&s::XMPP_COMPONENT_HOST)?,
        port: values.need(&s::XMPP_COMPONENT_PORT)?,
        jid: jid.ok_or_else(|| values.wrong(s::XMPP_COMPONENT_SUBDOMAIN.key, "not a domain name"))?,
        servername,
        secret: values.need(&s::XMPP_COMPONENT_SECRETKEY)?,
    })
}

fn client(values: &Values<'_>) -> Result<Client> {
    let domain = values.need(&s::XMPP_CONNECTION_SERVICENAME)?;
    let host = values.get(&s::XMPP_CONNECTION_HOST)?.unwrap_or_else(|| domain.to_string());
    Ok(Client {
        host,
        port: values.need(&s::XMPP_CONNECTION_PORT)?,
        jid: account(values, &domain)?,
        password: values.need(&s::XMPP_CONNECTION_PASSWORD)?,
        security: values.need(&s::XMPP_CONNECTION_SECURITYMODE)?,
        tls_ca: values.get(&s::XMPP_CONNECTION_TLS_CA)?,
    })
}

/// The account's address: the username is that, or only its local part.
fn account(values: &Values<'_>, domain: &BareJid) -> Result<BareJid> {
    let wrong = |what| values.wrong(s::XMPP_CONNECTION_USERNAME.key, what);
    let username = values.need(&s::XMPP_CONNECTION_USERNAME)?;
    let whole = if username.contains('@') { username } else { format!("{username}@{domain}") };
    let jid: BareJid =
        whole.parse().map_err(|_| wrong("neither the local part of an XMPP address nor a bare one"))?;
    if jid.domain() != domain.as_str() {
        return Err(wrong("its domain is not xmpp.connection.servicename"));
    }
    Ok(jid)
}

fn gate(values: &Values<'_>, servername: &BareJid) -> Result<Gate> {
    let own = || Domains::Listed(vec![servername.clone()]);
    Ok(Gate {
        reply_timeout: values.need(&s::XMPP_REPLY_TIMEOUT)?,
        cache_ttl: values.need(&s::XMPP_CACHE_TTL)?,
        pending_per_user_max: values.need(&s::XMPP_PENDING_PER_USER_MAX)?,
        pending_per_address_max: values.need(&s::XMPP_PENDING_PER_ADDRESS_MAX)?,
        pending_max: values.need(&s::XMPP_PENDING_MAX)?,
        lookups_per_address_max: values.need(&s::XMPP_LOOKUPS_PER_ADDRESS_MAX)?,
        lookups_max: values.need(&s::XMPP_LOOKUPS_MAX)?,
        domains: values.get(&s::MEDIA_DOMAINS)?.unwrap_or_else(own),
    })
}

fn media(values: &Values<'_>) -> Result<Media> {
    Ok(Media {
        root: values.need(&s::MEDIA_STORAGE_ROOT)?,
        sync: values.need(&s::MEDIA_STORAGE_SYNC)?,
        size_limit: values.need(&s::MEDIA_SIZELIMIT)?,
        to_disk_threshold: values.need(&s::MEDIA_TODISK_THRESHOLD)?,
        quota_channel: values.get(&s::MEDIA_QUOTA_CHANNEL)?.filter(|bytes| *bytes > 0),
        quota_user: values.get(&s::MEDIA_QUOTA_USER)?.filter(|bytes| *bytes > 0),
    })
}

fn preview(values: &Values<'_>) -> Result<Preview> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = values.need(&s::HTTP_THREADS)?;
    let jobs_max = values.get(&s::PREVIEW_JOBS_MAX)?.unwrap_or(processors.min(6).min(threads / 3));
    let queue_max = values.get(&s::PREVIEW_QUEUE_MAX)?.unwrap_or(threads / 16);
    if jobs_max + queue_max >= threads {
        let what = format!(
            "{threads} threads must be more than preview.jobs.max ({jobs_max}) and preview.queue.max \
             ({queue_max}) together"
        );
        return Err(values.wrong(s::HTTP_THREADS.key, &what));
    }
    Ok(Preview {
        max_pixels: values.need(&s::PREVIEW_MAX_PIXELS)?,
        max_bytes: values.need(&s::PREVIEW_MAX_BYTES)?,
        max_count: values.need(&s::PREVIEW_MAX_COUNT)?,
        timeout: values.need(&s::PREVIEW_TIMEOUT)?,
        jobs_max,
        queue_max,
        ffmpeg: values.need(&s::PREVIEW_FFMPEG)?,
        ffprobe: values.need(&s::PREVIEW_FFPROBE)?,
        sandbox: values.get(&s::PREVIEW_SANDBOX)?.unwrap_or(Sandbox::STANDARD),
    })
}

fn metadata(values: &Values<'_>, root: &Path) -> Result<Metadata> {
    let embedded = || Database::Sqlite(root.join("metadata.sqlite"));
    Ok(Metadata {
        database: values.get(&s::JDBC_DB_URL)?.unwrap_or_else(embedded),
        pool_size: values.need(&s::JDBC_POOL_SIZE)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{PostgresUrl, properties};
    use super::*;

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
        let jid = |text: &str| text.parse::<BareJid>().unwrap();
        let expected = Config {
            http: Http {
                enabled: true,
                port: 8080,
                bind: Bind::All,
                endpoint: None,
                threads: 128,
                uploads_max: 48,
                downloads_max: 64,
                connections_max: 8192,
                connections_per_address_max: 256,
                rate_limit: 0,
                trusted_proxies: Vec::new(),
                cors_origins: Origins::Any,
                cache_max_age: Duration::from_secs(86400),
            },
            https: None,
            component: Component {
                host: "h".to_owned(),
                port: 5347,
                jid: jid("media.example.com"),
                servername: jid("example.com"),
                secret: Secret::new("hunter2"),
            },
            client: Client {
                host: "example.com".to_owned(),
                port: 5222,
                jid: jid("media@example.com"),
                password: Secret::new("hunter2"),
                security: SecurityMode::Enabled,
                tls_ca: None,
            },
            gate: Gate {
                reply_timeout: Duration::from_secs(30),
                cache_ttl: Duration::from_secs(30),
                pending_per_user_max: 8,
                pending_per_address_max: 256,
                pending_max: 1024,
                lookups_per_address_max: 64,
                lookups_max: 1024,
                domains: Domains::Listed(vec![jid("example.com")]),
            },
            media: Media {
                root: "/srv/media".into(),
                sync: true,
                size_limit: 104_857_600,
                to_disk_threshold: 1_048_576,
                quota_channel: None,
                quota_user: None,
            },
            preview: Preview {
                max_pixels: 50_000_000,
                max_bytes: 67_108_864,
                max_count: 50,
                timeout: Duration::from_secs(20),
                jobs_max: std::thread::available_parallelism().map_or(1, usize::from).min(6),
                queue_max: 8,
                ffmpeg: "ffmpeg".into(),
                ffprobe: "ffprobe".into(),
                sandbox: Sandbox::STANDARD,
            },
            metadata: Metadata {
                database: Database::Sqlite("/srv/media/metadata.sqlite".into()),
                pool_size: 8,
            },
            admin: Admin::default(),
            logging: Logging { file: None, level: log::LevelFilter::Info },
        };
        assert_eq!(read("").unwrap(), expected);
        assert!(!format!("{expected:?}").contains("hunter2"));
    }

    #[test]
    fn every_setting_reaches_its_field() {
        // All values differ from their defaults and from one another.
        let config = read(
            "http.port=1\nhttp.bind=::1\nhttp.endpoint=https://a/b/\nhttp.threads=200\nhttp.uploads.max=2\n\
             http.downloads.max=3\nhttp.connections.max=4\nhttp.connections.per.address.max=5\n\
             http.rate.limit=26\nhttp.trusted.proxies=10.0.0.1\nhttp.cors.origins=\ncache.max.age=6\nhttp.enabled=yes\n\
             https.enabled=true\nhttps.port=7\nhttps.keystore=/k.p12\nhttps.keystore.password=hunter3\n\
             xmpp.connection.host=c\nxmpp.connection.securitymode=required\nxmpp.connection.tls.ca=/ca.pem\n\
             xmpp.reply.timeout=8\nxmpp.cache.ttl=9\nxmpp.pending.per.user.max=10\n\
             xmpp.pending.per.address.max=11\nxmpp.pending.max=12\nxmpp.lookups.per.address.max=22\n\
             xmpp.lookups.max=23\nmedia.domains=*\nmedia.storage.sync=off\n\
             media.sizelimit=13\nmedia.todisk.threshold=14\nmedia.quota.channel=24\n\
             media.quota.user=25\njdbc.db.url=jdbc:postgresql:m\njdbc.pool.size=15\n\
             preview.max.pixels=16\npreview.max.bytes=17\npreview.max.count=18\npreview.timeout=19\n\
             preview.jobs.max=20\npreview.queue.max=21\npreview.ffmpeg=/f\npreview.ffprobe=/p\n\
             admin.bind=127.0.0.1:22, [::1]:23\n\
             logging.file=/l\nlogging.level=trace",
        )
        .unwrap();
        let http = &config.http;
        assert_eq!((http.enabled, http.port, http.threads), (true, 1, 200));
        assert_eq!((http.uploads_max, http.downloads_max), (2, 3));
        assert_eq!((http.connections_max, http.connections_per_address_max, http.rate_limit), (4, 5, 26));
        assert_eq!(http.bind, Bind::Addresses(vec!["::1".parse().unwrap()]));
        assert_eq!(http.endpoint.as_deref(), Some("https://a/b/"));
        assert_eq!(http.trusted_proxies, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(http.cors_origins, Origins::Listed(Vec::new()));
        assert_eq!(http.cache_max_age, Duration::from_secs(6));
        let https = Https { port: 7, keystore: "/k.p12".into(), password: Secret::new("hunter3") };
        assert_eq!(config.https, Some(https));
        let client = &config.client;
        assert_eq!((client.host.as_str(), client.security), ("c", SecurityMode::Required));
        assert_eq!(client.tls_ca, Some("/ca.pem".into()));
        let gate = Gate {
            reply_timeout: Duration::from_millis(8),
            cache_ttl: Duration::from_secs(9),
            pending_per_user_max: 10,
            pending_per_address_max: 11,
            pending_max: 12,
            lookups_per_address_max: 22,
            lookups_max: 23,
            domains: Domains::Any,
        };
        assert_eq!(config.gate, gate);
        let media = Media {
            root: "/srv/media".into(),
            sync: false,
            size_limit: 13,
            to_disk_threshold: 14,
            quota_channel: Some(24),
            quota_user: Some(25),
        };
        assert_eq!(config.media, media);
        let preview = Preview {
            max_pixels: 16,
            max_bytes: 17,
            max_count: 18,
            timeout: Duration::from_secs(19),
            jobs_max: 20,
            queue_max: 21,
            ffmpeg: "/f".into(),
            ffprobe: "/p".into(),
            sandbox: Sandbox::STANDARD,
        };
        assert_eq!(config.preview, preview);
        assert!(matches!(config.metadata.database, Database::Postgres(PostgresUrl { .. })));
        assert_eq!(config.metadata.pool_size, 15);
        assert_eq!(config.admin.bind, ["127.0.0.1:22", "[::1]:23"].map(|address| address.parse().unwrap()));
        assert_eq!(config.logging, Logging { file: Some("/l".into()), level: log::LevelFilter::Trace });
    }

    #[test]
    fn https_replaces_http_unless_both_are_said() {
        let table = [
            ("", true, false),
            ("https.enabled=true", false, true),
            ("https.enabled=TRUE\nhttp.enabled=true", true, true),
            ("http.enabled=true", true, false),
        ];
        for (text, http, https) in table {
            let config = read(&format!("{HTTPS}https.enabled=false\n{text}")).unwrap();
            assert_eq!((config.http.enabled, config.https.is_some()), (http, https), "{text}");
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
            assert!(text.starts_with("f:14: https.keystore.type: Java keystores are not read"), "{text}");
            let line = "keytool -importkeystore -srckeystore /k.jks -srcstoretype JKS -destkeystore /k.p12 ";
            assert!(text.contains(line), "{text}");
        }
        assert!(read("https.keystore.type=JKS").is_ok(), "not looked at without HTTPS");
    }

    #[test]
    fn transfers_leave_workers_free() {
        for threads in 3..=1024 {
            let http = read(&format!("http.threads={threads}")).unwrap().http;
            assert!(http.uploads_max > 0 && http.uploads_max + http.downloads_max < threads, "{threads}");
        }
        assert_eq!(
            refused("http.threads=20\nhttp.uploads.max=10"),
            "f:10: http.threads: 20 threads must be more than http.uploads.max (10) and http.downloads.max \
             (10) together"
        );
        assert!(read("http.uploads.max=64\nhttp.downloads.max=63").is_ok());
        assert!(read("http.uploads.max=64\nhttp.downloads.max=64").is_err());
    }

    #[test]
    fn previews_leave_workers_free() {
        for threads in 3..=1024 {
            let preview = read(&format!("http.threads={threads}")).unwrap().preview;
            assert!(preview.jobs_max > 0 && preview.jobs_max + preview.queue_max < threads, "{threads}");
        }
        assert_eq!(
            refused("http.threads=20\npreview.jobs.max=4\npreview.queue.max=16"),
            "f:10: http.threads: 20 threads must be more than preview.jobs.max (4) and preview.queue.max (16) \
             together"
        );
    }

    #[test]
    fn the_account_is_a_local_part_or_an_address() {
        let account = |name: &str| read(&format!("xmpp.connection.username={name}"));
        for name in ["media", "Media", "media@example.com", "media@EXAMPLE.com"] {
            assert_eq!(account(name).unwrap().client.jid.as_str(), "media@example.com", "{name}");
        }
        for (name, what) in [
            ("media@example.org", "its domain is not xmpp.connection.servicename"),
            ("media@example.com/x", "neither the local part of an XMPP address nor a bare one"),
            ("a b", "neither the local part of an XMPP address nor a bare one"),
            ("@example.com", "neither the local part of an XMPP address nor a bare one"),
        ] {
            assert_eq!(
                account(name).unwrap_err().to_string(),
                format!("f:10: xmpp.connection.username: {what}")
            );
        }
    }

    #[test]
    fn the_component_has_a_domain() {
        let jid = |text: &str| read(text).map(|config| config.component.jid.to_string());
        assert_eq!(jid("xmpp.component.subdomain=a.b\nxmpp.component.servername=c.d").unwrap(), "a.b.c.d");
        assert_eq!(jid("xmpp.component.subdomain=a.b").unwrap(), "a.b");
        for bad in [".b", "a@b.c", "a b.c", "a/b.c"] {
            assert!(jid(&format!("xmpp.component.subdomain={bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_some_settings_are_reloaded() {
        let before = source("http.port=1\nlogging.level=info\nhttp.threads=5");
        let after = source("http.port=2\nlogging.level=debug\nhttp.threads=5\nhttp.bind=::1");
        assert_eq!(need_restart(&before, &after), ["http.port", "http.bind"]);
        assert!(need_restart(&before, &before).is_empty());
    }
}
