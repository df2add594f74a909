//! From the configuration to what each layer is told.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::{Bind, Config, Database, Domains, Https, Origins, PostgresUrl, SecurityMode};
use crate::error::{Error, Kind, Result};
use crate::http::cors::Cors;
use crate::media::Library;
use crate::model::Quotas;
use crate::store::{
    Directory, Metadata, Postgres, PostgresSettings, Sqlite, SqliteSchema, Store, Uploads, verify,
};
use crate::{access, config, http, limits, media, preview, web, xmpp};

/// Files and metadata, ready but for [`Library::open`].
pub(super) fn library(config: &Config) -> Result<Library> {
    let config::Media { root, sync, .. } = &config.media;
    let (uploads, files) = (Uploads::open(root, *sync)?, Box::new(Directory::open(root, *sync)?));
    let clock = Arc::new(SystemClock);
    Ok(Library::new(uploads, files, metadata(config)?, clock, media(config), previews(config)))
}

pub(super) fn media(config: &Config) -> media::Settings {
    let media = &config.media;
    media::Settings {
        size_limit: media.size_limit,
        to_disk_threshold: media.to_disk_threshold,
        quotas: Quotas { channel: media.quota_channel, user: media.quota_user },
    }
}

pub(super) fn previews(config: &Config) -> media::PreviewSettings {
    let preview = &config.preview;
    media::PreviewSettings {
        count: preview.max_count,
        jobs: preview.jobs_max,
        queue: preview.queue_max,
        studio: preview::Settings {
            max_pixels: preview.max_pixels,
            max_bytes: preview.max_bytes,
            time: preview.timeout,
            ffmpeg: preview.ffmpeg.clone(),
            ffprobe: preview.ffprobe.clone(),
        },
    }
}

fn metadata(config: &Config) -> Result<Box<dyn Metadata>> {
    Ok(match &config.metadata.database {
        Database::Postgres(url) => {
            Box::new(Store::new(Postgres::new(&postgres(url, config.metadata.pool_size))?))
        }
        Database::Sqlite(path) => {
            verify(SqliteSchema::new(path, &config.media.root).version()?)?;
            Box::new(Store::new(Sqlite::new(path, config.media.sync)))
        }
    })
}

/// A JDBC URL as the store wants it.
pub(super) fn postgres(url: &PostgresUrl, pool_size: u32) -> PostgresSettings {
    PostgresSettings {
        hosts: url.hosts.clone(),
        user: url.user.clone(),
        password: url.password.clone(),
        database: database_name(url),
        ssl: url.ssl_mode,
        ssl_root: url.ssl_root.clone(),
        schema: url.schema.clone(),
        connect_timeout: url.connect_timeout,
        socket_timeout: url.socket_timeout,
        application_name: url.application_name.clone(),
        pool_size,
    }
}

/// The database of a URL without one is named like the user, and the user like the system's, as in libpq.
fn database_name(url: &PostgresUrl) -> String {
    let named = url.database.clone().or_else(|| url.user.clone());
    named.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "postgres".to_owned())
}

pub(super) fn http(config: &Config) -> Result<http::Settings> {
    let http = &config.http;
    let mut listen = Vec::new();
    if http.enabled {
        listen.extend(addresses(&http.bind, http.port, false));
    }
    if let Some(https) = &config.https {
        listen.extend(addresses(&http.bind, https.port, true));
    }
    Ok(http::Settings {
        listen,
        https: config.https.as_ref().map(pkcs12).transpose()?,
        limits: limits(config),
        trusted_proxies: http.trusted_proxies.clone(),
        ..http::Settings::default()
    })
}

