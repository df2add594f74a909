//! Builds the settings of each layer from the table: one line per setting. Defaults that derive from other settings,
//! and contradictions between settings, are here, too.

mod uploads;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use super::keystore::convert;
use super::list::Bind;
use super::settings::{self as s, TypedSetting};
use super::types::{KeystoreFormat, OldStorage, Size};
use super::values::{Notice, Source, Values};
use super::{Database, Keystore};
use crate::error::{Error, Kind, Result};
use crate::model::{BareJid, Quotas};
use crate::uploads::Settings as UploadSettings;
use crate::{access, component, http, limits, media, preview, s3, web, xmpp};

/// A valid configuration: what each layer is given.
#[derive(Clone, Debug)]
pub struct Config {
    /// The HTTP server, without the certificate: `keystore` says where that is. The limit of connections is the wanted
    /// one.
    pub http: http::Settings,
    /// `https.keystore.*`; none if HTTPS is not served.
    pub keystore: Option<Keystore>,
    /// The HTTP server of `/metrics` and `/healthz`; without an address to listen on it is not wanted.
    pub admin: http::Settings,
    /// The routes.
    pub web: web::Settings,
    /// The component and the client.
    pub xmpp: xmpp::Settings,
    /// Settings of the component's commands.
    pub component: component::Settings,
    /// The gate.
    pub access: access::Settings,
    /// The library.
    pub media: media::Settings,
    /// The uploads by slot.
    pub uploads: UploadSettings,
    /// The previews.
    pub previews: media::PreviewSettings,
    /// The housekeeper.
    pub housekeeping: media::HousekeepingSettings,
    /// The files.
    pub storage: Storage,
    /// `jdbc.*`
    pub database: Database,
    /// `node.name`; none: no other node uses the database.
    pub node: Option<String>,
    /// `logging.*`
    pub logging: Logging,
}

/// Where and how files are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// `media.storage.root`
    pub root: PathBuf,
    /// `media.storage.sync`
    pub sync: bool,
    /// `media.storage.shared`
    pub shared: bool,
    /// `media.storage.from`
    pub from: Option<OldStorage>,
    /// `media.storage.s3.*`; none if no files are or were in a bucket.
    pub s3: Option<s3::Settings>,
    /// `media.storage.s3.cache.bytes`
    pub cache_bytes: u64,
    /// `media.storage.s3.redirect`; none: never.
    pub redirect_from: Option<u64>,
}

impl Storage {
    /// The bucket that new files go to, unless that is the root.
    pub fn bucket(&self) -> Option<&s3::Settings> {
        self.s3.as_ref().filter(|_| self.from != Some(OldStorage::Bucket))
    }
}

/// The level and the place of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `logging.file`; none: standard error.
    pub file: Option<PathBuf>,
    /// `logging.level`
    pub level: log::LevelFilter,
}

/// A new configuration as far as it can take effect while the server runs.
#[derive(Debug)]
pub struct Merged {
    /// The configuration that takes effect.
    pub config: Config,
    /// The same as keys and values: the running configuration of the next reload.
    pub source: Source,
    /// The keys whose new values take effect when the server is restarted.
    pub waiting: Vec<&'static str>,
    /// Notices for the operator about the new configuration.
    pub notices: Vec<Notice>,
}

impl Config {
    /// Reads a configuration. Errors are of kind `Config` and name everything that is wrong; the notices are
    /// to be logged.
    pub fn read(source: &Source) -> Result<(Self, Vec<Notice>)> {
        let values = Values::read(source)?;
        Ok((Self::build(&values)?, values.into_notices()))
    }

    /// Fails if one of these notices is about an unknown key. The error is of kind `Config` and names them all.
    pub fn refuse_unknown_keys(notices: &[Notice]) -> Result<()> {
        let unknown: Vec<_> =
            notices.iter().filter(|notice| notice.unknown_key).map(|notice| notice.text.as_str()).collect();
        if unknown.is_empty() { Ok(()) } else { Err(Error::new(Kind::Config, unknown.join("; "))) }
    }

    /// Reads a configuration that is to replace a running one. Settings that take a restart keep their running values,
    /// and defaults derive from what is in force. The new configuration must be valid by itself.
    pub fn merge(running: &Source, new: &Source) -> Result<Merged> {
        let mut values = Values::read(new)?;
        Self::build(&values)?;
        let waiting = values.keep_running(&Values::matched(running));
        let (config, source) = (Self::build(&values)?, values.to_source());
        Ok(Merged { config, source, waiting, notices: values.into_notices() })
    }

