//! The table of settings: one row per key. Parsing, defaults, errors, what a reload may change, and the checks of the
//! manual and of the example file all come from here. `layers` hands the values to the layers.

use log::LevelFilter;

use self::Change::{Reload, ReloadWith, Restart};
use self::DefaultValue::{Derived, Fixed, Mandatory, MandatoryForHttps};
use super::list::{
    BareJids, BindAddresses, DomainList, JidList, Networks, NodeList, OriginList, SocketAddresses,
};
use super::types::{
    Boolean, BucketName, Choice, Domain, Endpoint, FilePath, Host, Jdbc, KeystoreType, LongSecret, NodeName,
    NotEmpty, Number, OldPlace, Password, SECURITY, Size, Text, Time, ValueType,
};
use crate::access::{ConfirmAddress, ConfirmStanza};
use crate::limits;
use crate::preview::Sandbox;
use crate::uploads::Protocol;
use crate::xmpp::Security;

/// One setting, as the manual describes it.
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// Its default.
    pub default: DefaultValue,
    /// When a new value takes effect.
    pub change: Change,
    /// Its purpose, in one line.
    pub help: &'static str,
    /// The type of its values with their range, in words.
    pub describe: fn() -> String,
    /// Checks a value; the error is a phrase.
    pub(super) check: fn(&str) -> Result<(), String>,
    /// Whether an empty value counts as a value; otherwise the key counts as not set.
    pub(super) accepts_empty: fn() -> bool,
    /// Whether two texts, of which either may be missing, mean the same value.
    pub(super) same: fn(Option<&str>, Option<&str>) -> bool,
}

/// The value of a setting that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// It has this value.
    Fixed(&'static str),
    /// It depends on other settings, or nothing happens: in words.
    Derived(&'static str),
    /// The configuration is refused.
    Mandatory,
    /// The configuration is refused if `https.enabled` is true.
    MandatoryForHttps,
}

impl DefaultValue {
    /// The text of a fixed default.
    pub(super) fn text(self) -> Option<&'static str> {
        if let Fixed(text) = self { Some(text) } else { None }
    }
}

/// When a new value of a setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// On SIGHUP.
    Reload,
    /// On SIGHUP, unless the setting of this key has changed, too: then both wait for the restart.
    ReloadWith(&'static str),
    /// When the server is started.
    Restart,
}

/// The key, default and type of a setting, from which `Values` reads a typed value.
pub(super) struct TypedSetting<T> {
    pub(super) key: &'static str,
    pub(super) default: DefaultValue,
    pub(super) value_type: T,
}

/// A key of the original server that has no effect any more.
pub(super) struct Retired {
    pub(super) key: &'static str,
    /// Decides about a value: nothing to say, a notice, or the reason to refuse it.
    pub(super) judge: fn(&str) -> Result<Option<&'static str>, &'static str>,
}

/// Old spellings, and the key that is meant.
pub(super) const MISSPELT: &[(&str, &str)] =
    &[("https.keystore", "https.keystore.path"), ("http.test.port", "http.tests.port")];

/// Keys that old configurations hold and that are not in [`SETTINGS`].
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

/// A limit of bytes; 0 means unlimited.
const QUOTA: Size<u64> = Size { min: 0, max: i64::MAX.unsigned_abs() };
/// A limit of the size of a file.
const FILE_SIZE: Size<u64> = Size { min: 1, max: i64::MAX.unsigned_abs() };
/// How long files are kept; 0 means for ever.
const KEEP: Time = Time::seconds(0, 3_153_600_000);
const PORT: Number<u16> = Number { min: 1, max: u16::MAX };
/// A port to listen on: 0 lets the system choose one.
const LISTENING_PORT: Number<u16> = Number { min: 0, max: u16::MAX };

