//! The command `check`: checks the configuration and everything it refers to, and changes nothing on the disk. Runs on
//! the main thread.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::{nodes, open, say, sight};
use crate::config::{Config, Database, Keystore, Source, Storage};
use crate::error::{Error, Kind, Result};
use crate::http::Listen;
use crate::model::{BareJid, Channel};
use crate::preview::{Sandbox, Studio};
use crate::s3::{self, Client};
use crate::store::{DatabaseState, RootLock, Schema, SqliteSchema, verify};
use crate::sys::fs::Dir;
use crate::sys::listening;
use crate::xmpp::{self, Checked, Conversation, LinkSettings, Times};

/// The checks besides those of the configuration and this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckExtent {
    /// Nothing that takes a connection: neither PostgreSQL nor XMPP.
    pub local: bool,
    /// A user's right in a channel is explained.
    pub right: Option<(Channel, BareJid)>,
}

/// The result of a part that did not fail.
pub(super) enum CheckedPart {
    /// It is in order.
    Good(String),
    /// The server can be started, and the operator should know this.
    Doubtful(String),
}

/// Tries everything that the configuration points to, and prints for each part whether it works.
///
/// # Errors
/// Names the parts that failed; the kind is that of the first. The failures themselves are printed.
pub fn check(source: &Source, config: &Config, extent: &CheckExtent, out: &mut dyn Write) -> Result<()> {
    let mut report = Report { out, failed: Vec::new(), kind: None };
    report.part("configuration", check_modes(source, config));
    report.part("storage", check_storage(&config.storage));
    if let Some(settings) = &config.storage.s3 {
        report.part("bucket", check_bucket(settings, extent.local));
    }
    report.part("previews", check_previews(config));
    check_database(config, &mut report, extent.local);
    report.part("http", check_listening(config, false));
    report.part("https", check_https(config));
    if !config.admin.listen.is_empty() {
        report.part("admin", check_addresses(config, config.admin.listen.iter()));
    }
    report.part("endpoint", Ok(check_endpoint(config)));
    if !extent.local {
        report.part("component", check_component(config));
        check_client(config, extent, &mut report);
    }
    report.end()
}

/// Prints what is found, and keeps the names of what failed.
struct Report<'a> {
    out: &'a mut dyn Write,
    failed: Vec<&'static str>,
    kind: Option<Kind>,
}

impl Report<'_> {
    fn part(&mut self, name: &'static str, result: Result<CheckedPart>) {
        match result {
            Ok(CheckedPart::Good(text)) => say(self.out, &format!("{name}: ok: {text}")),
            Ok(CheckedPart::Doubtful(text)) => say(self.out, &format!("{name}: WARNING: {text}")),
            Err(error) => {
                say(self.out, &format!("{name}: FAILED: {error}"));
                self.failed.push(name);
                self.kind.get_or_insert(error.kind());
            }
        }
    }

    fn end(self) -> Result<()> {
        match self.kind {
            Some(kind) => Err(Error::new(kind, format!("failed: {}", self.failed.join(", ")))),
            None => Ok(()),
        }
    }
}

fn good(text: impl Into<String>) -> Result<CheckedPart> {
    Ok(CheckedPart::Good(text.into()))
}

/// The permissions of the files that hold secrets.
fn check_modes(source: &Source, config: &Config) -> Result<CheckedPart> {
    let keystore = config.keystore.as_ref().map(|keystore| keystore.path.as_path());
    let open = source.file().into_iter().chain(keystore).find_map(|path| {
        let mode = fs::metadata(path).ok()?.mode() & 0o777;
        (mode & 0o004 != 0).then(|| (path.display(), mode))
    });
    match open {
        Some((path, mode)) => Ok(CheckedPart::Doubtful(format!(
            "every user of this machine may read {path} (mode {mode:o}), which holds secrets: chmod 640 {path}, and give it the \
             group of the server's user"
        ))),
        None => good(source.name.clone()),
    }
}

