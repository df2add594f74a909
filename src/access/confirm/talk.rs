//! The decision that a text of a user makes (XEP-0070 version 1.0.2 section 4.3), and the reply to it. A text decides
//! nothing but prompts that the user was shown in the client that sends the text. A part of the gate's state machine,
//! without I/O.

use std::time::Instant;

use super::people::{ListReason, ShownList};
use super::reply::{TextMessage, may_reply};
use super::text_request::TextRequest;
use super::{Confirmations, Reaction};
use crate::access::request::RequestId;
use crate::access::text::{self, Text, TextCommand};
use crate::cache::Cache;
use crate::limits;
use crate::model::{BareJid, Jid};

/// The effects of a text.
enum TextStep {
    /// The user confirms, or denies, these prompts.
    Decide(Vec<RequestId>, bool),
    /// The user is sent the list of the prompts that wait.
    List(ListReason),
    /// The user is told this.
    Tell(Telling),
    /// The text is for the component.
    Serve(TextCommand),
}

/// Explanations for users, each sent at most once in [`limits::TEXT_PAUSE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Telling {
    /// How to reply to a prompt.
    Help,
    /// The purpose of this address.
    Purpose,
    /// The prompt that is meant has ended.
    Ended,
    /// We read no encrypted texts.
    Encrypted,
}

/// The explanations that users were sent recently.
pub(super) struct Told {
    users: Cache<(BareJid, Telling), ()>,
    /// When the first text of the last [`limits::TEXT_PAUSE`] was sent, and how many have been since.
    recent: (Option<Instant>, u32),
}

/// The prompt that a thread or a reply (XEP-0461) names.
#[derive(Clone, PartialEq, Eq)]
enum Named {
    Nothing,
    Pending(RequestId),
    Ended,
    /// The thread and the reply name different ones.
    Several,
}

impl Confirmations {
    pub(super) fn take_text(
        &mut self,
        now: Instant,
        component: &Jid,
        message: &TextMessage<'_>,
        reaction: &mut Reaction,
    ) {
        if let Some(person) = self.people.get_mut(message.from.bare()) {
            person.heard(now);
        }
        let waiting = self.waiting_for(now, &message.from);
        let step = match &message.body {
            Some(body) => self.meaning(now, message, body, &waiting),
            None => TextStep::Tell(Telling::Encrypted),
        };
        let answer = match step {
            TextStep::Decide(prompts, yes) => {
                for id in prompts {
                    self.people.of(now, message.from.bare()).decided_by(&message.from, id);
                    reaction.decided.extend(self.decide(now, id, yes));
                }
                None
            }
            TextStep::List(reason) => self.list(now, &message.from, &waiting, reason),
            TextStep::Tell(telling) => self.told.tell(now, message.from.bare(), telling),
            TextStep::Serve(command) => {
                reaction.commands.push(TextRequest::new(component, message, command));
                None
            }
        };
        reaction.send.extend(answer.map(|text| message.reply(component, text)));
    }

    /// The prompts that a client was shown and may reply to, the oldest first.
    fn waiting_for(&self, now: Instant, client: &Jid) -> Vec<RequestId> {
        let of_user = self.by_user.get(client.bare()).into_iter().flat_map(|pending| &pending.ids).copied();
        let waits = |id: &RequestId| {
            let pending = self.pending.get(id).filter(|pending| pending.is_asked(now));
            pending.is_some_and(|pending| may_reply(client, &pending.prompt.asked))
        };
        of_user.filter(waits).take(limits::LISTED_PROMPTS).collect()
    }

