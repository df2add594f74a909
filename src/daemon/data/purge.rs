//! The command `purge`: removes the data of a user. `man/buddycloud-media-server-privacy.7` lists the data that stay.

use std::io::Write;

use serde::Serialize;

use super::files::unreachable_rows;
use super::output::Output;
use super::{Doing, OutputForm, Stored, counted};
use crate::config::{Config, Database};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::media::ChannelRemains;
use crate::model::{BareJid, Channel, MediaId, UploadId};
use crate::store::UserTotals;
use crate::uploads::shown_size;

/// The result as JSON.
#[derive(Serialize)]
struct PurgeJson<'a> {
    id: &'a str,
    purged: bool,
    media: u64,
    media_bytes: u64,
    channel_media: u64,
    channel_media_bytes: u64,
    uploads: u64,
    upload_bytes: u64,
    previews: u64,
    avatars: u64,
    blocked: bool,
    blocks: u64,
}

/// Removes what is stored of a user, or prints how much that is: media that the user uploaded, in whichever channel; the
/// channel with the user's address, with the media of others in it; uploads by slot; all sums. A block stays.
///
/// # Errors
/// When something is left; the command may be run again.
pub fn purge(
    config: &Config,
    user: &BareJid,
    doing: Doing,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<()> {
    let stored = Stored::open(config)?;
    let totals = stored.users.user_totals(user)?;
    let removed = if doing == Doing::Really { remove_all(&stored, user) } else { Ok(()) };
    let mut output = Output::new(out, form);
    if removed.is_ok() || form == OutputForm::Json {
        let purged = doing == Doing::Really && removed.is_ok();
        output.result(&json(user, purged, totals), || told(user, doing, totals));
    }
    for copy in copies(config) {
        output.text(&format!("the older copy {copy} may still name users: remove it when it is not needed"));
    }
    if doing == Doing::Trial {
        output.text("add --yes to remove it");
    }
    output.end();
    removed
}

fn remove_all(stored: &Stored, user: &BareJid) -> Result<()> {
    let unreachable = delete_media(stored, user)?;
    delete_uploads(stored, user)?;
    stored.remove_files()?;
    let remains = remove_remains(stored, user)?;
    stored.users.correct_user_sums(user)?;
    stored.users.delete_user_prompts(user)?;
    stored.users.wipe_deleted().map_err(|cause| {
        let text = "the files and rows are removed, but deleted rows may still be in unused parts of the database's file; run \
                    the command again";
        Error::caused(cause.kind(), text, cause)
    })?;
    if unreachable > 0 {
        return Err(unreachable_rows(unreachable));
    }
    if remains.left == 0 { Ok(()) } else { Err(young_files(user, remains.left)) }
}

/// Deletes the media; says how many have names that no request can have.
fn delete_media(stored: &Stored, user: &BareJid) -> Result<u64> {
    let (mut after, mut unreachable) = (String::new(), 0);
    loop {
        let rows = stored.users.user_media(user, &after, limits::FSCK_ROWS)?;
        let Some(last) = rows.last() else { return Ok(unreachable) };
        after.clone_from(&last.id);
        for row in &rows {
            let channel =
                row.channel.parse().ok().filter(|channel: &Channel| channel.as_str() == row.channel);
            match channel.zip(row.id.parse::<MediaId>().ok()) {
                Some((channel, id)) => drop(stored.library.delete_id(&channel, &id)?),
                None => unreachable += 1,
            }
        }
    }
}

fn delete_uploads(stored: &Stored, user: &BareJid) -> Result<()> {
    let mut after = String::new();
    loop {
        let rows = stored.users.user_uploads(user, &after, limits::UPLOAD_BATCH)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after.clone_from(&last.id);
        let ids: Vec<UploadId> = rows.iter().filter_map(|row| UploadId::stored(&row.id).ok()).collect();
        stored.uploads.delete(&ids)?;
    }
}

/// The remains of the channel with the user's address.
fn remove_remains(stored: &Stored, user: &BareJid) -> Result<ChannelRemains> {
    match Channel::try_from(user.clone()) {
        Ok(channel) => stored.library.remove_remains(&channel),
        // A domain is not a channel.
        Err(_) => Ok(ChannelRemains::default()),
    }
}

fn young_files(user: &BareJid, left: u64) -> Error {
    let files = counted(left, "file stays", "files stay");
    let text = format!(
        "{files} in the directory {user} of the storage: a file that is younger than an hour may belong to an upload, so run the \
         command again in an hour; remove a file whose name is not valid by hand"
    );
    Error::new(Kind::Failure, text)
}

/// Copies of the embedded database from before its upgrades.
fn copies(config: &Config) -> Vec<String> {
    let Database::Sqlite(path) = &config.database else { return Vec::new() };
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let begin = format!("{}.before-", name.to_string_lossy());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin));
    paths.map(|entry| entry.path().display().to_string()).collect()
}

fn json(user: &BareJid, purged: bool, totals: UserTotals) -> PurgeJson<'_> {
    let UserTotals { own, others, previews, avatars, uploads, is_blocked, blocks } = totals;
    PurgeJson {
        id: user.as_str(),
        purged,
        media: own.files,
        media_bytes: own.bytes,
        channel_media: others.files,
        channel_media_bytes: others.bytes,
        uploads: uploads.files,
        upload_bytes: uploads.bytes,
        previews,
        avatars,
        blocked: is_blocked,
        blocks,
    }
}

fn told(user: &BareJid, doing: Doing, totals: UserTotals) -> String {
    let UserTotals { own, others, previews, avatars, uploads, is_blocked, blocks } = totals;
    let begin = if doing == Doing::Really { "removed what was" } else { "would remove what is" };
    let lines = [
        (own.files, format!("media of the user, {}", shown_size(own.bytes))),
        (others.files, format!("media of others in the user's channel, {}", shown_size(others.bytes))),
        (previews, "previews of these media".to_owned()),
        (avatars, "avatars among these media".to_owned()),
        (uploads.files, format!("uploads by slot, {}", shown_size(uploads.bytes))),
    ];
    let mut text = format!("{begin} stored of {user}:");
    for (count, what) in lines {
        text += &format!("\n{count:>9}  {what}");
    }
    if is_blocked {
        text += "\nthe user stays blocked";
    }
    if blocks > 0 {
        text += &format!(
            "\n{} that the user set",
            counted(blocks, "other user keeps the block", "other users keep the blocks")
        );
    }
    text
}