fn check_storage(storage: &Storage) -> Result<CheckedPart> {
    let root = &storage.root;
    let refused = |cause: io::Error| {
        let root = root.display();
        let advice = format!(
            "can't store media in {root}: make it a directory that the server's user may write to, or change media.storage.root"
        );
        Error::io(advice, cause)
    };
    let metadata = match fs::metadata(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            may_write(existing(root)).map_err(refused)?;
            return good(format!(
                "{} does not exist yet; the server creates it for a new site",
                root.display()
            ));
        }
        result => result.map_err(refused)?,
    };
    may_write(root).map_err(refused)?;
    let free = Dir::open(root).and_then(|dir| dir.free_space()).map_err(refused)? / (1024 * 1024);
    let text = format!("{}, {free} MiB free", root.display());
    if let Some(advice) = open::local_locks(storage) {
        return Ok(CheckedPart::Doubtful(format!("{text}; {advice}")));
    }
    if rustix::process::geteuid().is_root() && metadata.uid() != 0 {
        return Ok(CheckedPart::Doubtful(format!("{text}; {}", as_owner(&metadata))));
    }
    good(text)
}

/// Advice to root, who may do more than the server's user.
fn as_owner(metadata: &Metadata) -> String {
    format!(
        "root has more permissions than the server's user: run this command as user {}, its owner",
        metadata.uid()
    )
}

/// Fails unless this process may make files in the directory.
fn may_write(directory: &Path) -> io::Result<()> {
    if !fs::metadata(directory)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    Ok(access(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?)
}

/// The nearest directory above that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().skip(1).find(|path| path.exists()).unwrap_or(Path::new("/"))
}

/// Stores a small object, reads it and removes it.
fn check_bucket(settings: &s3::Settings, local: bool) -> Result<CheckedPart> {
    let name = format!("the bucket {} of {}", settings.bucket, settings.endpoint);
    if local {
        return good(format!("{name} is not tried"));
    }
    Client::new(settings)?.try_out()?;
    good(format!("{name} stores, gives and removes"))
}

fn check_previews(config: &Config) -> Result<CheckedPart> {
    let studio = Studio::new(config.previews.studio.clone());
    let what = "the child that decodes pictures can't be confined: this system has no seccomp, or forbids it; preview.sandbox";
    match studio.try_sandbox() {
        Ok(Sandbox::Required) => good("pictures are decoded behind a filter of system calls"),
        Ok(Sandbox::Off) => good("pictures are decoded without a filter of system calls"),
        Err(_) => Err(Error::new(Kind::Config, what)),
    }
}

/// The database, and whether it belongs to the storage. Nothing more is said of one that does not work.
fn check_database(config: &Config, report: &mut Report<'_>, local: bool) {
    let database = &config.database;
    if local && matches!(database, Database::Postgres(_)) {
        return report.part("database", good(format!("{database} is not tried")));
    }
    let (mut advice, mut found) = (None, None);
    let state = match database {
        Database::Postgres(settings) => Schema::connect(settings).and_then(|mut schema| {
            advice = schema.encoding_advice()?;
            found = nodes::check(config, &mut schema)?;
            open::look(config).map(|(state, _)| state)
        }),
        Database::Sqlite(path) => SqliteSchema::new(path).peek(),
    };
    match state {
        Ok(state) => {
            report.part("database", check_schema(database, &state, advice));
            report.part("identity", check_identity(config, &state));
            if let Some(found) = found {
                report.part("nodes", Ok(found));
            }
        }
        Err(error) => report.part("database", Err(error)),
    }
}

fn check_schema(database: &Database, state: &DatabaseState, advice: Option<String>) -> Result<CheckedPart> {
    if let Database::Sqlite(path) = database {
        if state.version.is_none() {
            return good(format!("{database} does not exist yet; the server creates it when it starts"));
        }
        verify(state.version)?;
        may_change(path)?;
    }
    verify(state.version)?;
    let text = format!("{database}, with the required schema");
    match advice {
        Some(advice) => Ok(CheckedPart::Doubtful(format!("{text}, but {advice}"))),
        None => good(text),
    }
}

fn check_identity(config: &Config, state: &DatabaseState) -> Result<CheckedPart> {
    match &config.database {
        Database::Sqlite(_) if state.version.is_none() => open::identity(config)?.verify(state)?,
        _ => open::verify_identity(config, state)?,
    }
    good(match &state.id {
        Some(id) => format!("storage and database belong together (id {id})"),
        None => {
            "storage and database hold nothing yet; the server gives both the same id at its start".to_owned()
        }
    })
}