    fn meaning(
        &self,
        now: Instant,
        message: &TextMessage<'_>,
        body: &str,
        waiting: &[RequestId],
    ) -> TextStep {
        let ids: Vec<_> = waiting.iter().copied().filter(|id| self.is_named_by_id(*id, body)).collect();
        match (self.named(now, message, waiting), text::read(body)) {
            // No command is a word that replies to a prompt. A client may use one thread for all that it sends.
            (_, Text::Command(command)) => TextStep::Serve(command),
            (Named::Pending(id), _) if ids.contains(&id) => TextStep::Decide(vec![id], true),
            (Named::Pending(id), text) => self.about_one(now, message, id, text, waiting),
            (Named::Ended, Text::Other) if ids.is_empty() => about_other(waiting),
            (Named::Ended, _) => TextStep::Tell(Telling::Ended),
            (Named::Several, _) => list_or_ended(waiting),
            (Named::Nothing, _) if !ids.is_empty() => self.about_id(now, message, body, &ids),
            (Named::Nothing, text) => self.about_any(now, message, text, waiting),
        }
    }

    fn is_named_by_id(&self, id: RequestId, body: &str) -> bool {
        self.pending.get(&id).is_some_and(|pending| pending.prompt.is_named_by(body))
    }

    /// Whether the thread or the reply names a prompt that this client was shown lately. Any other thread counts for
    /// nothing: clients have threads of their own.
    fn named(&self, now: Instant, message: &TextMessage<'_>, waiting: &[RequestId]) -> Named {
        let by_thread = message.thread.map(|thread| self.named_by(now, message, waiting, (thread, true)));
        let by_reply = message.reply_to.map(|id| self.named_by(now, message, waiting, (id, false)));
        let found = by_thread.into_iter().chain(by_reply).filter(|named| *named != Named::Nothing);
        found.reduce(|one, other| if one == other { one } else { Named::Several }).unwrap_or(Named::Nothing)
    }

    fn named_by(
        &self,
        now: Instant,
        message: &TextMessage<'_>,
        waiting: &[RequestId],
        (name, is_thread): (&str, bool),
    ) -> Named {
        let is_it = |thread: &str, stanza_id: &str| name == if is_thread { thread } else { stanza_id };
        let pending = waiting.iter().find(|id| {
            let prompt = self.pending.get(*id).map(|pending| &pending.prompt);
            prompt.is_some_and(|prompt| is_it(&prompt.thread, &prompt.stanza_id))
        });
        if let Some(id) = pending {
            return Named::Pending(*id);
        }
        let person = self.people.get(message.from.bare());
        let mut ended = person.into_iter().flat_map(|person| person.ended_for(now, &message.from));
        if ended.any(|ended| is_it(&ended.thread, &ended.stanza_id)) { Named::Ended } else { Named::Nothing }
    }

    /// A text in a prompt's own thread, or in reply to it, means that prompt and no other.
    fn about_one(
        &self,
        now: Instant,
        message: &TextMessage<'_>,
        id: RequestId,
        text: Text,
        waiting: &[RequestId],
    ) -> TextStep {
        let listed = |number| self.list_of(now, message).map(|list| (list.entry(number), list.denying));
        match text {
            Text::Yes => TextStep::Decide(vec![id], true),
            Text::No => TextStep::Decide(vec![id], false),
            Text::Number(number) if listed(number).is_some_and(|(entry, _)| entry == Some(id)) => {
                self.about_list(now, message, text, waiting)
            }
            Text::NoNumber(number)
                if listed(number).is_none_or(|(entry, _)| entry.is_none_or(|entry| entry == id)) =>
            {
                TextStep::Decide(vec![id], false)
            }
            _ => about_other(waiting),
        }
    }

    /// The text is the transaction id of these prompts.
    fn about_id(&self, now: Instant, message: &TextMessage<'_>, body: &str, ids: &[RequestId]) -> TextStep {
        let [id] = ids else { return TextStep::List(ListReason::Unclear) };
        let person = self.people.get(message.from.bare());
        let mut ended = person.into_iter().flat_map(|person| person.ended_for(now, &message.from));
        let is_repeated = ended.any(|ended| ended.is_recent(now) && text::is_id(body, &ended.transaction));
        if is_repeated && self.is_fresh(now, *id) {
            return TextStep::List(ListReason::Unclear);
        }
        TextStep::Decide(vec![*id], true)
    }

