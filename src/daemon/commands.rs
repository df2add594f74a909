//! The commands about the schema and the files. Each runs on the main thread and ends.

use std::io::Write;

use super::{nodes, open, say};
use crate::config::{Config, Database, Source, moving_advice};
use crate::error::{Error, Kind, Result};
use crate::media::Repair;
use crate::store::{CURRENT, RootLock, Schema, SqliteSchema, Upgraded};

/// Prints the settings of the original server whose meaning has changed.
pub fn tell_moving(source: &Source, out: &mut dyn Write) {
    for advice in moving_advice(source) {
        say(out, &format!("moving: {advice}"));
    }
}

/// Creates the tables, unless they are there and up to date.
pub fn setup_schema(config: &Config, out: &mut dyn Write) -> Result<()> {
    let mut advice = None;
    let made = match &config.database {
        Database::Postgres(settings) => {
            let mut schema = Schema::connect(settings)?;
            let made = schema.setup()?;
            advice = nodes::setup_advice(config, &mut schema)?;
            made
        }
        Database::Sqlite(path) => {
            let schema = SqliteSchema::new(path);
            // The root has to be there, as the file is usually in it.
            open::identity(config)?.make_root(&schema.state()?)?;
            schema.set_up()?
        }
    };
    say(out, if made { "the schema is set up" } else { "the tables exist and are up to date" });
    if let Some(advice) = advice {
        say(out, &format!("WARNING: {advice}"));
    }
    Ok(())
}

/// Brings the tables up to date, and ties database and storage together where that is not done yet.
pub fn upgrade_schema(config: &Config, out: &mut dyn Write) -> Result<()> {
    let identity = open::identity(config)?;
    let upgraded = match &config.database {
        Database::Postgres(settings) => Schema::connect(settings)?.upgrade(&identity)?,
        Database::Sqlite(path) => SqliteSchema::new(path).upgrade(&identity, None)?,
    };
    for line in told(&upgraded) {
        say(out, &line);
    }
    Ok(())
}

/// Makes the embedded database of a new site, and brings that of an older program up to date. Only for a server at its
/// start; a PostgreSQL database is upgraded by the command only, since others may use it.
pub(super) fn upgrade_embedded(config: &Config, lock: &RootLock) -> Result<()> {
    let Database::Sqlite(path) = &config.database else { return Ok(()) };
    let schema = SqliteSchema::new(path);
    if schema.version()? < Some(CURRENT) {
        let upgraded = schema.upgrade(&open::identity(config)?, Some(lock))?;
        if upgraded.from.is_some() {
            told(&upgraded).iter().for_each(|line| log::info!("{line}"));
        }
    }
    Ok(())
}

/// The result of an upgrade, in lines for the operator.
fn told(Upgraded { from, copy, tied }: &Upgraded) -> Vec<String> {
    let schema = match from {
        None => "the schema is set up".to_owned(),
        Some(CURRENT) => format!("the schema has version {CURRENT} already"),
        Some(from) => format!("the schema is upgraded from version {from} to {CURRENT}"),
    };
    let kept = copy.iter().map(|copy| {
        let copy = copy.display();
        format!("{copy} is a copy of the old database; remove it when the new program works")
    });
    let tied = tied.iter().map(|id| format!("storage and database belong together from now on (id {id})"));
    std::iter::once(schema).chain(kept).chain(tied).collect()
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

/// Compares files and metadata, and repairs differences if the command says so.
///
/// # Errors
/// When something is left that is not as it must be, or when a repair would remove suspiciously much.
pub fn fsck(config: &Config, repair: Repair, out: &mut dyn Write) -> Result<()> {
    // Before anything is touched.
    let tables = open::verified_tables(config)?;
    let open::Opened { library, uploads, .. } = open::stores(config, None, tables)?;
    library.open()?;
    uploads.open();
    // Refused before anything is changed.
    let repairs = repair != Repair::No;
    if repair == Repair::Careful {
        uploads.refuse_large_losses()?;
    }
    let mut report = library.fsck(repair, &mut |finding, deed| say(out, &format!("{finding}{deed}")))?;
    let of_uploads = uploads.fsck(repairs, &mut |finding, deed| say(out, &format!("{finding}{deed}")))?;
    report.repairable += of_uploads.repairable;
    report.left += of_uploads.left;
    say(out, &report.to_string());
    report.verdict()
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
