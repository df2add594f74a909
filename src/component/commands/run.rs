//! The steps of the commands. Worker threads run them: they may wait for the database.

use super::super::desk::{DeletedAll, Desk};
use super::super::forms::{Field, Form, Submission};
use super::super::reply::StanzaError;
use super::super::shown;
use super::super::{Settings, failed};
use super::{Command, CommandAction, CommandOutcome, CommandRequest, State, refused};
use crate::clock::Timestamp;
use crate::limits;
use crate::model::{BareJid, FileKey, Jid};
use crate::store::{Block, FilePlace, FileRow, FileSum};
use crate::uploads::shown_size;

/// The log target of the actions of administrators: none of these lines is omitted.
const AUDIT: &str = "media_server::component::audit";

/// A request with all that its step needs.
pub(in super::super) struct Asked<'a> {
    pub desk: &'a dyn Desk,
    pub settings: &'a Settings,
    /// The user, with the resource of the client.
    pub user: Jid,
    pub now: Timestamp,
    /// The state after the step before; none at the beginning.
    pub state: Option<State>,
    pub request: CommandRequest,
}

type StepResult = Result<CommandOutcome, StanzaError>;

const NO_FILES: &str = "There are no files.";
const FILES: &str = "files";
const DEED: &str = "do";
const USER: &str = "user";
const SURE: &str = "delete";

/// Runs a step. A form in the first request completes its command, for clients that know one step only; without one, or
/// with an empty one, a command asks. Nothing is deleted without a form that names it.
pub(in super::super) fn run(asked: &Asked<'_>) -> StepResult {
    let filled_in = asked.request.form.as_ref().filter(|form| asked.state.is_some() || !form.is_empty());
    let form = filled_in.cloned();
    match asked.request.command {
        Command::MyFiles => asked.files_of(asked.user.bare(), form),
        Command::MyUsage => asked.usage(),
        Command::DeleteAll => asked.delete_all(form),
        Command::UserFiles => asked.user_files(form),
        Command::Total => asked.total(),
        Command::Block => asked.block(form),
        Command::Unblock => asked.unblock(form),
    }
}

