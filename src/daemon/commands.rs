//! The commands other than `serve`. Each runs on the main thread and ends.

use std::io::Write;
use std::path::Path;

use super::open;
use crate::config::{Config, Database, Keystore, Source, moving_advice};
use crate::error::{Error, Kind, Result};
use crate::media::Report;
use crate::preview::{Sandbox, Studio};
use crate::store::{CURRENT, Schema, SqliteSchema, Upgraded, Uploads, verify};
use crate::xmpp::{self, Checked, LinkSettings, Times};

/// Prints the settings of the original server whose meaning has changed.
pub fn tell_moving(source: &Source, out: &mut dyn Write) {
    for advice in moving_advice(source) {
        say(out, &format!("moving: {advice}"));
    }
}

/// Tries everything that the configuration points to, and prints for each part whether it works.
///
/// # Errors
/// The first failure; the others are printed, too.
pub fn check(config: &Config, out: &mut dyn Write) -> Result<()> {
    let client = xmpp::ClientSettings {
        // So that the running server keeps its session.
        resource: format!("{}-check", crate::limits::XMPP_RESOURCE),
        ..config.xmpp.client.clone()
    };
    let parts: [(&str, Result<String>); 6] = [
        ("storage", check_storage(config)),
        ("previews", check_previews(config)),
        ("database", check_database(config)),
        ("https", check_certificate(config)),
        ("component", check_link(&LinkSettings::Component(config.xmpp.component.clone()))),
        ("client", check_link(&LinkSettings::Client(client))),
    ];
    let mut first = Ok(());
    for (part, result) in parts {
        match result {
            Ok(text) => say(out, &format!("{part}: ok: {text}")),
            Err(error) => {
                say(out, &format!("{part}: FAILED: {error}"));
                first = first.and(Err(error));
            }
        }
    }
    first
}

fn check_storage(config: &Config) -> Result<String> {
    let uploads = Uploads::open(&config.storage.root, config.storage.sync)?;
    let free = uploads.free_space()? / (1024 * 1024);
    Ok(format!("{}, {free} MiB free", config.storage.root.display()))
}

fn check_previews(config: &Config) -> Result<String> {
    let studio = Studio::new(config.previews.studio.clone());
    let what = "the child that decodes pictures can't be confined: this system has no seccomp, or forbids it; preview.sandbox";
    match studio.try_sandbox() {
        Ok(Sandbox::Required) => Ok("pictures are decoded behind a filter of system calls".to_owned()),
        Ok(Sandbox::Off) => Ok("pictures are decoded without a filter of system calls".to_owned()),
        Err(_) => Err(Error::new(Kind::Config, what)),
    }
}

fn check_database(config: &Config) -> Result<String> {
    let database = &config.database;
    let version = match database {
        Database::Postgres(settings) => Schema::connect(settings)?.version()?,
        Database::Sqlite(path) => match SqliteSchema::new(path, &config.storage.root).version()? {
            None => return Ok(format!("{database} is not there yet; the server makes it at its start")),
            version => version,
        },
    };
    verify(version)?;
    Ok(format!("{database}, the schema is the one needed"))
}

fn check_certificate(config: &Config) -> Result<String> {
    let Some(pkcs12) = config.keystore.as_ref().map(Keystore::read).transpose()? else {
        return Ok("not served".to_owned());
    };
    pkcs12.check()?;
    Ok("certificate and key can be used".to_owned())
}

fn check_link(link: &LinkSettings) -> Result<String> {
    Ok(match xmpp::check(link, Times::default())? {
        Checked::LoggedIn(jid) => format!("logged in as {jid}"),
        Checked::AlreadyConnected => "it is connected already, by the running server as it seems".to_owned(),
    })
}

/// Creates the tables, unless they are there and up to date.
pub fn setup_schema(config: &Config, out: &mut dyn Write) -> Result<()> {
    let made = match &config.database {
        Database::Postgres(settings) => Schema::connect(settings)?.setup()?,
        Database::Sqlite(path) => {
            // The root has to be there, as the file is usually in it.
            Uploads::open(&config.storage.root, config.storage.sync)?;
            SqliteSchema::new(path, &config.storage.root).set_up()?
        }
    };
    say(out, if made { "the schema is set up" } else { "the tables are there and up to date" });
    Ok(())
}

