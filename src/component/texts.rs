//! Commands that users send as texts, for clients without ad-hoc commands. The XMPP thread finds out which file a number
//! means; a worker thread does the rest.

use std::time::Instant;

use super::Settings;
use super::desk::Desk;
use super::shown;
use crate::access::text::TextCommand;
use crate::cache::Cache;
use crate::error::Result;
use crate::limits;
use crate::model::{BareJid, FileKey, Jid};
use crate::store::{FileRow, FileSum};
use crate::uploads::shown_size;

/// The work for a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TextJob {
    /// Show the newest files.
    Files,
    /// Delete this file, which has this number in the list.
    Delete(u32, FileKey),
    /// Tell how much the files take.
    Quota,
}

/// The reply to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub text: String,
    /// The files that it numbers, from 1 on.
    pub list: Option<Vec<FileKey>>,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, list: None }
    }
}

/// The lists that clients were sent.
pub(super) struct Lists {
    of_client: Cache<Jid, List>,
}

struct List {
    files: Vec<FileKey>,
    sent: Instant,
    /// The list that the client was sent before.
    before: Vec<FileKey>,
}

impl Lists {
    pub(super) fn new() -> Self {
        Self { of_client: Cache::new(limits::TEXT_FILE_LISTS) }
    }

    /// A client is sent a new list.
    pub(super) fn sent(&mut self, now: Instant, client: &Jid, files: Vec<FileKey>) {
        let before = self.of_client.get(now, client).map(|list| list.files.clone()).unwrap_or_default();
        let list = List { files, sent: now, before };
        self.of_client.insert(now, client.clone(), list, limits::COMMAND_SESSION_TIME);
    }

    /// No client is known to have a list.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The file that a client means by a number: of the list that it was sent last. The error is for the user.
    fn meant(&self, now: Instant, client: &Jid, number: u32) -> std::result::Result<FileKey, String> {
        let Some(list) = self.of_client.get(now, client) else {
            return Err("Please write files first. The number means a file in that list.".to_owned());
        };
        let place = usize::try_from(number).unwrap_or(usize::MAX).wrapping_sub(1);
        let (file, before) = (list.files.get(place), list.before.get(place));
        let is_fresh = now.saturating_duration_since(list.sent) < limits::TEXT_LIST_FRESH;
        // It may have been written before the new list was seen.
        if is_fresh && before.is_some() && before != file {
            return Err("The list is new. Check it, then write your command again.".to_owned());
        }
        file.cloned().ok_or_else(|| format!("The list has no number {number}."))
    }

    /// The work that a text asks for. The error is the reply.
    pub(super) fn job(
        &self,
        now: Instant,
        client: &Jid,
        command: TextCommand,
    ) -> std::result::Result<TextJob, String> {
        Ok(match command {
            TextCommand::Files => TextJob::Files,
            TextCommand::Quota => TextJob::Quota,
            TextCommand::Delete(number) => TextJob::Delete(number, self.meant(now, client, number)?),
        })
    }
}

/// Does what a user asks for.
pub(super) fn answer(desk: &dyn Desk, settings: &Settings, user: &BareJid, job: &TextJob) -> Result<Answer> {
    match job {
        TextJob::Files => files(desk, settings, user),
        TextJob::Delete(number, key) => delete(desk, user, *number, key).map(Answer::from),
        TextJob::Quota => quota(desk, user).map(Answer::from),
    }
}