impl Asked<'_> {
    /// A page of the files of a user, or what is to be done with the files that were chosen.
    fn files_of(&self, owner: &BareJid, form: Option<Submission>) -> StepResult {
        let (places, next) = match &self.state {
            Some(State::Files { places, next, .. }) => (places.clone(), next.clone()),
            _ => (Vec::new(), None),
        };
        match (&self.state, self.request.action) {
            (Some(_), CommandAction::Next) => match next {
                Some(next) => self.page(owner, places.into_iter().chain([next]).collect()),
                None => Err(bad_action("There are no more files.")),
            },
            (Some(_), CommandAction::Previous) => match places.split_last() {
                Some((_, before)) => self.page(owner, before.to_vec()),
                None => Err(bad_action("This is the first page.")),
            },
            (Some(_), _) => self.do_with_files(owner, Some(&places), &form.unwrap_or_default()),
            (None, CommandAction::Previous) => Err(bad_action("This is the first page.")),
            (None, _) => match form {
                Some(form) => self.do_with_files(owner, None, &form),
                None => self.page(owner, Vec::new()),
            },
        }
    }

    fn page(&self, owner: &BareJid, places: Vec<FilePlace>) -> StepResult {
        if places.len() > limits::COMMAND_PAGES {
            return Err(bad_action("No more pages can be shown. Delete some files first."));
        }
        let mut rows = self.desk.files(owner, places.last(), limits::COMMAND_FILES + 1).map_err(failed)?;
        if rows.is_empty() {
            return Ok(completed(NO_FILES));
        }
        let more = rows.len() > limits::COMMAND_FILES;
        rows.truncate(limits::COMMAND_FILES);
        let next = rows.last().filter(|_| more).map(FileRow::place);
        let actions: &[CommandAction] = match (places.is_empty(), more) {
            (true, false) => &[CommandAction::Complete],
            (true, true) => &[CommandAction::Complete, CommandAction::Next],
            (false, false) => &[CommandAction::Complete, CommandAction::Previous],
            (false, true) => &[CommandAction::Complete, CommandAction::Next, CommandAction::Previous],
        };
        let form = files_form(&self.files_title(owner), first_number(&places), &rows);
        Ok(CommandOutcome::Asks { form, actions, state: State::Files { owner: owner.clone(), places, next } })
    }

    fn files_title(&self, owner: &BareJid) -> String {
        match self.request.command {
            Command::UserFiles => format!("Files of {}", shown::cut(owner.as_str())),
            _ => "My files".to_owned(),
        }
    }

    /// The form names each file, so that what is deleted is what it shows, whatever was stored meanwhile. `places` are those
    /// of the page that the user saw, if any.
    fn do_with_files(&self, owner: &BareJid, places: Option<&[FilePlace]>, form: &Submission) -> StepResult {
        let keys = self.keys(owner, places, form)?;
        match form.one(DEED) {
            _ if keys.is_empty() => Ok(completed("No file was chosen, so nothing was done.")),
            None | Some("link") => self.links(owner, &keys),
            Some("delete") => self.delete(owner, &keys),
            Some(_) => Err(refused("bad-payload", "Choose between link and delete.")),
        }
    }

    /// The files that a form names. Gajim before 1.8.1 sends the labels of a list in the place of their values: a label
    /// counts if the page that was shown still has it.
    fn keys(
        &self,
        owner: &BareJid,
        places: Option<&[FilePlace]>,
        form: &Submission,
    ) -> Result<Vec<FileKey>, StanzaError> {
        let chosen = form.all(FILES);
        let labelled = match places {
            Some(places) if chosen.iter().any(|text| text.parse::<FileKey>().is_err()) => {
                let rows = self.desk.files(owner, places.last(), limits::COMMAND_FILES).map_err(failed)?;
                labelled(first_number(places), &rows)
            }
            _ => Vec::new(),
        };
        let by_label = |text: &str| labelled.iter().find(|(label, _)| label == text)?.1.parse().ok();
        let key = |text: &String| text.parse().ok().or_else(|| by_label(text));
        let keys = chosen.iter().map(key).collect::<Option<_>>();
        keys.ok_or_else(|| refused("bad-payload", "The form names a file that the list did not show."))
    }

    fn links(&self, owner: &BareJid, keys: &[FileKey]) -> StepResult {
        let mut rows = Vec::new();
        for key in keys {
            rows.extend(self.desk.find(owner, key).map_err(failed)?);
        }
        Ok(self.told_links(&rows))
    }

    fn told_links(&self, rows: &[FileRow]) -> CommandOutcome {
        if rows.is_empty() {
            return completed(NO_FILES);
        }
        let field = |(number, row): (usize, &FileRow)| {
            let name = format!("link-{}", number + 1);
            Field::new(name, "text-single", shown::line(row)).value(self.settings.link(row))
        };
        let fields = rows.iter().enumerate().map(field);
        let form = fields.fold(Form::result("Links"), Form::field);
        CommandOutcome::Completed(format!("{}.", shown::count(rows.len() as u64)), Some(form))
    }

    fn delete(&self, owner: &BareJid, keys: &[FileKey]) -> StepResult {
        let mut deleted = 0;
        for key in keys {
            deleted += u64::from(self.desk.delete(owner, key).map_err(failed)?);
        }
        if deleted > 0 {
            self.log_deleted(owner, deleted);
        }
        let gone = keys.len() as u64 - deleted;
        let rest = if gone == 0 { String::new() } else { format!(" {} already gone.", were(gone)) };
        Ok(completed(format!("Deleted {}.{rest}", shown::count(deleted))))
    }

    fn log_deleted(&self, owner: &BareJid, files: u64) {
        let files = shown::count(files);
        if self.request.command == Command::UserFiles {
            log::info!(target: AUDIT, "the administrator {} deleted {files} of {owner} by a command", self.user.bare());
        } else {
            log::info!("{owner} deleted {files} by a command");
        }
    }

    fn usage(&self) -> StepResult {
        let usage = self.desk.usage(self.user.bare()).map_err(failed)?;
        let part = |name: &str, label: &str, sum: FileSum, limit: Option<u64>| {
            let limit = limit.map(|limit| format!(" of {}", shown_size(limit))).unwrap_or_default();
            Field::new(name, "text-single", label).value(format!("{}{limit}", shown::sum(sum)))
        };
        let form = Form::result(Command::MyUsage.name())
            .field(part("uploads", "Uploads", usage.uploads, usage.uploads_limit))
            .field(part("channels", "In channels", usage.media, usage.media_limit));
        Ok(CommandOutcome::Completed(format!("Total: {}.", shown::sum(usage.all())), Some(form)))
    }

    /// The files that were stored before the question are what the answer deletes.
    fn delete_all(&self, form: Option<Submission>) -> StepResult {
        let owner = self.user.bare();
        match (&self.state, form) {
            (None, None) => self.ask_to_delete_all(),
            (_, Some(form)) if form.flag(SURE) => {
                let until = match &self.state {
                    Some(State::DeletesAll { until }) => *until,
                    _ => self.now,
                };
                let DeletedAll { files, more } = self.desk.delete_all(owner, until).map_err(failed)?;
                self.log_deleted(owner, files);
                let rest = if more { " Some files are left. Please run the command again." } else { "" };
                Ok(completed(format!("Deleted {}.{rest}", shown::count(files))))
            }
            _ => Ok(completed("Nothing was deleted.")),
        }
    }

    fn ask_to_delete_all(&self) -> StepResult {
        let all = self.desk.usage(self.user.bare()).map_err(failed)?.all();
        if all.files == 0 {
            return Ok(completed(NO_FILES));
        }
        let label = format!("Delete all my files: {}", shown::sum(all));
        let form = Form::to_fill_in(Command::DeleteAll.name())
            .instructions("You can't undo this. Links to these files will stop working.")
            .field(Field::new(SURE, "boolean", label).value("false"));
        Ok(CommandOutcome::Asks {
            form,
            actions: &[CommandAction::Complete],
            state: State::DeletesAll { until: self.now },
        })
    }

    fn user_files(&self, form: Option<Submission>) -> StepResult {
        if let Some(State::Files { owner, .. }) = &self.state {
            return self.files_of(owner, form);
        }
        let Some(form) = form else { return Ok(self.ask_user()) };
        let owner = user_in(&form)?;
        log::info!(target: AUDIT, "the administrator {} lists the files of {owner} by a command", self.user.bare());
        match self.state {
            Some(_) => self.page(&owner, Vec::new()),
            // The first request completes the command.
            None if form.all(FILES).is_empty() => {
                let rows = self.desk.files(&owner, None, limits::COMMAND_FILES).map_err(failed)?;
                Ok(self.told_links(&rows))
            }
            None => self.do_with_files(&owner, None, &form),
        }
    }

    fn ask_user(&self) -> CommandOutcome {
        let command = self.request.command;
        let actions: &[CommandAction] =
            if command == Command::UserFiles { &[CommandAction::Next] } else { &[CommandAction::Complete] };
        let field = Field::new(USER, "jid-single", "Address of the user").required();
        let form = Form::to_fill_in(command.name()).field(field);
        CommandOutcome::Asks { form, actions, state: State::AsksUser }
    }

    fn total(&self) -> StepResult {
        log::info!(target: AUDIT, "the administrator {} asks for the usage by a command", self.user.bare());
        let total = self.desk.total().map_err(failed)?;
        let field = |name: String, label: String, sum: FileSum| {
            Field::new(name, "text-single", label).value(shown::sum(sum))
        };
        let mut form = Form::result(Command::Total.name())
            .field(field("uploads".to_owned(), "Uploads".to_owned(), total.uploads))
            .field(field("channels".to_owned(), "In channels".to_owned(), total.media));
        for (kind, users) in [("uploads", &total.upload_users), ("channels", &total.media_users)] {
            for (number, (user, sum)) in (1..).zip(users) {
                let label = format!("{} ({kind})", shown::cut(user));
                form = form.field(field(format!("{kind}-{number}"), label, *sum));
            }
        }
        let all = FileSum {
            files: total.media.files + total.uploads.files,
            bytes: total.media.bytes.saturating_add(total.uploads.bytes),
        };
        Ok(CommandOutcome::Completed(format!("Total: {}.", shown::sum(all)), Some(form)))
    }

    fn block(&self, form: Option<Submission>) -> StepResult {
        let Some(form) = form else { return Ok(self.ask_user()) };
        let user = user_in(&form)?;
        if user.local().is_none() {
            let text = "Enter the address of one user. The setting upload.deny shuts out a whole domain.";
            return Err(refused("bad-payload", text));
        }
        let is_new = self.desk.block(&user, self.user.bare()).map_err(failed)?;
        let shown = shown::cut(user.as_str());
        if !is_new {
            return Ok(completed(format!("{shown} is already blocked.")));
        }
        log::info!(target: AUDIT, "the administrator {} blocked {user} by a command", self.user.bare());
        Ok(completed(format!("{shown} can no longer send files.")))
    }

    fn unblock(&self, form: Option<Submission>) -> StepResult {
        let Some(form) = form else { return self.ask_blocked_user() };
        let user = user_in(&form)?;
        let shown = shown::cut(user.as_str());
        if !self.desk.unblock(&user).map_err(failed)? {
            return Ok(completed(format!("{shown} was not blocked.")));
        }
        log::info!(target: AUDIT, "the administrator {} unblocked {user} by a command", self.user.bare());
        Ok(completed(format!("{shown} can send files again.")))
    }

    /// Those who are blocked can be chosen; where they are too many for a list, any address can be typed.
    fn ask_blocked_user(&self) -> StepResult {
        let blocked = self.desk.blocked().map_err(failed)?;
        if blocked.is_empty() {
            return Ok(completed("Nobody is blocked."));
        }
        if blocked.len() >= limits::COMMAND_FILES {
            return Ok(self.ask_user());
        }
        let option = |Block { jid, since, by }: &Block| {
            let (jid, by) = (jid.as_str(), by.as_str());
            (
                format!("{}, since {}, by {}", shown::cut(jid), shown::date(*since), shown::cut(by)),
                jid.to_owned(),
            )
        };
        let options = blocked.iter().map(option).collect();
        let field = Field::new(USER, "list-single", "User").options(options).required();
        let form = Form::to_fill_in(Command::Unblock.name()).field(field);
        Ok(CommandOutcome::Asks { form, actions: &[CommandAction::Complete], state: State::AsksUser })
    }
}