    fn build(values: &Values<'_>) -> Result<Self> {
        let storage = storage(values)?;
        let threads = values.need(&s::HTTP_THREADS)?;
        let uploads = uploads::settings(values)?;
        Ok(Self {
            http: http(values, threads)?,
            keystore: keystore(values)?,
            admin: admin(values)?,
            web: web(values)?,
            xmpp: xmpp(values)?,
            component: component::Settings {
                admins: values.get(&s::ADMIN_JIDS)?.unwrap_or_default(),
                endpoint: endpoint(values)?,
            },
            access: access(values, &uploads)?,
            media: media(values)?,
            housekeeping: housekeeping(values)?,
            uploads,
            previews: previews(values, threads)?,
            database: database(values, &storage)?,
            node: values.get(&s::NODE_NAME)?,
            logging: Logging { file: values.get(&s::LOGGING_FILE)?, level: values.need(&s::LOGGING_LEVEL)? },
            storage,
        })
    }
}

fn http(values: &Values<'_>, threads: usize) -> Result<http::Settings> {
    Ok(http::Settings {
        listen: listen(values)?,
        limits: http_limits(values, threads)?,
        turns: turns(),
        threads,
        trusted_proxies: values.get(&s::HTTP_TRUSTED_PROXIES)?.unwrap_or_default(),
        ..http::Settings::default()
    })
}

/// Each processor can keep one thread busy that handles events.
fn turns() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get).max(limits::TURNS_MIN)
}

/// The addresses of HTTP and HTTPS.
fn listen(values: &Values<'_>) -> Result<Vec<http::Listen>> {
    let https = values.need(&s::HTTPS_ENABLED)?;
    let http = values.get(&s::HTTP_ENABLED)?.unwrap_or(!https);
    if !http && !https {
        return Err(values.wrong(s::HTTP_ENABLED.key, "neither HTTP nor HTTPS would be served"));
    }
    let bind = values.need(&s::HTTP_BIND)?;
    let mut listen = Vec::new();
    if http {
        listen.extend(addresses(&bind, values.need(&s::HTTP_PORT)?, false, "http.port or http.bind"));
    }
    if https {
        let port = values.need(&s::HTTPS_PORT)?;
        if http && port > 0 && port == values.need(&s::HTTP_PORT)? {
            return Err(values.wrong(s::HTTPS_PORT.key, "the same as http.port"));
        }
        listen.extend(addresses(&bind, port, true, "https.port or http.bind"));
    }
    Ok(listen)
}

fn addresses(bind: &Bind, port: u16, tls: bool, keys: &'static str) -> Vec<http::Listen> {
    let listen =
        |address, optional| http::Listen { address: SocketAddr::new(address, port), tls, optional, keys };
    match bind {
        // A system without IPv6 has only the other.
        Bind::All => {
            vec![listen(Ipv4Addr::UNSPECIFIED.into(), false), listen(Ipv6Addr::UNSPECIFIED.into(), true)]
        }
        Bind::Addresses(addresses) => addresses.iter().map(|address| listen(*address, false)).collect(),
    }
}

/// Slow uploads must leave some threads to other requests.
fn http_limits(values: &Values<'_>, threads: usize) -> Result<http::Limits> {
    let uploads = values.get(&s::HTTP_UPLOADS_MAX)?.unwrap_or(threads * 3 / 8);
    if uploads >= threads {
        let what = format!("{threads} threads must be more than http.uploads.max ({uploads})");
        return Err(values.wrong(s::HTTP_THREADS.key, &what));
    }
    Ok(http::Limits {
        connections: values.need(&s::HTTP_CONNECTIONS_MAX)?,
        connections_per_address: values.need(&s::HTTP_CONNECTIONS_PER_ADDRESS_MAX)?,
        requests_per_second: values.need(&s::HTTP_RATE_LIMIT)?,
        uploads,
    })
}

