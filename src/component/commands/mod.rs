//! Ad-hoc commands (XEP-0050) with data forms (XEP-0004), by which users see and delete their files, and administrators
//! look after users. This file reads requests and writes replies, without I/O; `run` has the steps, which worker threads
//! run.

mod disco;
mod run;
mod sessions;

pub(super) use disco::{discovered, is_discovery};
pub(super) use run::{Asked, run};
pub(super) use sessions::{Sessions, State};

use super::forms::{Form, Submission};
use super::reply::StanzaError;
use crate::limits;
use crate::xmpp::{Element, ns};

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Command {
    MyFiles,
    MyUsage,
    DeleteAll,
    UserFiles,
    Total,
    Block,
    Unblock,
}

impl Command {
    /// All of them, in the order of their list.
    const ALL: [Self; 7] = [
        Self::MyFiles,
        Self::MyUsage,
        Self::DeleteAll,
        Self::UserFiles,
        Self::Total,
        Self::Block,
        Self::Unblock,
    ];

    /// Its node, which people who use a command line type.
    fn node(self) -> &'static str {
        match self {
            Self::MyFiles => "files",
            Self::MyUsage => "quota",
            Self::DeleteAll => "delete-all",
            Self::UserFiles => "user-files",
            Self::Total => "usage",
            Self::Block => "block",
            Self::Unblock => "unblock",
        }
    }

    /// Its name for people.
    fn name(self) -> &'static str {
        match self {
            Self::MyFiles => "My files",
            Self::MyUsage => "How much I use",
            Self::DeleteAll => "Delete all my files",
            Self::UserFiles => "Files of a user",
            Self::Total => "Usage",
            Self::Block => "Block a user",
            Self::Unblock => "Unblock a user",
        }
    }

    /// Whether only administrators see and run it.
    fn is_for_admins(self) -> bool {
        matches!(self, Self::UserFiles | Self::Total | Self::Block | Self::Unblock)
    }

    /// The commands that this user sees.
    fn seen_by(is_admin: bool) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |command| is_admin || !command.is_for_admins())
    }

    /// The command of this node, if this user sees it.
    fn find(node: &str, is_admin: bool) -> Option<Self> {
        Self::seen_by(is_admin).find(|command| command.node() == node)
    }
}

/// The action of a user in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandAction {
    /// The default action of the step.
    Execute,
    Next,
    Previous,
    Complete,
    Cancel,
}

/// A request that runs a command, or a step of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandRequest {
    pub command: Command,
    pub action: CommandAction,
    /// The id of the session; none at the beginning.
    pub session: Option<String>,
    /// The form, if one is submitted.
    pub form: Option<Submission>,
}

/// Whether an IQ runs a command, however wrong it is.
pub(super) fn is_request(iq: &Element) -> bool {
    iq.child("command", ns::COMMANDS).is_some()
}

/// Reads the request in an IQ. The error is for the user; it has the conditions of XEP-0050 section 4.4.
pub(super) fn read(iq: &Element, is_admin: bool) -> Result<CommandRequest, StanzaError> {
    let mut children = iq.children();
    let (Some(request), None) = (children.next(), children.next()) else {
        return Err(StanzaError::bad_request("An IQ must hold exactly one request."));
    };
    if iq.attribute("type") != Some("set") {
        return Err(StanzaError::bad_request("A command must be an IQ of type set."));
    }
    let command = Command::find(request.attribute("node").unwrap_or_default(), is_admin);
    let unknown = || StanzaError::new("cancel", "item-not-found", "There is no such command.");
    let command = command.ok_or_else(unknown)?;
    let action = match request.attribute("action") {
        None | Some("execute") => CommandAction::Execute,
        Some("next") => CommandAction::Next,
        Some("prev") => CommandAction::Previous,
        Some("complete") => CommandAction::Complete,
        Some("cancel") => CommandAction::Cancel,
        Some(_) => return Err(refused("malformed-action", "This action is unknown.")),
    };
    let form = Submission::read(request);
    let form =
        form.map_err(|_| refused("bad-payload", "The form is larger than any that was sent to you."))?;
    Ok(CommandRequest { command, action, session: request.attribute("sessionid").map(str::to_owned), form })
}

/// The command that an IQ runs, by its node and its session; `None` if it names no session, or not an id of ours.
pub(super) fn named(iq: &Element) -> Option<Element> {
    let request = iq.child("command", ns::COMMANDS)?;
    let session = request.attribute("sessionid").filter(|id| id.len() <= limits::COMMAND_SESSION_ID)?;
    let node = request.attribute("node").filter(|node| node.len() <= limits::COMMAND_SESSION_ID)?;
    Some(Element::new("command", ns::COMMANDS).with("node", node).with("sessionid", session))
}

/// A `bad-request` with this condition of XEP-0050 section 4.4.
pub(super) fn refused(condition: &str, text: &str) -> StanzaError {
    StanzaError::bad_request(text).with(Element::new(condition, ns::COMMANDS))
}

/// The session is over, or was never this client's.
pub(super) fn bad_session() -> StanzaError {
    refused("bad-sessionid", "This command has expired. Please run it again.")
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CommandOutcome {
    /// The command is at its end: one sentence, and perhaps a form that tells more.
    Completed(String, Option<Form>),
    /// A form is to be filled in.
    Asks {
        form: Form,
        /// The default action first.
        actions: &'static [CommandAction],
        state: State,
    },
    /// The user has given up.
    Canceled,
}

/// A step's outcome as it is sent (XEP-0050 section 2.4). A form that tells more comes before the sentence that sums it up.
pub(super) fn reply(command: Command, session: &str, outcome: CommandOutcome) -> Element {
    let reply = |status: &str| {
        Element::new("command", ns::COMMANDS)
            .with("node", command.node())
            .with("sessionid", session)
            .with("status", status)
    };
    match outcome {
        CommandOutcome::Completed(text, form) => {
            let mut reply = reply("completed");
            form.into_iter().for_each(|form| reply.push(form.into_element()));
            reply.with_child(Element::new("note", ns::COMMANDS).with("type", "info").with_text(text))
        }
        CommandOutcome::Asks { form, actions, .. } => {
            let name = |action: &CommandAction| match action {
                CommandAction::Next => Some("next"),
                CommandAction::Previous => Some("prev"),
                CommandAction::Complete => Some("complete"),
                CommandAction::Execute | CommandAction::Cancel => None,
            };
            let mut list = Element::new("actions", ns::COMMANDS);
            actions.first().and_then(name).into_iter().for_each(|name| list.set("execute", name));
            // In the order of the schema.
            for action in [CommandAction::Previous, CommandAction::Next, CommandAction::Complete] {
                let offered = name(&action).filter(|_| actions.contains(&action));
                offered.into_iter().for_each(|name| list.push(Element::new(name, ns::COMMANDS)));
            }
            reply("executing").with_child(list).with_child(form.into_element())
        }
        CommandOutcome::Canceled => reply("canceled"),
    }
}
