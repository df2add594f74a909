//! Facts about the users who were asked: the networks for which they confirmed requests, the prompts that they left
//! unanswered, and what they were shown. In memory only: after a restart no network has been confirmed for, and no prompt
//! has expired. Values, without I/O.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use super::super::request::RequestId;
use super::reply::may_reply;
use crate::limits;
use crate::model::{BareJid, Jid};

/// The known users, at most [`limits::PEOPLE`].
#[derive(Default)]
pub(super) struct People {
    by_jid: HashMap<BareJid, Person>,
}

/// The facts about one user.
pub(super) struct Person {
    touched: Instant,
    /// The client networks for which the user confirmed a request, with the date of the last time; the oldest first.
    confirmed: Vec<(Option<IpAddr>, Instant)>,
    /// Prompts that expired since the user's last message.
    unanswered: u32,
    /// The date of the last prompt that was sent although too many had expired.
    rare: Option<Instant>,
    /// When the user last wrote or replied.
    heard: Option<Instant>,
    ended: VecDeque<EndedPrompt>,
    lists: Vec<ShownList>,
    /// When the first list of the last [`limits::TEXT_PAUSE`] was sent, and how many have been since.
    listed: (Option<Instant>, u32),
}

/// A prompt that a reply may still name, though it is decided or has expired.
pub(super) struct EndedPrompt {
    pub asked: Jid,
    pub thread: String,
    pub stanza_id: String,
    pub transaction: String,
    pub begun: Instant,
    pub ended: Instant,
}

/// A list of prompts that a client was sent. Its numbers keep their meaning as long as it counts: a prompt has the same one
/// in the next list, and the numbers of the others are not given anew.
#[derive(Clone)]
pub(super) struct ShownList {
    pub to: Jid,
    pub at: Instant,
    pub entries: Vec<(u32, RequestId)>,
    /// The largest number so far.
    pub last: u32,
    /// Whether it was sent for a bare no: then a number denies.
    pub denying: bool,
    /// Whether it took the place of another one, which the user may still have had before them.
    pub replaces: bool,
}

impl People {
    pub fn get(&self, user: &BareJid) -> Option<&Person> {
        self.by_jid.get(user)
    }

    pub fn get_mut(&mut self, user: &BareJid) -> Option<&mut Person> {
        self.by_jid.get_mut(user)
    }

    /// The facts about this user; a new entry if the user is not known.
    pub fn of(&mut self, now: Instant, user: &BareJid) -> &mut Person {
        if self.by_jid.len() >= limits::PEOPLE && !self.by_jid.contains_key(user) {
            self.forget_half();
        }
        let person = self.by_jid.entry(user.clone()).or_insert_with(|| Person::new(now));
        person.touched = now;
        person
    }

    /// Forgets half of the users: first those who confirmed nothing, and of these the ones who were silent for longest.
    fn forget_half(&mut self) {
        let rank = |person: &Person| (!person.confirmed.is_empty(), person.touched);
        let mut ranks: Vec<_> = self.by_jid.values().map(rank).collect();
        let middle = ranks.len() / 2;
        let median = *ranks.select_nth_unstable(middle).1;
        self.by_jid.retain(|_, person| rank(person) > median);
    }
}

impl Person {
    fn new(now: Instant) -> Self {
        Self {
            touched: now,
            confirmed: Vec::new(),
            unanswered: 0,
            rare: None,
            heard: None,
            ended: VecDeque::new(),
            lists: Vec::new(),
            listed: (None, 0),
        }
    }

    /// The user wrote, or replied.
    pub fn heard(&mut self, now: Instant) {
        self.unanswered = 0;
        self.rare = None;
        self.heard = Some(now);
    }

    /// The user confirmed a request of this network.
    pub fn confirmed_for(&mut self, now: Instant, network: Option<IpAddr>) {
        self.confirmed.retain(|(known, _)| *known != network);
        if self.confirmed.len() >= limits::NETWORKS_CONFIRMED {
            self.confirmed.remove(0);
        }
        self.confirmed.push((network, now));
    }

    /// Whether the user confirmed a request of this network, not too long ago.
    pub fn knows(&self, now: Instant, network: Option<IpAddr>) -> bool {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < limits::NETWORK_CONFIRMED;
        self.confirmed.iter().any(|(known, at)| *known == network && is_fresh(*at))
    }