fn keystore(values: &Values<'_>) -> Result<Option<Keystore>> {
    if !values.need(&s::HTTPS_ENABLED)? {
        return Ok(None);
    }
    let path = values.need(&s::HTTPS_KEYSTORE_PATH)?;
    if values.need(&s::HTTPS_KEYSTORE_TYPE)? == KeystoreFormat::Jks {
        return Err(values.wrong(s::HTTPS_KEYSTORE_TYPE.key, &convert(&path)));
    }
    Ok(Some(Keystore { path, password: values.need(&s::HTTPS_KEYSTORE_PASSWORD)? }))
}

/// The server for monitoring is small and separate from everything else.
fn admin(values: &Values<'_>) -> Result<http::Settings> {
    let listen = |address| http::Listen { address, tls: false, optional: false, keys: "admin.bind" };
    let max = limits::ADMIN_CONNECTIONS;
    Ok(http::Settings {
        listen: values.get(&s::ADMIN_BIND)?.unwrap_or_default().into_iter().map(listen).collect(),
        limits: http::Limits {
            connections: max,
            connections_per_address: max,
            uploads: 1,
            ..http::Limits::default()
        },
        turns: 1,
        threads: max,
        max_deferred: max,
        // A monitor that asks every few seconds would fill the log.
        access_level: log::Level::Debug,
        ..http::Settings::default()
    })
}

fn web(values: &Values<'_>) -> Result<web::Settings> {
    Ok(web::Settings {
        endpoint: endpoint(values)?,
        cache_max_age: values.need(&s::CACHE_MAX_AGE)?,
        cors: values.need(&s::HTTP_CORS_ORIGINS)?,
        page_indexed: values.need(&s::PAGE_INDEXED)?,
        component: component(values)?.jid,
    })
}

/// `http.endpoint` without a slash at its end.
fn endpoint(values: &Values<'_>) -> Result<Option<String>> {
    let endpoint = values.get(&s::HTTP_ENDPOINT)?;
    Ok(endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()))
}

fn xmpp(values: &Values<'_>) -> Result<xmpp::Settings> {
    Ok(xmpp::Settings {
        component: component(values)?,
        client: client(values)?,
        times: xmpp::Times::default(),
    })
}

fn component(values: &Values<'_>) -> Result<xmpp::ComponentSettings> {
    let servername = values.need(&s::XMPP_COMPONENT_SERVERNAME)?;
    let subdomain = values.need(&s::XMPP_COMPONENT_SUBDOMAIN)?;
    let jid = format!("{subdomain}.{servername}").parse::<BareJid>().ok();
    let jid = jid.filter(|jid| jid.local().is_none());
    Ok(xmpp::ComponentSettings {
        host: values.need(&s::XMPP_COMPONENT_HOST)?,
        port: values.need(&s::XMPP_COMPONENT_PORT)?,
        jid: jid.ok_or_else(|| values.wrong(s::XMPP_COMPONENT_SUBDOMAIN.key, "not a domain name"))?,
        secret: values.need(&s::XMPP_COMPONENT_SECRETKEY)?,
    })
}

fn client(values: &Values<'_>) -> Result<xmpp::ClientSettings> {
    let service = values.need(&s::XMPP_CONNECTION_SERVICENAME)?;
    let host = values.get(&s::XMPP_CONNECTION_HOST)?.unwrap_or_else(|| service.to_string());
    Ok(xmpp::ClientSettings {
        host,
        port: values.need(&s::XMPP_CONNECTION_PORT)?,
        username: account(values, &service)?,
        service,
        password: values.need(&s::XMPP_CONNECTION_PASSWORD)?,
        security: values.need(&s::XMPP_CONNECTION_SECURITYMODE)?,
        ca: values.get(&s::XMPP_CONNECTION_TLS_CA)?,
        connector: None,
        resource: limits::XMPP_RESOURCE.to_owned(),
        available: true,
        names: xmpp::SettingNames::SERVER,
    })
}

/// The local part of the account's address, which is written as that or as the whole address.
fn account(values: &Values<'_>, domain: &BareJid) -> Result<String> {
    let wrong = |what| values.wrong(s::XMPP_CONNECTION_USERNAME.key, what);
    let username = values.need(&s::XMPP_CONNECTION_USERNAME)?;
    let whole = if username.contains('@') { username } else { format!("{username}@{domain}") };
    let jid: BareJid =
        whole.parse().map_err(|_| wrong("neither the local part of an XMPP address nor a bare JID"))?;
    if jid.domain() != domain.as_str() {
        return Err(wrong("its domain is not xmpp.connection.servicename"));
    }
    Ok(jid.local().unwrap_or_default().to_owned())
}

