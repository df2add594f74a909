//! The table of settings: one row per key. Parsing, defaults, errors and the checks of the manual and of
//! the example file all come from here.

use log::LevelFilter;

use self::Unset::{Is, Mandatory, Told, WithHttps};
use super::format::{
    Choice, Domain, Endpoint, Format, Host, Jdbc, KeystoreType, Number, Password, Path, SecurityMode, Span,
    Switch, Text,
};
use super::list::{Addresses, BindAddresses, DomainList, OriginList, SocketAddresses};
use crate::preview::Sandbox;

/// One setting, as the manual describes it.
pub struct Row {
    /// The key.
    pub key: &'static str,
    /// What happens where it is not set.
    pub default: Unset,
    /// Whether SIGHUP takes up a new value; else it takes a restart.
    pub reloadable: bool,
    /// What it is, in one line.
    pub help: &'static str,
    /// What must be written, with its range.
    pub describe: fn() -> String,
    /// Says what is wrong with a value, if anything is.
    pub(super) check: fn(&str) -> Result<(), String>,
    /// Whether an empty value is a value; else it counts as not set.
    pub(super) takes_nothing: fn() -> bool,
}

/// What happens where a setting is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It has this value.
    Is(&'static str),
    /// It depends on other settings, or nothing happens: in words.
    Told(&'static str),
    /// The configuration is refused.
    Mandatory,
    /// The configuration is refused if `https.enabled` is true.
    WithHttps,
}

/// A row that knows the type of its values.
pub(super) struct Setting<F> {
    pub(super) key: &'static str,
    pub(super) default: Unset,
    pub(super) format: F,
}

/// A key of the original that has no effect any more.
pub(super) struct Retired {
    pub(super) key: &'static str,
    /// What to tell about a value: nothing, a notice, or why it is refused.
    pub(super) judge: fn(&str) -> Result<Option<&'static str>, &'static str>,
}

/// Old spellings, and the key that is meant.
pub(super) const MISSPELT: &[(&str, &str)] =
    &[("https.keystore", "https.keystore.path"), ("http.test.port", "http.tests.port")];

/// Keys that old configurations hold and that are not in [`TABLE`].
pub(super) const RETIRED: &[Retired] = &[
    Retired { key: "http.tests.port", judge: |_| Ok(None) },
    Retired {
        key: "https.key.password",
        judge: |_| Ok(Some("not used: a PKCS#12 file has one password, https.keystore.password")),
    },
    Retired {
        key: "jdbc.driver.class",
        judge: |class| match class {
            "" | "org.postgresql.Driver" | "org.sqlite.JDBC" => Ok(None),
            _ => Ok(Some("not used: jdbc.db.url alone chooses the database")),
        },
    },
    Retired {
        key: "xmpp.connection.saslenabled",
        judge: |enabled| match enabled.to_ascii_lowercase().as_str() {
            "" | "true" => Ok(None),
            _ => Err("log-in without SASL (XEP-0078) is obsolete and not supported; remove the line"),
        },
    },
];

const RELOAD: bool = true;
const RESTART: bool = false;

/// Bytes, of which 0 means without end.
const QUOTA: Number<u64> = Number { min: 0, max: i64::MAX.unsigned_abs() };
const PORT: Number<u16> = Number { min: 1, max: u16::MAX };
/// A port to listen on: 0 lets the system choose one.
const LISTENING_PORT: Number<u16> = Number { min: 0, max: u16::MAX };

macro_rules! settings {
    ($($name:ident: $type:ty = $format:expr, $key:literal, $default:expr, $change:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(super) const $name: Setting<$type> =
                Setting { key: $key, default: $default, format: $format };
        )*

        /// Every setting there is, in the manual's order.
        pub const TABLE: &[Row] = &[$(
            Row {
                key: $name.key,
                default: $name.default,
                reloadable: $change,
                help: $help,
                describe: || $name.format.describe(),
                check: |text| $name.format.parse(text).map(drop),
                takes_nothing: || $name.format.takes_nothing(),
            },
        )*];
    };
}

settings! {
    HTTP_ENABLED: Switch = Switch, "http.enabled", Told("true unless https.enabled is"), RESTART,
        "Whether HTTP is served in the clear.";
    HTTP_PORT: Number<u16> = LISTENING_PORT, "http.port", Is("8080"), RESTART,
        "The TCP port of HTTP; 0 lets the system choose a free one.";
    HTTP_BIND: BindAddresses = BindAddresses, "http.bind", Is("*"), RESTART,
        "The addresses that HTTP and HTTPS listen on; * is every one, IPv4 and IPv6.";
    HTTP_ENDPOINT: Endpoint = Endpoint, "http.endpoint", Told("not announced"), RELOAD,
        "The URL under which clients reach the server: shown in discovery and in confirmations.";
    HTTP_THREADS: Number<usize> = Number { min: 3, max: 1024 }, "http.threads", Is("128"), RESTART,
        "Threads that serve requests, at most.";
    HTTP_UPLOADS_MAX: Number<usize> = Number { min: 1, max: 1023 }, "http.uploads.max",
        Told("three eighths of http.threads: 48"), RELOAD,
        "Uploads under way at once, half of them for one address; those beyond are answered 503.";
    HTTP_DOWNLOADS_MAX: Number<usize> = Number { min: 1, max: 1023 }, "http.downloads.max",
        Told("half of http.threads: 64"), RELOAD,
        "Large downloads under way at once, half of them for one address; those beyond are answered 503.";
    HTTP_CONNECTIONS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 }, "http.connections.max",
        Is("8192"), RELOAD,
        "Open connections of clients, as far as the limit of open files allows.";
    HTTP_CONNECTIONS_PER_ADDRESS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 },
        "http.connections.per.address.max", Is("256"), RELOAD,
        "Open connections of one client address; those beyond are answered 429.";
    HTTP_RATE_LIMIT: Number<u32> = Number { min: 0, max: 1_000_000 }, "http.rate.limit", Is("0"), RELOAD,
        "Requests a second of one client address; those beyond are answered 429; 0 is any number.";
    HTTP_TRUSTED_PROXIES: Addresses = Addresses, "http.trusted.proxies", Told("none"), RESTART,
        "Front servers whose X-Forwarded-For is believed, and which are not limited themselves.";
    HTTP_CORS_ORIGINS: OriginList = OriginList, "http.cors.origins", Is("*"), RELOAD,
        "The origins whose web pages may use the answers (CORS); * is every one, nothing is none.";
    CACHE_MAX_AGE: Span = Span::seconds(0, 31_536_000), "cache.max.age", Is("86400"), RELOAD,
        "How long clients may keep public media without asking again.";

    HTTPS_ENABLED: Switch = Switch, "https.enabled", Is("false"), RESTART,
        "Whether HTTPS is served; instead of HTTP, unless http.enabled says otherwise.";
    HTTPS_PORT: Number<u16> = LISTENING_PORT, "https.port", WithHttps, RESTART,
        "The TCP port of HTTPS; 0 lets the system choose a free one.";
    HTTPS_KEYSTORE_PATH: Path = Path, "https.keystore.path", WithHttps, RELOAD,
        "The file with the certificate, its chain and its key.";
    HTTPS_KEYSTORE_TYPE: KeystoreType = KeystoreType, "https.keystore.type", Is("PKCS12"), RELOAD,
        "The format of that file.";
    HTTPS_KEYSTORE_PASSWORD: Password = Password, "https.keystore.password", WithHttps, RELOAD,
        "The password of that file.";

    XMPP_COMPONENT_HOST: Host = Host, "xmpp.component.host", Mandatory, RESTART,
        "The XMPP server that takes external components (XEP-0114).";
    XMPP_COMPONENT_PORT: Number<u16> = PORT, "xmpp.component.port", Mandatory, RESTART,
        "Its port for components: 5347 in Prosody, 5275 in Openfire.";
    XMPP_COMPONENT_SUBDOMAIN: Text = Text, "xmpp.component.subdomain", Mandatory, RESTART,
        "The component's name within xmpp.component.servername.";
    XMPP_COMPONENT_SERVERNAME: Domain = Domain, "xmpp.component.servername", Mandatory, RESTART,
        "The XMPP domain; may be left out if the subdomain is a whole name, as media.example.com.";
    XMPP_COMPONENT_SECRETKEY: Password = Password, "xmpp.component.secretkey", Mandatory, RESTART,
        "The secret shared with the XMPP server.";

    XMPP_CONNECTION_USERNAME: Text = Text, "xmpp.connection.username", Mandatory, RESTART,
        "The account that asks for the rights of users: its local part or its whole address.";
    XMPP_CONNECTION_PASSWORD: Password = Password, "xmpp.connection.password", Mandatory, RESTART,
        "The password of that account.";
    XMPP_CONNECTION_HOST: Host = Host, "xmpp.connection.host", Told("xmpp.connection.servicename"), RESTART,
        "The host that the account logs in to.";
    XMPP_CONNECTION_PORT: Number<u16> = PORT, "xmpp.connection.port", Mandatory, RESTART,
        "Its port for clients, mostly 5222.";
    XMPP_CONNECTION_SERVICENAME: Domain = Domain, "xmpp.connection.servicename", Mandatory, RESTART,
        "The XMPP domain of the account.";
    XMPP_CONNECTION_SECURITYMODE: Choice<SecurityMode> = Choice(SecurityMode::WORDS),
        "xmpp.connection.securitymode", Is("enabled"), RESTART,
        "STARTTLS: never, if the server offers it, or always; the certificate is verified.";
    XMPP_CONNECTION_TLS_CA: Path = Path, "xmpp.connection.tls.ca", Told("the system's authorities"), RESTART,
        "A PEM file with the authority that signed the XMPP server's certificate.";

    XMPP_REPLY_TIMEOUT: Span = Span::milliseconds(1, 3_600_000), "xmpp.reply.timeout", Is("30000"), RELOAD,
        "How long a user may take to confirm a request, and a server to answer.";
    XMPP_CACHE_TTL: Span = Span::seconds(0, 86_400), "xmpp.cache.ttl", Is("30"), RELOAD,
        "How long discovered services, access models and affiliations are kept; 0 is not at all.";
    XMPP_PENDING_PER_USER_MAX: Number<usize> = Number { min: 1, max: 1_000_000 },
        "xmpp.pending.per.user.max", Is("8"), RELOAD,
        "Unanswered confirmations of one user; requests beyond are answered 429.";
    XMPP_PENDING_PER_ADDRESS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 },
        "xmpp.pending.per.address.max", Is("256"), RELOAD,
        "Unanswered confirmations of one client address; requests beyond are answered 429.";
    XMPP_PENDING_MAX: Number<usize> = Number { min: 1, max: 1_000_000 }, "xmpp.pending.max", Is("1024"),
        RELOAD, "Unanswered confirmations in all; requests beyond are answered 503.";
    XMPP_LOOKUPS_PER_ADDRESS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 },
        "xmpp.lookups.per.address.max", Is("64"), RELOAD,
        "Open questions about channels for one client address; requests beyond are answered 429.";
    XMPP_LOOKUPS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 }, "xmpp.lookups.max", Is("1024"),
        RELOAD, "Open questions about channels in all; requests beyond are answered 503.";

    MEDIA_DOMAINS: DomainList = DomainList, "media.domains", Told("xmpp.component.servername"), RELOAD,
        "The domains, subdomains included, whose channels are served; * is every one.";
    MEDIA_STORAGE_ROOT: Path = Path, "media.storage.root", Mandatory, RESTART,
        "The directory of the media files.";
    MEDIA_STORAGE_SYNC: Switch = Switch, "media.storage.sync", Is("on"), RESTART,
        "Whether a file is on the disk before its upload is answered; off only for benchmarks.";
    MEDIA_SIZELIMIT: Number<u64> = Number { min: 1, max: i64::MAX.unsigned_abs() }, "media.sizelimit",
        Is("104857600"), RELOAD,
        "Bytes of the largest file that is taken.";
    MEDIA_TODISK_THRESHOLD: Number<usize> = Number { min: 0, max: 1 << 30 }, "media.todisk.threshold",
        Is("1048576"), RELOAD,
        "Bytes of an upload that are held in memory before it goes to the disk.";

    MEDIA_QUOTA_CHANNEL: Number<u64> = QUOTA, "media.quota.channel", Is("0"), RELOAD,
        "Bytes that the media of a channel may take together; 0 is without end.";
    MEDIA_QUOTA_USER: Number<u64> = QUOTA, "media.quota.user", Is("0"), RELOAD,
        "Bytes that the media of one uploader may take together, in all channels; 0 is without end.";

    PREVIEW_MAX_PIXELS: Number<u64> = Number { min: 1, max: 1_000_000_000 }, "preview.max.pixels",
        Is("50000000"), RELOAD,
        "Pixels of the largest picture or frame that a preview is made of.";
    PREVIEW_MAX_BYTES: Number<u64> = Number { min: 1, max: 1 << 30 }, "preview.max.bytes", Is("67108864"),
        RELOAD,
        "Bytes of the largest picture that a preview is made of; it is read into memory.";
    PREVIEW_MAX_COUNT: Number<usize> = Number { min: 1, max: 10_000 }, "preview.max.count", Is("50"), RELOAD,
        "Previews of one media that are kept; those used longest ago go.";
    PREVIEW_TIMEOUT: Span = Span::seconds(1, 300), "preview.timeout", Is("20"), RELOAD,
        "How long one preview, or a look at a film, may take, and a request wait for its turn.";
    PREVIEW_JOBS_MAX: Number<usize> = Number { min: 1, max: 1023 }, "preview.jobs.max",
        Told("the number of processors, 6 at most"), RELOAD,
        "Previews that are made at a time.";
    PREVIEW_QUEUE_MAX: Number<usize> = Number { min: 0, max: 1023 }, "preview.queue.max",
        Told("a sixteenth of http.threads: 8"), RELOAD,
        "Requests that wait for a preview to be made, or a film to be measured; beyond, previews are 503.";
    PREVIEW_FFMPEG: Path = Path, "preview.ffmpeg", Is("ffmpeg"), RELOAD,
        "The program that takes frames out of films: a path, or a name sought in PATH.";
    PREVIEW_FFPROBE: Path = Path, "preview.ffprobe", Is("ffprobe"), RELOAD,
        "The program that measures films and sounds: a path, or a name sought in PATH.";
    PREVIEW_SANDBOX: Choice<Sandbox> = Choice(SANDBOXES), "preview.sandbox",
        Told("required on x86_64, aarch64 and riscv64, else off"), RELOAD,
        "Whether the children that decode media run behind a filter of system calls, or none is decoded.";

    JDBC_DB_URL: Jdbc = Jdbc, "jdbc.db.url", Told("jdbc:sqlite:ROOT/metadata.sqlite"), RESTART,
        "The database of the metadata: jdbc:postgresql:… or jdbc:sqlite:PATH.";
    JDBC_POOL_SIZE: Number<u32> = Number { min: 1, max: 1000 }, "jdbc.pool.size", Is("8"), RESTART,
        "Connections to the database.";

    ADMIN_BIND: SocketAddresses = SocketAddresses, "admin.bind", Told("not served"), RESTART,
        "Where /metrics (for Prometheus) and /healthz are served, unencrypted and to whoever asks.";

    LOGGING_FILE: Path = Path, "logging.file", Told("standard error"), RELOAD,
        "The file that the log is appended to.";
    LOGGING_LEVEL: Choice<LevelFilter> = Choice(LEVELS), "logging.level", Is("info"), RELOAD,
        "The least important lines that are logged.";
}

const SANDBOXES: &[(&str, Sandbox)] = &[("required", Sandbox::Required), ("off", Sandbox::Off)];

const LEVELS: &[(&str, LevelFilter)] = &[
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for row in TABLE {
            if let Is(text) = row.default {
                assert_eq!((row.check)(text), Ok(()), "{}", row.key);
            }
        }
    }

    #[test]
    fn every_key_stands_once() {
        let keys: BTreeSet<_> = TABLE.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), TABLE.len());
        assert!(RETIRED.iter().all(|retired| !keys.contains(retired.key)));
        for (old, meant) in MISSPELT {
            let known = keys.contains(meant) || RETIRED.iter().any(|retired| retired.key == *meant);
            assert!(known && !keys.contains(old), "{old} {meant}");
        }
    }

    #[test]
    fn every_help_is_one_sentence() {
        for row in TABLE {
            assert!(
                row.help.ends_with('.') && row.help.len() < 100 && !row.help.contains('\n'),
                "{}",
                row.key
            );
        }
    }
}