/// Fails unless this process may write to the file, and make SQLite's other files beside it.
fn may_change(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let allowed = access(path, Access::READ_OK | Access::WRITE_OK).map_err(io::Error::from);
    allowed.and_then(|()| may_write(folder)).map_err(|cause| {
        let text =
            format!("the server's user must be able to write to {} and to its directory", path.display());
        Error::caused(Kind::Failure, text, cause)
    })
}

fn check_https(config: &Config) -> Result<CheckedPart> {
    if let Some(pkcs12) = config.keystore.as_ref().map(Keystore::read).transpose()? {
        pkcs12.check()?;
    }
    check_listening(config, true)
}

/// The addresses of HTTP or of HTTPS.
fn check_listening(config: &Config, tls: bool) -> Result<CheckedPart> {
    check_addresses(config, config.http.listen.iter().filter(|listen| listen.tls == tls))
}

fn check_addresses<'a>(config: &Config, addresses: impl Iterator<Item = &'a Listen>) -> Result<CheckedPart> {
    let found = addresses.map(|listen| check_address(config, listen)).collect::<Result<Vec<_>>>()?;
    good(if found.is_empty() { "not served".to_owned() } else { found.join(", ") })
}

/// The running server may have the address, but no other program.
fn check_address(config: &Config, listen: &Listen) -> Result<String> {
    let address = listen.address;
    let error = match listen.try_out() {
        Ok(()) => return Ok(format!("{address} is free")),
        Err(error) => error,
    };
    if error.kind() != ErrorKind::AddrInUse {
        return Err(listen.refused(error));
    }
    let Some(holder) = listening(address.port()) else {
        // A sandbox may hide the process of our own user, too.
        let running = RootLock::holder(&config.storage.root).ok_or_else(|| listen.refused(error))?;
        return Ok(format!("{address} is in use, probably by the running server, {running}"));
    };
    if std::env::current_exe().is_ok_and(|own| own.file_name() == Some(holder.program.as_os_str())) {
        return Ok(format!("{address} is used by the running server, process {}", holder.pid));
    }
    let holder = format!("{} (process {}) uses it", holder.program.display(), holder.pid);
    Err(Error::caused(Kind::Failure, listen.refused(error).to_string(), holder))
}

fn check_endpoint(config: &Config) -> CheckedPart {
    let Some(endpoint) = &config.web.endpoint else {
        return CheckedPart::Good(
            "not announced: without http.endpoint no client can discover it".to_owned(),
        );
    };
    let encrypted = config.http.listen.iter().any(|listen| listen.tls);
    if endpoint.starts_with("https:") && !encrypted && config.http.trusted_proxies.is_empty() {
        return CheckedPart::Doubtful(format!(
            "{endpoint} is announced, but nothing serves HTTPS: set https.enabled, or put a web server in front and name its \
             address in http.trusted.proxies"
        ));
    }
    CheckedPart::Good(format!("{endpoint} is announced"))
}

fn check_component(config: &Config) -> Result<CheckedPart> {
    if let Some(holder) = nodes::stream_holder(config) {
        return good(format!("not tried, because node {holder} is connected"));
    }
    let link = LinkSettings::Component(config.xmpp.component.clone());
    match xmpp::check(&link, Times::default())? {
        Checked::LoggedIn(jid) => good(format!("logged in as {jid}")),
        Checked::AlreadyConnected => good("already connected, probably by the running server"),
    }
}

/// Logs the account in, and asks what the server will ask.
fn check_client(config: &Config, extent: &CheckExtent, report: &mut Report<'_>) {
    // So that the running server keeps its session.
    let settings = config.xmpp.client.with_own_resource();
    let mut conversation = match Conversation::log_in(settings, Times::default()) {
        Ok(conversation) => conversation,
        Err(error) => return report.part("client", Err(error)),
    };
    report.part("client", good(format!("logged in as {}", conversation.jid())));
    report.part("channels", sight::channels(&mut conversation, config));
    if let Some((channel, user)) = &extent.right {
        report.part("right", sight::right(&mut conversation, config, channel, user));
    }
    conversation.close();
}