fn access(values: &Values<'_>, uploads: &UploadSettings) -> Result<access::Settings> {
    let servername = values.need(&s::XMPP_COMPONENT_SERVERNAME)?;
    let own = || vec![access::DomainRule::Below(servername.to_string())];
    Ok(access::Settings {
        domains: values.get(&s::MEDIA_DOMAINS)?.unwrap_or_else(own),
        reply_timeout: values.need(&s::XMPP_REPLY_TIMEOUT)?,
        cache_ttl: values.need(&s::XMPP_CACHE_TTL)?,
        confirm_stanza: values.need(&s::XMPP_CONFIRM_STANZA)?,
        confirm_address: values.need(&s::XMPP_CONFIRM_ADDRESS)?,
        pending_per_user: values.need(&s::XMPP_PENDING_PER_USER_MAX)?,
        pending_per_address: values.need(&s::XMPP_PENDING_PER_ADDRESS_MAX)?,
        pending_total: values.need(&s::XMPP_PENDING_MAX)?,
        lookups_per_address: values.need(&s::XMPP_LOOKUPS_PER_ADDRESS_MAX)?,
        lookups_total: values.need(&s::XMPP_LOOKUPS_MAX)?,
        nodes: values.get(&s::XMPP_CHANNEL_NODES)?.unwrap_or_default(),
        endpoint: values.get(&s::HTTP_ENDPOINT)?,
        upload_size: uploads.enabled.then(|| uploads.max_size()),
        service_name: values.need(&s::XMPP_CONNECTION_SERVICENAME)?,
    })
}

fn media(values: &Values<'_>) -> Result<media::Settings> {
    Ok(media::Settings {
        size_limit: values.need(&s::MEDIA_SIZELIMIT)?,
        to_disk_threshold: values.need(&s::MEDIA_TODISK_THRESHOLD)?,
        quotas: Quotas {
            channel: quota(values, &s::MEDIA_QUOTA_CHANNEL)?,
            user: quota(values, &s::MEDIA_QUOTA_USER)?,
        },
    })
}

fn housekeeping(values: &Values<'_>) -> Result<media::HousekeepingSettings> {
    Ok(media::HousekeepingSettings {
        interval: values.need(&s::HOUSEKEEPING_INTERVAL)?,
        orphan_age: values.need(&s::HOUSEKEEPING_ORPHAN_AGE)?,
        lost_keep: values.get(&s::HOUSEKEEPING_LOST_KEEP)?.filter(|keep| !keep.is_zero()),
    })
}

/// A quota in bytes, unless it is 0.
fn quota(values: &Values<'_>, setting: &TypedSetting<Size<u64>>) -> Result<Option<u64>> {
    Ok(Some(values.need(setting)?).filter(|bytes| *bytes > 0))
}

/// Previews that are made or waited for must leave some threads idle.
fn previews(values: &Values<'_>, threads: usize) -> Result<media::PreviewSettings> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let jobs = values.get(&s::PREVIEW_JOBS_MAX)?.unwrap_or(processors.min(6).min(threads / 3));
    let queue = values.get(&s::PREVIEW_QUEUE_MAX)?.unwrap_or(threads / 16);
    if jobs + queue >= threads {
        let what = format!(
            "{threads} threads must be more than preview.jobs.max ({jobs}) and preview.queue.max ({queue}) \
             together"
        );
        return Err(values.wrong(s::HTTP_THREADS.key, &what));
    }
    Ok(media::PreviewSettings {
        count: values.need(&s::PREVIEW_MAX_COUNT)?,
        jobs,
        queue,
        ahead: values.need(&s::PREVIEW_AT_UPLOAD)?,
        studio: preview::Settings {
            max_pixels: values.need(&s::PREVIEW_MAX_PIXELS)?,
            max_bytes: values.need(&s::PREVIEW_MAX_BYTES)?,
            time: values.need(&s::PREVIEW_TIMEOUT)?,
            ffmpeg: values.need(&s::PREVIEW_FFMPEG)?,
            ffprobe: values.need(&s::PREVIEW_FFPROBE)?,
            decoding: preview::Decoding::Child(preview::own_program()),
            sandbox: values.get(&s::PREVIEW_SANDBOX)?.unwrap_or(preview::Sandbox::STANDARD),
        },
    })
}