    fn about_any(
        &self,
        now: Instant,
        message: &TextMessage<'_>,
        text: Text,
        waiting: &[RequestId],
    ) -> TextStep {
        match (text, waiting) {
            (Text::Other, _) => about_other(waiting),
            (Text::Yes, [id]) if self.is_mistakable(now, message, *id) => TextStep::List(ListReason::Unclear),
            (Text::Yes, [id]) => TextStep::Decide(vec![*id], true),
            (Text::No, [id]) => TextStep::Decide(vec![*id], false),
            (_, []) => self.about_none(now, message),
            (Text::Yes, _) => TextStep::List(ListReason::Unclear),
            (Text::No, _) => TextStep::List(ListReason::Denying),
            _ => self.about_list(now, message, text, waiting),
        }
    }

    /// A number, or "all", means an entry of the list that this client was shown last, as it was.
    fn about_list(
        &self,
        now: Instant,
        message: &TextMessage<'_>,
        text: Text,
        waiting: &[RequestId],
    ) -> TextStep {
        let Some(list) = self.list_of(now, message) else {
            return match (text, waiting) {
                (Text::NoNumber(_) | Text::NoAll, [id]) => TextStep::Decide(vec![*id], false),
                _ => TextStep::List(ListReason::Unclear),
            };
        };
        if !list.holds(waiting) {
            return TextStep::List(ListReason::Changed);
        }
        match (text, text.number().map(|number| list.entry(number))) {
            (_, Some(None)) => TextStep::List(ListReason::Unclear),
            (Text::Number(_), Some(Some(id))) => TextStep::Decide(vec![id], !list.denying),
            (_, Some(Some(id))) => TextStep::Decide(vec![id], false),
            (Text::All, None) if list.denying => TextStep::Decide(waiting.to_vec(), false),
            (Text::All, None) if !self.is_of_one_network(waiting) => TextStep::List(ListReason::Apart),
            (Text::All, None) if list.replaces_at(now) => TextStep::List(ListReason::Changed),
            (Text::All, None) => TextStep::Decide(waiting.to_vec(), true),
            (_, None) => TextStep::Decide(waiting.to_vec(), false),
        }
    }

    /// Nothing waits that this client could decide.
    fn about_none(&self, now: Instant, message: &TextMessage<'_>) -> TextStep {
        let person = self.people.get(message.from.bare());
        let has_ended = person.is_some_and(|person| person.ended_for(now, &message.from).next().is_some());
        TextStep::Tell(if has_ended { Telling::Ended } else { Telling::Purpose })
    }

    fn list_of(&self, now: Instant, message: &TextMessage<'_>) -> Option<&ShownList> {
        self.people.get(message.from.bare())?.list_of(now, &message.from)
    }

    fn is_fresh(&self, now: Instant, id: RequestId) -> bool {
        self.pending.get(&id).is_some_and(|pending| now < pending.begun + limits::PROMPT_FRESH)
    }

    /// Whether a yes may have been written before the user saw this prompt, and meant another one.
    fn is_mistakable(&self, now: Instant, message: &TextMessage<'_>, id: RequestId) -> bool {
        let person = self.people.get(message.from.bare());
        let mut ended = person.into_iter().flat_map(|person| person.ended_for(now, &message.from));
        self.cautious_until.is_some_and(|until| now < until)
            || self.is_fresh(now, id) && ended.any(|ended| ended.is_recent(now))
    }

    /// Whether one client network sent all of these requests.
    fn is_of_one_network(&self, prompts: &[RequestId]) -> bool {
        let mut networks = prompts.iter().map(|id| self.pending.get(id).and_then(|pending| pending.client));
        match networks.next() {
            Some(first) => prompts.len() == 1 || first.is_some() && networks.all(|other| other == first),
            None => false,
        }
    }

    /// The list for a client, which keeps it in mind; `None` if the user has been sent so many.
    fn list(
        &mut self,
        now: Instant,
        client: &Jid,
        waiting: &[RequestId],
        reason: ListReason,
    ) -> Option<String> {
        let person = self.people.of(now, client.bare());
        if !person.may_be_sent_list(now) {
            if reason == ListReason::Denying {
                person.denied_by(client);
            }
            return None;
        }
        let list = person.show(now, client, waiting, reason).clone();
        Some(self.list_text(&list, reason))
    }