/// What serves those who watch: small, and apart from everything else.
pub(super) fn admin(config: &Config) -> http::Settings {
    let listen = |address: &SocketAddr| http::Listen { address: *address, tls: false, optional: false };
    let most = limits::ADMIN_CONNECTIONS;
    http::Settings {
        listen: config.admin.bind.iter().map(listen).collect(),
        limits: http::Limits {
            connections: most,
            connections_per_address: most,
            uploads: 1,
            // Of which one address has half.
            downloads: 2 * most,
            ..http::Limits::default()
        },
        max_queued: most,
        // What asks every few seconds would fill the log.
        access_level: log::Level::Debug,
        ..http::Settings::default()
    }
}

pub(super) fn limits(config: &Config) -> http::Limits {
    let http = &config.http;
    http::Limits {
        connections: super::connections(config),
        connections_per_address: http.connections_per_address_max,
        requests_per_second: http.rate_limit,
        uploads: http.uploads_max,
        downloads: http.downloads_max,
    }
}

fn addresses(bind: &Bind, port: u16, tls: bool) -> Vec<http::Listen> {
    let listen = |address, optional| http::Listen { address: SocketAddr::new(address, port), tls, optional };
    match bind {
        // A system without IPv6 has only the other.
        Bind::All => {
            vec![listen(Ipv4Addr::UNSPECIFIED.into(), false), listen(Ipv6Addr::UNSPECIFIED.into(), true)]
        }
        Bind::Addresses(addresses) => addresses.iter().map(|address| listen(*address, false)).collect(),
    }
}

pub(super) fn pkcs12(https: &Https) -> Result<http::Pkcs12> {
    let Https { keystore, password, .. } = https;
    let bytes = fs::read(keystore).map_err(|cause| unreadable(keystore, cause))?;
    Ok(http::Pkcs12 { bytes, password: password.clone() })
}

fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    let doing = format!("can't read the keystore {} (https.keystore.path)", path.display());
    Error::caused(Kind::Config, doing, cause)
}

pub(super) fn web(config: &Config) -> web::Settings {
    web::Settings {
        endpoint: config.http.endpoint.as_ref().map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
        cache_max_age: config.http.cache_max_age,
        cors: match &config.http.cors_origins {
            Origins::Any => Cors::Any,
            Origins::Listed(origins) => Cors::new(origins.clone()),
        },
    }
}

pub(super) fn gate(config: &Config) -> access::Settings {
    let gate = &config.gate;
    access::Settings {
        domains: match &gate.domains {
            Domains::Any => vec![access::DomainRule::Any],
            Domains::Listed(domains) => {
                domains.iter().map(|domain| access::DomainRule::Below(domain.to_string())).collect()
            }
        },
        reply_timeout: gate.reply_timeout,
        cache_ttl: gate.cache_ttl,
        pending_per_user: gate.pending_per_user_max,
        pending_per_address: gate.pending_per_address_max,
        pending_total: gate.pending_max,
        lookups_per_address: gate.lookups_per_address_max,
        lookups_total: gate.lookups_max,
        endpoint: config.http.endpoint.clone(),
        service_name: config.client.service(),
    }
}

pub(super) fn xmpp(config: &Config) -> xmpp::Settings {
    xmpp::Settings { component: component(config), client: client(config), times: xmpp::Times::default() }
}

pub(super) fn component(config: &Config) -> xmpp::ComponentSettings {
    let config::Component { host, port, jid, secret, .. } = config.component.clone();
    xmpp::ComponentSettings { host, port, jid, secret }
}

pub(super) fn client(config: &Config) -> xmpp::ClientSettings {
    let client = &config.client;
    xmpp::ClientSettings {
        host: client.host.clone(),
        port: client.port,
        service: client.service(),
        username: client.jid.local().unwrap_or_default().to_owned(),
        password: client.password.clone(),
        security: match client.security {
            SecurityMode::Disabled => xmpp::Security::Disabled,
            SecurityMode::Enabled => xmpp::Security::Enabled,
            SecurityMode::Required => xmpp::Security::Required,
        },
        ca: client.tls_ca.clone(),
        resource: limits::XMPP_RESOURCE.to_owned(),
    }
}