fn files(desk: &dyn Desk, settings: &Settings, user: &BareJid) -> Result<Answer> {
    let mut rows = desk.files(user, None, limits::TEXT_FILES + 1)?;
    let more = rows.len() > limits::TEXT_FILES;
    rows.truncate(limits::TEXT_FILES);
    let keyed: Vec<(FileKey, &FileRow)> = rows.iter().filter_map(|row| Some((row.key()?, row))).collect();
    if keyed.is_empty() {
        return Ok(Answer { text: "You have no files here.".to_owned(), list: Some(Vec::new()) });
    }
    let which = if more { "newest files" } else { "files" };
    let mut lines = vec![format!("Your {which}:")];
    for (number, (_, row)) in (1..).zip(&keyed) {
        lines.push(format!("{number}. {}\n{}", shown::line(row), settings.link(row)));
    }
    lines.push("To delete a file, write delete and its number, such as: delete 2".to_owned());
    let list = keyed.into_iter().map(|(key, _)| key).collect();
    Ok(Answer { text: lines.join("\n"), list: Some(list) })
}

/// The reply names the file, so that people see what is gone.
fn delete(desk: &dyn Desk, user: &BareJid, number: u32, key: &FileKey) -> Result<String> {
    let row = desk.find(user, key)?;
    match row {
        Some(row) if desk.delete(user, key)? => {
            log::info!("{user} deleted 1 file by a text");
            Ok(format!("Deleted number {number}: {}.", shown::name(&row)))
        }
        _ => Ok(format!("Number {number} no longer exists.")),
    }
}

fn quota(desk: &dyn Desk, user: &BareJid) -> Result<String> {
    let usage = desk.usage(user)?;
    let part = |what: &str, sum: FileSum, limit: Option<u64>| {
        let limit = limit.map(|limit| format!(" of {}", shown_size(limit))).unwrap_or_default();
        format!("{what}: {}{limit}.", shown::sum(sum))
    };
    let uploads = part("Your uploads", usage.uploads, usage.uploads_limit);
    let channels = part("Your files in channels", usage.media, usage.media_limit);
    Ok(format!("{uploads} {channels}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UploadId;

    fn key(letter: &str) -> FileKey {
        FileKey::Upload(UploadId::stored(&letter.repeat(24)).unwrap())
    }

    fn delete(number: u32) -> TextCommand {
        TextCommand::Delete(number)
    }

    #[test]
    fn a_number_means_its_file_of_the_list_until_a_new_one_is_sent() {
        let (mut lists, now) = (Lists::new(), Instant::now());
        let phone: Jid = "alice@example.org/phone".parse().unwrap();
        let laptop: Jid = "alice@example.org/laptop".parse().unwrap();
        assert!(lists.job(now, &phone, delete(1)).unwrap_err().contains("write files first"));
        lists.sent(now, &phone, vec![key("a"), key("b")]);
        assert_eq!(lists.job(now, &phone, delete(2)), Ok(TextJob::Delete(2, key("b"))));
        for number in [0, 3, 999] {
            let expected = Err(format!("The list has no number {number}."));
            assert_eq!(lists.job(now, &phone, delete(number)), expected);
        }
        assert!(lists.job(now, &laptop, delete(1)).is_err(), "each client has its own list");
        let later = now + limits::COMMAND_SESSION_TIME;
        assert!(lists.job(later, &phone, delete(2)).is_err(), "lists end");
    }

    #[test]
    fn a_number_that_crosses_a_new_list_deletes_nothing_that_was_not_shown() {
        let (mut lists, now) = (Lists::new(), Instant::now());
        let phone: Jid = "alice@example.org/phone".parse().unwrap();
        lists.sent(now, &phone, vec![key("a"), key("b"), key("c")]);
        let again = now + limits::TEXT_LIST_FRESH;
        lists.sent(again, &phone, vec![key("a"), key("x")]);
        assert_eq!(lists.job(again, &phone, delete(1)), Ok(TextJob::Delete(1, key("a"))), "the same file");
        for number in [2, 3] {
            assert!(lists.job(again, &phone, delete(number)).unwrap_err().contains("list is new"));
        }
        let seen = again + limits::TEXT_LIST_FRESH;
        assert_eq!(lists.job(seen, &phone, delete(2)), Ok(TextJob::Delete(2, key("x"))));
        assert!(lists.job(seen, &phone, delete(3)).is_err());
    }
}