macro_rules! settings {
    ($($name:ident: $type:ty = $value_type:expr, $key:literal, $default:expr, $change:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(super) const $name: TypedSetting<$type> =
                TypedSetting { key: $key, default: $default, value_type: $value_type };
        )*

        /// Every setting there is, in the manual's order.
        pub const SETTINGS: &[Setting] = &[$(
            Setting {
                key: $name.key,
                default: $name.default,
                change: $change,
                help: $help,
                describe: || $name.value_type.describe(),
                check: |text| $name.value_type.parse(text).map(drop),
                accepts_empty: || $name.value_type.accepts_empty(),
                same: |one, other| same(&$name, one, other),
            },
        )*];
    };
}

/// Whether two texts mean the same value of a setting; where one is missing, its fixed default counts.
fn same<T: ValueType>(setting: &TypedSetting<T>, one: Option<&str>, other: Option<&str>) -> bool {
    let value =
        |text: Option<&str>| text.or(setting.default.text()).map(|text| setting.value_type.parse(text).ok());
    value(one) == value(other)
}

settings! {
    HTTP_ENABLED: Boolean = Boolean, "http.enabled", Derived("true unless https.enabled is"), Restart,
        "Whether HTTP is served without TLS.";
    HTTP_PORT: Number<u16> = LISTENING_PORT, "http.port", Fixed("8080"), Restart,
        "The TCP port of HTTP; 0 lets the system choose a free one.";
    HTTP_BIND: BindAddresses = BindAddresses, "http.bind", Fixed("*"), Restart,
        "The addresses that HTTP and HTTPS listen on; * means all, IPv4 and IPv6.";
    HTTP_ENDPOINT: Endpoint = Endpoint, "http.endpoint", Derived("not announced"), Reload,
        "The URL under which clients reach the server: shown in discovery and in confirmations.";
    HTTP_THREADS: Number<usize> = Number { min: limits::WORKERS_MIN, max: 1024 }, "http.threads", Fixed("128"), Restart,
        "Requests at a time that may wait for a body, the disk or the database, each on its own thread.";
    HTTP_UPLOADS_MAX: Number<usize> = Number { min: 1, max: 1023 }, "http.uploads.max",
        Derived("three eighths of http.threads: 48"), ReloadWith("http.threads"),
        "Uploads at a time; one client address may have a quarter, but at least 8; more are answered 503.";
    HTTP_DOWNLOADS_MAX: Number<usize> = Number { min: 1, max: 1023 }, "http.downloads.max",
        Derived("none"), Reload,
        "Without effect: a slow download holds no thread.";
    HTTP_CONNECTIONS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 }, "http.connections.max",
        Fixed("8192"), Reload,
        "Open connections of clients; fewer if the limit of open files is too low.";
    HTTP_CONNECTIONS_PER_ADDRESS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 },
        "http.connections.per.address.max", Fixed("256"), Reload,
        "Open connections of one client address; more are answered 429.";
    HTTP_RATE_LIMIT: Number<u32> = Number { min: 0, max: 1_000_000 }, "http.rate.limit", Fixed("0"), Reload,
        "Requests a second of one client address; more are answered 429; 0 means unlimited.";
    HTTP_TRUSTED_PROXIES: Networks = Networks, "http.trusted.proxies", Derived("none"), Restart,
        "Reverse proxies and their networks, whose X-Forwarded-For is trusted.";
    HTTP_CORS_ORIGINS: OriginList = OriginList, "http.cors.origins", Fixed("*"), Reload,
        "The origins whose web pages may read responses (CORS); * means all, an empty value none.";
    CACHE_MAX_AGE: Time = Time::seconds(0, 31_536_000), "cache.max.age", Fixed("1d"), Reload,
        "How long clients may cache public media without asking again.";
    PAGE_INDEXED: Boolean = Boolean, "page.indexed", Fixed("false"), Reload,
        "Whether search engines may list the pages and feeds of public channels.";

    HTTPS_ENABLED: Boolean = Boolean, "https.enabled", Fixed("false"), Restart,
        "Whether HTTPS is served; it replaces HTTP unless http.enabled is true.";
    HTTPS_PORT: Number<u16> = LISTENING_PORT, "https.port", MandatoryForHttps, Restart,
        "The TCP port of HTTPS; 0 lets the system choose a free one.";
    HTTPS_KEYSTORE_PATH: FilePath = FilePath, "https.keystore.path", MandatoryForHttps, ReloadWith("https.enabled"),
        "The file with the certificate, its chain and its key.";
    HTTPS_KEYSTORE_TYPE: KeystoreType = KeystoreType, "https.keystore.type", Fixed("PKCS12"), ReloadWith("https.enabled"),
        "The format of that file.";
    HTTPS_KEYSTORE_PASSWORD: Password = Password, "https.keystore.password", MandatoryForHttps, ReloadWith("https.enabled"),
        "The password of that file.";

    XMPP_COMPONENT_HOST: Host = Host, "xmpp.component.host", Mandatory, Restart,
        "The XMPP server that accepts external components (XEP-0114).";
    XMPP_COMPONENT_PORT: Number<u16> = PORT, "xmpp.component.port", Mandatory, Restart,
        "Its port for components: 5347 in Prosody, 5275 in Openfire.";
    XMPP_COMPONENT_SUBDOMAIN: Text = Text, "xmpp.component.subdomain", Mandatory, Restart,
        "The component's name within xmpp.component.servername.";
    XMPP_COMPONENT_SERVERNAME: Domain = Domain, "xmpp.component.servername", Mandatory, Restart,
        "The XMPP domain; may be omitted if the subdomain is a whole name, such as media.example.com.";
    XMPP_COMPONENT_SECRETKEY: Password = Password, "xmpp.component.secretkey", Mandatory, Restart,
        "The secret shared with the XMPP server.";

    XMPP_CONNECTION_USERNAME: Text = Text, "xmpp.connection.username", Mandatory, Restart,
        "The account that looks up the rights of users: its local part or its whole address.";
    XMPP_CONNECTION_PASSWORD: Password = Password, "xmpp.connection.password", Mandatory, Restart,
        "The password of that account.";
    XMPP_CONNECTION_HOST: Host = Host, "xmpp.connection.host", Derived("xmpp.connection.servicename"), Restart,
        "The host that the account logs in to.";
    XMPP_CONNECTION_PORT: Number<u16> = PORT, "xmpp.connection.port", Mandatory, Restart,
        "Its port for clients, usually 5222.";
    XMPP_CONNECTION_SERVICENAME: Domain = Domain, "xmpp.connection.servicename", Mandatory, Restart,
        "The XMPP domain of the account.";
    XMPP_CONNECTION_SECURITYMODE: Choice<Security> = Choice(SECURITY),
        "xmpp.connection.securitymode", Fixed("enabled"), Restart,
        "STARTTLS: never, if the server offers it, or always; the certificate is verified.";
    XMPP_CONNECTION_TLS_CA: FilePath = FilePath, "xmpp.connection.tls.ca", Derived("the system's authorities"), Restart,
        "A PEM file with the authority that signed the certificate.";

    XMPP_REPLY_TIMEOUT: Time = Time::milliseconds(1, 3_600_000), "xmpp.reply.timeout", Fixed("30s"), Reload,
        "How long a user may take to confirm a request, and a server to reply.";
    XMPP_CACHE_TTL: Time = Time::seconds(0, 86_400), "xmpp.cache.ttl", Fixed("30s"), Reload,
        "How long discovered services, access models and affiliations are cached; 0 means not at all.";
    XMPP_CHANNEL_NODES: NodeList = NodeList, "xmpp.channel.nodes", Derived("/user/{channel}/posts for each"), Reload,
        "The pubsub nodes of channels, by domain, if their names differ from those of buddycloud.";
    XMPP_CONFIRM_STANZA: Choice<ConfirmStanza> = Choice(CONFIRM_STANZAS), "xmpp.confirm.stanza",
        Fixed("message"), Reload,
        "The stanza that asks a user to confirm a request.";
    XMPP_CONFIRM_ADDRESS: Choice<ConfirmAddress> = Choice(CONFIRM_ADDRESSES), "xmpp.confirm.address",
        Fixed("full"), Reload,
        "What a user is told of the address that a request comes from.";
    XMPP_PENDING_PER_USER_MAX: Number<usize> = Number { min: 1, max: 1_000_000 },
        "xmpp.pending.per.user.max", Fixed("8"), Reload,
        "Pending confirmations of one user; more requests are answered 429.";
    XMPP_PENDING_PER_ADDRESS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 },
        "xmpp.pending.per.address.max", Fixed("256"), Reload,
        "Pending confirmations of one client address; more requests are answered 429.";
    XMPP_PENDING_MAX: Number<usize> = Number { min: 1, max: 1_000_000 }, "xmpp.pending.max", Fixed("1024"),
        Reload, "Pending confirmations in all; more requests are answered 503.";
    XMPP_LOOKUPS_PER_ADDRESS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 },
        "xmpp.lookups.per.address.max", Fixed("64"), Reload,
        "Pending channel lookups for one client address; more requests are answered 429.";
    XMPP_LOOKUPS_MAX: Number<usize> = Number { min: 1, max: 1_000_000 }, "xmpp.lookups.max", Fixed("1024"),
        Reload, "Pending channel lookups in all; more requests are answered 503.";

    MEDIA_DOMAINS: DomainList = DomainList, "media.domains", Derived("xmpp.component.servername"), Reload,
        "The domains, subdomains included, whose channels are served; * means all.";
    MEDIA_STORAGE_ROOT: FilePath = FilePath, "media.storage.root", Mandatory, Restart,
        "The directory of the media files.";
    MEDIA_STORAGE_SYNC: Boolean = Boolean, "media.storage.sync", Fixed("on"), Restart,
        "Whether a file is on the disk before its upload is answered; off only for benchmarks.";
    MEDIA_STORAGE_SHARED: Boolean = Boolean, "media.storage.shared", Fixed("false"), Restart,
        "Whether several servers, the nodes of one site, share media.storage.root.";
    MEDIA_STORAGE_FROM: OldPlace = OldPlace, "media.storage.from", Derived("none"), Restart,
        "The place that move-storage moves all files from: the old directory, or s3 for the bucket.";
    MEDIA_STORAGE_S3_ENDPOINT: Endpoint = Endpoint, "media.storage.s3.endpoint",
        Derived("none: files are in media.storage.root"), Restart,
        "The URL of the S3 store that keeps the files; the metadata must be in PostgreSQL then.";
    MEDIA_STORAGE_S3_BUCKET: BucketName = BucketName, "media.storage.s3.bucket", Derived("none"), Restart,
        "The bucket of the files; it must exist, and no other site may use it.";
    MEDIA_STORAGE_S3_REGION: Text = Text, "media.storage.s3.region", Fixed("us-east-1"), Restart,
        "The region that requests to the store are signed for.";
    MEDIA_STORAGE_S3_ACCESS_KEY: Text = Text, "media.storage.s3.access.key", Derived("none"), Restart,
        "The name of the key that requests to the store are signed with.";
    MEDIA_STORAGE_S3_SECRET_KEY: Password = Password, "media.storage.s3.secret.key", Derived("none"), Restart,
        "The secret key that requests to the store are signed with.";
    MEDIA_STORAGE_S3_TIMEOUT: Time = Time::milliseconds(100, 600_000), "media.storage.s3.timeout", Fixed("10s"),
        Restart, "How long a request to the store may make no progress.";
    MEDIA_STORAGE_S3_CACHE_BYTES: Size<u64> = Size { min: limits::CACHE_LEAST_BYTES, max: i64::MAX.unsigned_abs() },
        "media.storage.s3.cache.bytes", Fixed("10G"), Restart,
        "How much of the local disk recently read files of the bucket may take, by their sizes.";
    MEDIA_STORAGE_S3_REDIRECT: Size<u64> = QUOTA, "media.storage.s3.redirect", Fixed("0"), Restart,
        "The size from which downloads of open channels are redirected to the bucket; 0 means never.";
    MEDIA_SIZELIMIT: Size<u64> = FILE_SIZE, "media.sizelimit", Fixed("100M"), Reload,
        "The size of the largest file that is accepted.";
    MEDIA_TODISK_THRESHOLD: Size<usize> = Size { min: 0, max: 1 << 30 }, "media.todisk.threshold",
        Fixed("1M"), Reload,
        "How much of an upload is held in memory; a larger one is written to the disk as it comes.";

    MEDIA_QUOTA_CHANNEL: Size<u64> = QUOTA, "media.quota.channel", Fixed("0"), Reload,
        "The size of all media of one channel together; 0 means unlimited.";
    MEDIA_QUOTA_USER: Size<u64> = QUOTA, "media.quota.user", Fixed("0"), Reload,
        "The size of all media of one uploader together, in all channels; 0 means unlimited.";

    HOUSEKEEPING_INTERVAL: Time = Time::seconds(1, 3600), "housekeeping.interval", Fixed("60s"), Reload,
        "How often the server removes files that must be deleted.";
    HOUSEKEEPING_ORPHAN_AGE: Time = Time::seconds(900, 30 * 86_400), "housekeeping.orphan.age", Fixed("1h"), Reload,
        "How old a file without metadata must be before it is moved to .lost.";
    HOUSEKEEPING_LOST_KEEP: Time = Time::seconds(0, 3650 * 86_400), "housekeeping.lost.keep", Fixed("30d"), Reload,
        "How long files in .lost are kept; 0 means for ever.";

    UPLOAD_ENABLED: Boolean = Boolean, "upload.enabled", Fixed("false"), Reload,
        "Whether XMPP clients may upload files by slots (XEP-0363).";
    UPLOAD_SIZELIMIT: Size<u64> = FILE_SIZE, "upload.sizelimit", Derived("media.sizelimit"), Reload,
        "The size of the largest file that is uploaded by a slot.";
    UPLOAD_ALLOW: JidList = JidList, "upload.allow", Derived("xmpp.component.servername"), Reload,
        "The users who may upload: those of a domain or of the domains below it, or single ones.";
    UPLOAD_DENY: JidList = JidList, "upload.deny", Derived("none"), Reload,
        "The users who may not upload, even where upload.allow names them.";
    UPLOAD_KEEP_MESSAGE: Time = KEEP, "upload.keep.message", Fixed("31d"), Reload,
        "How long files of messages are kept; 0 means for ever.";
    UPLOAD_KEEP_PROFILE: Time = KEEP, "upload.keep.profile", Fixed("0"), Reload,
        "How long files of profiles, such as avatars, are kept; 0 means for ever.";
    UPLOAD_KEEP_EPHEMERAL: Time = Time::seconds(1, 3_153_600_000), "upload.keep.ephemeral", Fixed("1d"), Reload,
        "How long ephemeral files are kept, unless the client names an earlier date.";
    UPLOAD_KEEP_PERMANENT: Time = KEEP, "upload.keep.permanent", Fixed("0"), Reload,
        "How long published files are kept; 0 means for ever.";
    UPLOAD_PURPOSE_PREFIXES: Boolean = Boolean, "upload.purpose.prefixes", Fixed("false"), Reload,
        "Whether prefixes of file names, such as chat_, stand for a purpose, as Movim uses them.";
    UPLOAD_QUOTA_USER: Size<u64> = QUOTA, "upload.quota.user", Fixed("0"), Reload,
        "The size of all uploads of one user together; 0 means unlimited.";
    UPLOAD_QUOTA_DAY: Size<u64> = QUOTA, "upload.quota.day", Fixed("0"), Reload,
        "The size of all uploads of one user within 24 hours; 0 means unlimited.";
    UPLOAD_QUOTA_MESSAGE: Size<u64> = QUOTA, "upload.quota.message", Fixed("0"), Reload,
        "The size of the files of one user's messages together; 0 means unlimited.";
    UPLOAD_QUOTA_PROFILE: Size<u64> = QUOTA, "upload.quota.profile", Fixed("0"), Reload,
        "The size of the files of one user's profile together; 0 means unlimited.";
    UPLOAD_QUOTA_EPHEMERAL: Size<u64> = QUOTA, "upload.quota.ephemeral", Fixed("0"), Reload,
        "The size of one user's ephemeral files together; 0 means unlimited.";
    UPLOAD_QUOTA_PERMANENT: Size<u64> = QUOTA, "upload.quota.permanent", Fixed("0"), Reload,
        "The size of one user's published files together; 0 means unlimited.";
    UPLOAD_QUOTA_ALL: Size<u64> = QUOTA, "upload.quota.all", Fixed("0"), Reload,
        "The size of all uploads of all users together; 0 means unlimited.";
    UPLOAD_QUOTA_MAKES_ROOM: Boolean = Boolean, "upload.quota.makes.room", Fixed("false"), Reload,
        "Whether the oldest files of a user's messages are deleted when a new upload needs room.";
    UPLOAD_EXTERNAL_SECRET: LongSecret = LongSecret { min: limits::EXTERNAL_SECRET_BYTES }, "upload.external.secret",
        Derived("none"), Reload,
        "The secret shared with an XMPP server that hands out slots of its own.";
    UPLOAD_EXTERNAL_PROTOCOL: NotEmpty<Choice<Protocol>> = NotEmpty(Choice(PROTOCOLS)), "upload.external.protocol",
        Derived("none"), Reload,
        "How that server signs its slots.";

    PREVIEW_MAX_PIXELS: Number<u64> = Number { min: 1, max: 1_000_000_000 }, "preview.max.pixels",
        Fixed("50000000"), Reload,
        "Pixels of the largest picture or frame that a preview is made of.";
    PREVIEW_MAX_BYTES: Size<u64> = Size { min: 1, max: 1 << 30 }, "preview.max.bytes", Fixed("64M"),
        Reload,
        "The size of the largest picture file that a preview is made of; it is read into memory.";
    PREVIEW_MAX_COUNT: Number<usize> = Number { min: 1, max: 10_000 }, "preview.max.count", Fixed("50"), Reload,
        "Previews that are kept of one file; the least recently used are deleted.";
    PREVIEW_TIMEOUT: Time = Time::seconds(1, 300), "preview.timeout", Fixed("20s"), Reload,
        "How long making one preview or measuring a film may take, and how long a request waits for it.";
    PREVIEW_JOBS_MAX: Number<usize> = Number { min: 1, max: 1023 }, "preview.jobs.max",
        Derived("the number of processors, 6 at most"), ReloadWith("http.threads"),
        "Previews that are made at a time.";
    PREVIEW_QUEUE_MAX: Number<usize> = Number { min: 0, max: 1023 }, "preview.queue.max",
        Derived("a sixteenth of http.threads: 8"), ReloadWith("http.threads"),
        "Requests that may wait for a preview to be made, or a film to be measured; more are answered 503.";
    PREVIEW_AT_UPLOAD: Boolean = Boolean, "preview.at.upload", Fixed("true"), Reload,
        "Whether the preview for a channel's page is made right after an upload, in the background.";
    PREVIEW_FFMPEG: FilePath = FilePath, "preview.ffmpeg", Fixed("ffmpeg"), Reload,
        "The program that extracts frames from films: a path, or a name to look up in PATH.";
    PREVIEW_FFPROBE: FilePath = FilePath, "preview.ffprobe", Fixed("ffprobe"), Reload,
        "The program that measures films and sounds: a path, or a name to look up in PATH.";
    PREVIEW_SANDBOX: Choice<Sandbox> = Choice(SANDBOXES), "preview.sandbox",
        Derived("required on x86_64, aarch64 and riscv64, else off"), Reload,
        "Whether the child processes that decode media run behind a filter of system calls.";

    JDBC_DB_URL: Jdbc = Jdbc, "jdbc.db.url", Derived("jdbc:sqlite:ROOT/metadata.sqlite"), Restart,
        "The database of the metadata: jdbc:postgresql:… or jdbc:sqlite:PATH.";
    JDBC_POOL_SIZE: Number<u32> = Number { min: 1, max: 1000 }, "jdbc.pool.size", Fixed("8"), Restart,
        "Connections to the database.";

    NODE_NAME: NodeName = NodeName, "node.name", Derived("a single node"), Restart,
        "The name of this node among several with the same PostgreSQL database.";

    ADMIN_BIND: SocketAddresses = SocketAddresses, "admin.bind", Derived("not served"), Restart,
        "Where /metrics and /healthz are served; unencrypted, and to everybody.";
    ADMIN_JIDS: BareJids = BareJids, "admin.jids", Derived("none"), Reload,
        "The users who may look after other users by commands over XMPP.";

    LOGGING_FILE: FilePath = FilePath, "logging.file", Derived("standard error"), Reload,
        "The file that the log is appended to.";
    LOGGING_LEVEL: Choice<LevelFilter> = Choice(LEVELS), "logging.level", Fixed("info"), Reload,
        "The least important level that is logged.";
}