fn storage(values: &Values<'_>) -> Result<Storage> {
    let storage = Storage {
        root: values.need(&s::MEDIA_STORAGE_ROOT)?,
        sync: values.need(&s::MEDIA_STORAGE_SYNC)?,
        shared: values.need(&s::MEDIA_STORAGE_SHARED)?,
        from: values.get(&s::MEDIA_STORAGE_FROM)?,
        s3: bucket(values)?,
        cache_bytes: values.need(&s::MEDIA_STORAGE_S3_CACHE_BYTES)?,
        redirect_from: Some(values.need(&s::MEDIA_STORAGE_S3_REDIRECT)?).filter(|bytes| *bytes > 0),
    };
    let wrong = |what| Err(values.wrong(s::MEDIA_STORAGE_FROM.key, what));
    match &storage.from {
        Some(OldStorage::Directory(old)) if *old == storage.root && storage.s3.is_none() => {
            wrong("the same as media.storage.root")
        }
        Some(OldStorage::Bucket) if storage.s3.is_none() => wrong("media.storage.s3.endpoint is missing"),
        _ => Ok(storage),
    }
}

/// The bucket of the files, if there is one.
fn bucket(values: &Values<'_>) -> Result<Option<s3::Settings>> {
    let (name, access) =
        (values.get(&s::MEDIA_STORAGE_S3_BUCKET)?, values.get(&s::MEDIA_STORAGE_S3_ACCESS_KEY)?);
    let secret = values.get(&s::MEDIA_STORAGE_S3_SECRET_KEY)?;
    let Some(endpoint) = values.get(&s::MEDIA_STORAGE_S3_ENDPOINT)? else {
        // Files would go to another place than the operator thinks.
        let lonely = [
            (name.is_some(), s::MEDIA_STORAGE_S3_BUCKET.key),
            (access.is_some(), s::MEDIA_STORAGE_S3_ACCESS_KEY.key),
        ];
        return match lonely.iter().find(|(is_set, _)| *is_set) {
            Some((_, key)) => Err(values.wrong(key, "media.storage.s3.endpoint is missing")),
            None => Ok(None),
        };
    };
    let missing = |key| values.wrong(key, "missing: media.storage.s3.endpoint needs it");
    Ok(Some(s3::Settings {
        endpoint: endpoint.trim_end_matches('/').to_owned(),
        bucket: name.ok_or_else(|| missing(s::MEDIA_STORAGE_S3_BUCKET.key))?,
        region: values.need(&s::MEDIA_STORAGE_S3_REGION)?,
        access_key: access.ok_or_else(|| missing(s::MEDIA_STORAGE_S3_ACCESS_KEY.key))?,
        secret_key: secret.ok_or_else(|| missing(s::MEDIA_STORAGE_S3_SECRET_KEY.key))?,
        timeout: values.need(&s::MEDIA_STORAGE_S3_TIMEOUT)?,
    }))
}

fn database(values: &Values<'_>, storage: &Storage) -> Result<Database> {
    let embedded = || Database::Sqlite(storage.root.join("metadata.sqlite"));
    let mut database = values.get(&s::JDBC_DB_URL)?.unwrap_or_else(embedded);
    let has_nodes = values.get(&s::NODE_NAME)?.is_some();
    if storage.shared && !has_nodes {
        let what = "each node needs a name of its own: set node.name";
        return Err(values.wrong(s::MEDIA_STORAGE_SHARED.key, what));
    }
    if storage.s3.is_some() && matches!(database, Database::Sqlite(_)) {
        let what =
            "files in an S3 store need their metadata in PostgreSQL (jdbc:postgresql:...), not in SQLite";
        return Err(values.wrong(s::JDBC_DB_URL.key, what));
    }
    match &mut database {
        Database::Postgres(settings) => {
            settings.pool_size = values.need(&s::JDBC_POOL_SIZE)?;
            settings.has_nodes = has_nodes;
        }
        Database::Sqlite(_) if has_nodes => {
            let what = "an embedded database has one server: name a PostgreSQL database in jdbc.db.url";
            return Err(values.wrong(s::NODE_NAME.key, what));
        }
        Database::Sqlite(_) => {}
    }
    Ok(database)
}

#[cfg(test)]
mod tests;