/// The number of the first file of a page.
fn first_number(places: &[FilePlace]) -> usize {
    places.len() * limits::COMMAND_FILES + 1
}

/// The options of a list of files: label and value.
fn labelled(first: usize, rows: &[FileRow]) -> Vec<(String, String)> {
    let option = |(number, row): (usize, &FileRow)| {
        Some((format!("{number}. {}", shown::line(row)), row.key()?.to_string()))
    };
    (first..).zip(rows).filter_map(option).collect()
}

fn files_form(title: &str, first: usize, rows: &[FileRow]) -> Form {
    let files = labelled(first, rows);
    let deeds = [("Show the links", "link"), ("Delete the files", "delete")];
    let deeds = deeds.map(|(label, value)| (label.to_owned(), value.to_owned())).to_vec();
    Form::to_fill_in(title)
        .instructions("Choose files, newest first.")
        .field(Field::new(FILES, "list-multi", "Files").options(files))
        .field(Field::new(DEED, "list-single", "What to do").value("link").options(deeds))
}

/// The user whom a form names: a bare JID, or a full one without its resource.
fn user_in(form: &Submission) -> Result<BareJid, StanzaError> {
    let user = form.one(USER).and_then(|text| text.parse::<Jid>().ok());
    let missing = || refused("bad-payload", "Enter the address of one user, such as alice@example.org.");
    user.map(Jid::into_bare).ok_or_else(missing)
}

fn completed(text: impl Into<String>) -> CommandOutcome {
    CommandOutcome::Completed(text.into(), None)
}

fn bad_action(text: &str) -> StanzaError {
    refused("bad-action", text)
}

fn were(files: u64) -> String {
    if files == 1 { "1 file was".to_owned() } else { format!("{files} files were") }
}