    /// A prompt has expired.
    pub fn left_unanswered(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Whether so many prompts have expired that unconfirmed networks must wait.
    pub fn is_silent(&self) -> bool {
        self.unanswered >= limits::UNANSWERED_PROMPTS
    }

    /// Whether a silent user may be asked for an unconfirmed network.
    pub fn may_be_asked(&self, now: Instant) -> bool {
        self.rare.is_none_or(|last| now.saturating_duration_since(last) >= limits::RARE_PROMPT)
    }

    /// A silent user is asked for an unconfirmed network.
    pub fn asked_rarely(&mut self, now: Instant) {
        self.rare = Some(now);
    }

    /// Whether the user wrote or replied a moment ago, perhaps to be asked.
    pub fn expects_prompts(&self, now: Instant) -> bool {
        self.heard.is_some_and(|at| now.saturating_duration_since(at) < limits::PLACES_OPEN)
    }

    /// A prompt that the user saw has ended.
    pub fn ended(&mut self, now: Instant, prompt: EndedPrompt) {
        let is_named = |ended: &EndedPrompt| {
            now.saturating_duration_since(ended.begun) < limits::PROMPT_NAMED || ended.is_recent(now)
        };
        self.ended.retain(is_named);
        if self.ended.len() >= limits::PROMPTS_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(prompt);
    }

    /// The ended prompts that this client could have replied to, and that a reply may still name.
    pub fn ended_for(&self, now: Instant, sender: &Jid) -> impl Iterator<Item = &EndedPrompt> {
        self.ended.iter().filter(move |prompt| {
            let named = now.saturating_duration_since(prompt.begun) < limits::PROMPT_NAMED;
            may_reply(sender, &prompt.asked) && (named || prompt.is_recent(now))
        })
    }

    /// This client said no to a list that was not sent again, so its numbers deny from now on.
    pub fn denied_by(&mut self, client: &Jid) {
        self.lists.iter_mut().filter(|list| list.to == *client).for_each(|list| list.denying = true);
    }

    /// The list that this client was shown.
    pub fn list_of(&self, now: Instant, client: &Jid) -> Option<&ShownList> {
        let is_fresh = |list: &&ShownList| now.saturating_duration_since(list.at) < limits::PROMPT_NAMED;
        self.lists.iter().find(|list| list.to == *client).filter(is_fresh)
    }

    /// This client decided about a prompt: its list holds it no longer.
    pub fn decided_by(&mut self, client: &Jid, id: RequestId) {
        for list in self.lists.iter_mut().filter(|list| list.to == *client) {
            list.entries.retain(|(_, listed)| *listed != id);
        }
    }

    /// Whether the user may be sent another list now; it counts as sent.
    pub fn may_be_sent_list(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.listed;
        if since.is_none_or(|since| now.saturating_duration_since(since) >= limits::TEXT_PAUSE) {
            (*since, *count) = (Some(now), 0);
        }
        *count += 1;
        *count <= limits::LISTS
    }

    /// A client is shown a list of these prompts.
    pub fn show(&mut self, now: Instant, to: &Jid, prompts: &[RequestId], list: ListReason) -> &ShownList {
        let before = self.lists.iter().position(|list| list.to == *to).map(|at| self.lists.remove(at));
        let list = ShownList::after(before.as_ref(), now, to, prompts, list);
        if self.lists.len() >= limits::LISTS_KEPT {
            self.lists.remove(0);
        }
        self.lists.push(list);
        &self.lists[self.lists.len() - 1]
    }
}

/// Why a list is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListReason {
    /// A yes, or anything else that does not say which prompt is meant.
    Unclear,
    /// A no that does not say so.
    Denying,
    /// The list before has changed.
    Changed,
    /// "all", of prompts from several networks.
    Apart,
}

impl EndedPrompt {
    /// Whether it ended so lately that a yes may have been meant for it.
    pub fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.ended) < limits::PROMPT_RECENT
    }
}