const SANDBOXES: &[(&str, Sandbox)] = &[("required", Sandbox::Required), ("off", Sandbox::Off)];

const PROTOCOLS: &[(&str, Protocol)] = &[("jwt", Protocol::Jwt), ("v2", Protocol::V2), ("v", Protocol::V)];

const CONFIRM_STANZAS: &[(&str, ConfirmStanza)] =
    &[("message", ConfirmStanza::Message), ("auto", ConfirmStanza::Auto)];

const CONFIRM_ADDRESSES: &[(&str, ConfirmAddress)] =
    &[("full", ConfirmAddress::Full), ("network", ConfirmAddress::Network), ("none", ConfirmAddress::None)];

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
        for setting in SETTINGS {
            if let Fixed(text) = setting.default {
                assert_eq!((setting.check)(text), Ok(()), "{}", setting.key);
            }
        }
    }

    #[test]
    fn every_key_stands_once() {
        let keys: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.key).collect();
        assert_eq!(keys.len(), SETTINGS.len());
        assert!(RETIRED.iter().all(|retired| !keys.contains(retired.key)));
        for (old, meant) in MISSPELT {
            let known = keys.contains(meant) || RETIRED.iter().any(|retired| retired.key == *meant);
            assert!(known && !keys.contains(old), "{old} {meant}");
        }
    }

    #[test]
    fn every_help_is_one_sentence() {
        for setting in SETTINGS {
            assert!(
                setting.help.ends_with('.') && setting.help.len() < 100 && !setting.help.contains('\n'),
                "{}",
                setting.key
            );
        }
    }

    #[test]
    fn a_setting_that_waits_for_another_names_one_that_takes_a_restart() {
        for setting in SETTINGS {
            if let ReloadWith(key) = setting.change {
                let other = SETTINGS.iter().find(|other| other.key == key).unwrap();
                assert_eq!(other.change, Restart, "{}", setting.key);
            }
        }
    }

    #[test]
    fn values_are_compared_and_not_their_texts() {
        let same = |key: &str, one, other| {
            let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
            (setting.same)(one, other)
        };
        assert!(same("http.port", None, Some("8080")) && same("https.enabled", Some("no"), None));
        assert!(same("media.storage.sync", Some("on"), Some("TRUE")));
        assert!(same("jdbc.db.url", Some("jdbc:postgresql:m"), Some("jdbc:postgresql:/m?sslmode=prefer")));
        assert!(!same("http.port", None, Some("80")) && !same("jdbc.db.url", None, Some("jdbc:sqlite:x")));
        assert!(!same("xmpp.component.secretkey", Some("a"), Some("A")));
    }
}