/// Brings the tables up to date.
pub fn upgrade_schema(config: &Config, out: &mut dyn Write) -> Result<()> {
    let text = match &config.database {
        Database::Postgres(settings) => match Schema::connect(settings)?.upgrade()? {
            CURRENT => up_to_date(),
            from => format!("the schema is upgraded from version {from} to {CURRENT}"),
        },
        Database::Sqlite(path) => match SqliteSchema::new(path, &config.storage.root).upgrade()? {
            Upgraded::UpToDate => up_to_date(),
            Upgraded::Made => "the schema is set up".to_owned(),
            Upgraded::From(from, copy) => upgraded(from, &copy),
        },
    };
    say(out, &text);
    Ok(())
}

/// Makes the embedded database of a new site, and brings that of an older program up to date. Only for a server at its
/// start; a PostgreSQL database is upgraded by the command only, since others may use it.
pub(super) fn upgrade_embedded(config: &Config) -> Result<()> {
    let Database::Sqlite(path) = &config.database else { return Ok(()) };
    Uploads::open(&config.storage.root, config.storage.sync)?;
    match SqliteSchema::new(path, &config.storage.root).upgrade()? {
        Upgraded::From(from, copy) => log::info!("{}", upgraded(from, &copy)),
        Upgraded::Made | Upgraded::UpToDate => {}
    }
    Ok(())
}

fn up_to_date() -> String {
    format!("the schema has version {CURRENT} already")
}

fn upgraded(from: i32, copy: &Path) -> String {
    let copy = copy.display();
    format!(
        "the schema is upgraded from version {from} to {CURRENT}; {copy} is the database as it was, and may be removed when \
         the new program does what it should"
    )
}

/// Removes the tables, with all that is in them.
pub fn drop_schema(config: &Config, out: &mut dyn Write) -> Result<()> {
    match &config.database {
        Database::Postgres(settings) => Schema::connect(settings)?.drop()?,
        Database::Sqlite(path) => {
            let path = path.display();
            let text =
                format!("the embedded database is the file {path}: stop the server and remove the file");
            return Err(Error::new(Kind::Failure, text));
        }
    }
    say(out, "the schema and all metadata are removed; the files stay");
    Ok(())
}

/// Compares files and metadata; with `repair`, mends what can be.
///
/// # Errors
/// When something is left that is not as it must be.
pub fn fsck(config: &Config, repair: bool, out: &mut dyn Write) -> Result<()> {
    let open::Opened { library, uploads } = open::stores(config)?;
    library.open()?;
    let Report { mended, left } = library.fsck(repair, &mut |finding| say(out, &finding.to_string()))?;
    let of_uploads = uploads.fsck(repair, &mut |finding| say(out, &finding.to_string()))?;
    let (mended, left) = (mended + of_uploads.mended, left + of_uploads.left);
    say(out, &format!("{mended} mended, {left} left"));
    if left == 0 {
        return Ok(());
    }
    let hint = if repair { "they need a look" } else { "fsck --repair mends what can be mended" };
    Err(Error::new(Kind::Failure, format!("files and metadata differ in {left} places; {hint}")))
}

/// The rows of the table `configuration`, for the environment variable `DATABASE`.
pub fn configuration_rows(database: &Database) -> Result<Vec<(String, String)>> {
    match database {
        Database::Postgres(settings) => Schema::connect(settings)?.configuration(),
        Database::Sqlite(_) => Err(Error::new(
            Kind::Config,
            "DATABASE must be a PostgreSQL URL: the configuration is read from its table",
        )),
    }
}

/// Prints a line for the operator. A closed pipe is no error.
fn say(out: &mut dyn Write, line: &str) {
    let _ = writeln!(out, "{line}");
}
