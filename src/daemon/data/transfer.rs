//! The commands `export` and `import`: the metadata as a file, to take it to another database.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use super::output::Output;
use super::{OutputForm, counted};
use crate::config::Config;
use crate::daemon::open;
use crate::error::{Error, Kind, Result};
use crate::store::{RootLock, StoreId};
use crate::sys::fs::Dir;
use crate::transfer::{self, TransferCounts};

/// The result as JSON.
#[derive(Serialize)]
struct TransferJson<'a> {
    id: &'a str,
    media: u64,
    previews: u64,
    avatars: u64,
    uploads: u64,
    emptied: u64,
    blocks: u64,
}

/// Writes the metadata of one moment to a new file that its owner alone may read. A server may run, and others may write.
///
/// # Errors
/// Then there is no such file, unless it was there before.
pub fn export(config: &Config, path: &Path, form: OutputForm, out: &mut dyn Write) -> Result<()> {
    let mut console = open::console(config)?;
    let file = create(path)?;
    let written = write(&mut console, file, path);
    if written.is_err() {
        // The first error is told; the file has no end, so an import refuses it.
        let _ = fs::remove_file(path);
    }
    tell(out, form, path, written?, "exported to");
    Ok(())
}

fn create(path: &Path) -> Result<File> {
    let opened = File::options().write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => {
            let text = format!("{} exists already: name a new file", path.display());
            Error::new(Kind::Failure, text)
        }
        _ => Error::io(format!("can't make the file {}", path.display()), cause),
    })
}

fn write(console: &mut crate::store::Console, file: File, path: &Path) -> Result<TransferCounts> {
    let failed = |cause| Error::io(format!("can't write {}", path.display()), cause);
    let mut writer = BufWriter::new(file);
    let counts = transfer::export(console, &mut writer)?;
    let file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    Dir::open(folder).and_then(|folder| folder.sync()).map_err(failed)?;
    Ok(counts)
}

/// Fills the database, whose tables are there and empty, with the metadata of an export. No server may run.
///
/// # Errors
/// Then the database is as empty as before. [`Kind::Config`] if the storage belongs to another site than the export.
pub fn import(config: &Config, path: &Path, form: OutputForm, out: &mut dyn Write) -> Result<()> {
    let failed = |cause| Error::io(format!("can't read {}", path.display()), cause);
    let mut file = File::open(path).map_err(failed)?;
    let mut console = open::console_to_fill(config)?;
    console.may_import()?;
    let id = transfer::store_of(&mut BufReader::new(&file)).map_err(|cause| within(path, cause))?;
    let lock = lock(config, id.as_ref())?;
    console.refuse_serving_nodes()?;
    file.rewind().map_err(failed)?;
    let (mut lines, mut counts) = (BufReader::new(file), TransferCounts::default());
    console
        .import(&mut |import| {
            counts = transfer::import(&mut lines, import)?;
            Ok(())
        })
        .map_err(|cause| within(path, cause))?;
    if let Some(lock) = &lock {
        lock.sign_off();
    }
    tell(out, form, path, counts, "imported from");
    if form == OutputForm::Text {
        crate::daemon::say(out, "run `buddycloud-media-server fsck` to compare the metadata with the files");
    }
    Ok(())
}

/// The lock of the storage, so that no server runs meanwhile. A storage that is not there yet needs none.
fn lock(config: &Config, id: Option<&StoreId>) -> Result<Option<RootLock>> {
    let identity = open::identity(config)?;
    identity.may_import(id)?;
    if !identity.root().exists() {
        return Ok(None);
    }
    RootLock::take(identity.root()).map(Some)
}

fn within(path: &Path, cause: Error) -> Error {
    let kind = cause.kind();
    match kind {
        Kind::Failure | Kind::Corrupt | Kind::Config => {
            Error::caused(kind, format!("nothing is imported from {}", path.display()), cause)
        }
        _ => cause,
    }
}

fn tell(out: &mut dyn Write, form: OutputForm, path: &Path, counts: TransferCounts, done: &str) {
    let TransferCounts { media, previews, avatars, uploads, emptied, blocks } = counts;
    let mut output = Output::new(out, form);
    let id = path.display().to_string();
    let json = TransferJson { id: &id, media, previews, avatars, uploads, emptied, blocks };
    output.result(&json, || {
        format!(
            "{media} media, {}, {}, {}, {}\n{done} {id}",
            counted(previews, "preview", "previews"),
            counted(avatars, "avatar", "avatars"),
            counted(uploads, "upload", "uploads"),
            counted(blocks, "block", "blocks")
        )
    });
    output.end();
}