impl ShownList {
    fn after(
        before: Option<&Self>,
        now: Instant,
        to: &Jid,
        prompts: &[RequestId],
        reason: ListReason,
    ) -> Self {
        let before = before.filter(|list| now.saturating_duration_since(list.at) < limits::PROMPT_NAMED);
        let known = |id: RequestId| before.and_then(|list| list.number_of(id));
        let mut last = before.map_or(0, |list| list.last);
        if last > limits::LIST_NUMBERS {
            last = 0;
        }
        let kept: Vec<u32> = prompts.iter().filter_map(|id| known(*id)).collect();
        let mut next = || {
            last += 1;
            while kept.contains(&last) {
                last += 1;
            }
            last
        };
        let entries = prompts.iter().map(|id| (known(*id).unwrap_or_else(&mut next), *id)).collect();
        Self {
            to: to.clone(),
            at: now,
            entries,
            last,
            denying: reason == ListReason::Denying,
            replaces: before.is_some_and(|list| list.replaces_at(now) || !list.holds(prompts)),
        }
    }

    /// Whether a text that has arrived now may mean the list before this one.
    pub fn replaces_at(&self, now: Instant) -> bool {
        self.replaces && now.saturating_duration_since(self.at) < limits::PROMPT_FRESH
    }

    fn number_of(&self, id: RequestId) -> Option<u32> {
        self.entries.iter().find(|(_, listed)| *listed == id).map(|(number, _)| *number)
    }

    /// The prompt of this number.
    pub fn entry(&self, number: u32) -> Option<RequestId> {
        self.entries.iter().find(|(given, _)| *given == number).map(|(_, id)| *id)
    }

    /// Whether these prompts are the ones that it holds.
    pub fn holds(&self, prompts: &[RequestId]) -> bool {
        self.entries.iter().map(|(_, id)| id).eq(prompts)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn user(number: usize) -> BareJid {
        format!("user{number}@example.com").parse().unwrap()
    }

    #[test]
    fn users_who_confirmed_nothing_are_forgotten_first() {
        let start = Instant::now();
        let mut people = People::default();
        people.of(start, &user(0)).confirmed_for(start, None);
        for number in 1..3 * limits::PEOPLE {
            let now = start + Duration::from_millis(number as u64);
            people.of(now, &user(number)).left_unanswered();
            assert!(people.by_jid.len() <= limits::PEOPLE);
        }
        let end = start + Duration::from_secs(60);
        assert!(people.get(&user(0)).is_some_and(|person| person.knows(end, None)));
        assert!(people.get(&user(1)).is_none() && people.get(&user(3 * limits::PEOPLE - 1)).is_some());
    }

    #[test]
    fn a_network_is_known_for_30_days() {
        let start = Instant::now();
        let mut person = Person::new(start);
        let network = |last: u8| Some([192, 0, 2, last].into());
        for last in 0..10 {
            person.confirmed_for(start, network(last));
        }
        let known: Vec<u8> = (0..10).filter(|last| person.knows(start, network(*last))).collect();
        assert_eq!(known, [2, 3, 4, 5, 6, 7, 8, 9], "the oldest are forgotten");
        person.confirmed_for(start + Duration::from_secs(1), network(2));
        let end = start + limits::NETWORK_CONFIRMED;
        assert!(person.knows(end, network(2)) && !person.knows(end, network(3)));
        assert!(!person.knows(start, None));
    }

    #[test]
    fn the_numbers_of_a_list_keep_their_meaning() {
        let start = Instant::now();
        let mut person = Person::new(start);
        let phone: Jid = "alice@example.com/phone".parse().unwrap();
        let mut show = |seconds: u64, prompts: &[RequestId]| {
            let now = start + Duration::from_secs(seconds);
            person.show(now, &phone, prompts, ListReason::Unclear).entries.clone()
        };
        assert_eq!(show(0, &[10, 11]), [(1, 10), (2, 11)]);
        assert_eq!(show(1, &[11, 12]), [(2, 11), (3, 12)]);
        assert_eq!(show(2, &[13]), [(4, 13)]);
        assert_eq!(show(600, &[13, 14]), [(4, 13), (5, 14)]);
        assert_eq!(show(1200, &[15]), [(1, 15)]);
        let many: Vec<RequestId> = (1000..1000 + RequestId::from(limits::LIST_NUMBERS)).collect();
        let last = show(1201, &many).last().unwrap().0;
        assert_eq!((last, show(1202, &[9, 1000])), (901, vec![(1, 9), (2, 1000)]));
        assert_eq!(show(1203, &[8, 9, 1000]), [(3, 8), (1, 9), (2, 1000)], "the numbers begin anew");
    }
}