    fn list_text(&self, list: &ShownList, reason: ListReason) -> String {
        let ids: Vec<_> = list.entries.iter().map(|(_, id)| *id).collect();
        let mut lines = vec![list_head(ids.len(), reason)];
        for (number, id) in &list.entries {
            let summary = self.pending.get(id).map(|pending| pending.prompt.summary());
            lines.push(format!("{number}. {}", summary.unwrap_or_default()));
        }
        lines.push(list_foot(list, self.is_of_one_network(&ids)));
        lines.join("\n")
    }
}

/// A text that is neither a reply to a prompt nor a command.
fn about_other(waiting: &[RequestId]) -> TextStep {
    match waiting.len() {
        0 => TextStep::Tell(Telling::Purpose),
        1 => TextStep::Tell(Telling::Help),
        _ => TextStep::List(ListReason::Unclear),
    }
}

fn list_or_ended(waiting: &[RequestId]) -> TextStep {
    if waiting.is_empty() { TextStep::Tell(Telling::Ended) } else { TextStep::List(ListReason::Unclear) }
}

fn list_head(count: usize, reason: ListReason) -> String {
    let wait = match count {
        1 => "This request waits for your reply:".to_owned(),
        _ => format!("{count} requests wait for your reply:"),
    };
    match reason {
        ListReason::Unclear | ListReason::Denying => wait,
        ListReason::Changed => format!("The list has changed. {wait}"),
        ListReason::Apart => format!("These come from different networks, so reply to each of them. {wait}"),
    }
}

fn list_foot(list: &ShownList, is_of_one_network: bool) -> String {
    let first = list.entries.first().map_or(1, |(number, _)| *number);
    match (list.denying, list.entries.len()) {
        (false, 1) => format!("Reply {first} to allow it, or No to refuse it."),
        (true, 1) => format!("Reply {first} to refuse it, or OK to see it again."),
        (true, _) => "Reply with a number to refuse that one, or \"no all\" to refuse all.".to_owned(),
        (false, _) => {
            let all = if is_of_one_network { ", \"all\" to allow all" } else { "" };
            format!(
                "Reply with a number to allow that one, \"no {first}\" to refuse number {first}{all}, or \
                 \"no all\" to refuse all."
            )
        }
    }
}

impl Text {
    /// The number that it holds.
    fn number(self) -> Option<u32> {
        match self {
            Self::Number(number) | Self::NoNumber(number) => Some(number),
            _ => None,
        }
    }
}

impl Telling {
    fn words(self) -> &'static str {
        match self {
            Self::Help => "Reply OK to allow the request, or No to refuse it.",
            Self::Purpose => {
                "This is a media server. It writes to you when a request comes in your name: reply OK to allow it, or \
                 No to refuse it. You can also write: files, for your newest files; delete 2, to delete number 2 of \
                 that list; quota, for how much your files take."
            }
            Self::Ended => "That request has ended.",
            Self::Encrypted => "Please send it unencrypted: this server can't read encrypted messages.",
        }
    }
}

impl Told {
    pub fn new() -> Self {
        Self { users: Cache::new(limits::CACHE_ENTRIES), recent: (None, 0) }
    }

    /// The words, unless the user, or all users together, have been told enough.
    fn tell(&mut self, now: Instant, user: &BareJid, telling: Telling) -> Option<String> {
        let key = (user.clone(), telling);
        if self.users.get(now, &key).is_some() {
            return None;
        }
        let (since, count) = &mut self.recent;
        if since.is_none_or(|since| now.saturating_duration_since(since) >= limits::TEXT_PAUSE) {
            (*since, *count) = (Some(now), 0);
        }
        *count += 1;
        if *count > limits::TEXTS {
            return None;
        }
        self.users.insert(now, key, (), limits::TEXT_PAUSE);
        Some(telling.words().to_owned())
    }
}

#[cfg(test)]
mod tests;
