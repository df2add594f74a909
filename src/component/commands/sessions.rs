//! Sessions of commands (XEP-0050 section 4): the state between two steps. No I/O; the caller gives the time.

use std::collections::HashMap;
use std::time::Instant;

use super::Command;
use crate::access::hex_id;
use crate::clock::Timestamp;
use crate::limits;
use crate::model::{BareJid, Jid};
use crate::store::FilePlace;

/// The state that a step of a command leaves for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum State {
    /// An administrator is asked which user is meant.
    AsksUser,
    /// A page of the files of this user is shown. Each page but the first begins after a place; the last place is that of
    /// the page that is shown.
    Files { owner: BareJid, places: Vec<FilePlace>, next: Option<FilePlace> },
    /// The user is asked whether the files that were stored until this time shall go.
    DeletesAll { until: Timestamp },
}

/// A session: it belongs to one client and to one command.
struct Session {
    user: Jid,
    command: Command,
    state: State,
    ends: Instant,
}

/// The sessions of all users.
#[derive(Default)]
pub(in super::super) struct Sessions {
    by_id: HashMap<String, Session>,
    /// The ids of each user's sessions, the oldest first.
    of_user: HashMap<BareJid, Vec<String>>,
}

impl Sessions {
    /// The state of a session, if it is this client's and of this command.
    pub(in super::super) fn get(
        &self,
        now: Instant,
        id: &str,
        user: &Jid,
        command: Command,
    ) -> Option<State> {
        let session = self.by_id.get(id).filter(|session| now < session.ends)?;
        (session.user == *user && session.command == command).then(|| session.state.clone())
    }

    /// Keeps the state of a session, a new one if it has no id yet; gives its id. One user has at most
    /// [`limits::COMMAND_SESSIONS_EACH`], and all have [`limits::COMMAND_SESSIONS`]: the oldest of the user, or the one
    /// that ends first, makes room.
    pub(in super::super) fn put(
        &mut self,
        now: Instant,
        id: Option<String>,
        (user, command): (&Jid, Command),
        state: State,
    ) -> String {
        let id = id.unwrap_or_else(hex_id);
        self.end(&id);
        let of_user = self.of_user.get(user.bare());
        if let Some(oldest) = of_user.filter(|ids| ids.len() >= limits::COMMAND_SESSIONS_EACH) {
            self.end(&oldest[0].clone());
        }
        if self.by_id.len() >= limits::COMMAND_SESSIONS
            && let Some((first, _)) = self.by_id.iter().min_by_key(|(_, session)| session.ends)
        {
            self.end(&first.clone());
        }
        self.of_user.entry(user.bare().clone()).or_default().push(id.clone());
        let ends = now + limits::COMMAND_SESSION_TIME;
        self.by_id.insert(id.clone(), Session { user: user.clone(), command, state, ends });
        id
    }

    /// Ends a session.
    pub(in super::super) fn end(&mut self, id: &str) {
        let Some(session) = self.by_id.remove(id) else { return };
        if let Some(ids) = self.of_user.get_mut(session.user.bare()) {
            ids.retain(|known| known != id);
            if ids.is_empty() {
                self.of_user.remove(session.user.bare());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FILES: Command = Command::MyFiles;

    fn jid(text: &str) -> Jid {
        text.parse().unwrap()
    }

    #[test]
    fn a_session_belongs_to_one_client_and_one_command_and_ends() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let (phone, laptop) = (jid("alice@example.org/phone"), jid("alice@example.org/laptop"));
        let id = sessions.put(now, None, (&phone, FILES), State::AsksUser);
        assert_eq!(sessions.get(now, &id, &phone, FILES), Some(State::AsksUser));
        for (user, command) in
            [(&laptop, FILES), (&phone, Command::DeleteAll), (&jid("alice@example.org"), FILES)]
        {
            assert_eq!(sessions.get(now, &id, user, command), None);
        }
        assert_eq!(sessions.get(now, "", &phone, FILES), None);
        let until = Timestamp::from_micros(1);
        let later = now + limits::COMMAND_SESSION_TIME - Duration::from_secs(1);
        sessions.put(later, Some(id.clone()), (&phone, FILES), State::DeletesAll { until });
        let last = later + limits::COMMAND_SESSION_TIME;
        assert!(sessions.get(last - Duration::from_secs(1), &id, &phone, FILES).is_some(), "used again");
        assert_eq!(sessions.get(last, &id, &phone, FILES), None);
        let id = sessions.put(last, None, (&phone, FILES), State::AsksUser);
        sessions.end(&id);
        assert_eq!(sessions.get(last, &id, &phone, FILES), None);
    }

    #[test]
    fn one_user_has_few_sessions_and_all_users_have_a_limit() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let alice = jid("alice@example.org/phone");
        let ids: Vec<_> = (0..100)
            .map(|number| {
                let client = jid(&format!("alice@example.org/{number}"));
                let id = sessions.put(now, None, (&client, FILES), State::AsksUser);
                (client, id)
            })
            .collect();
        let lives = |(client, id): &&(Jid, String)| sessions.get(now, id, client, FILES).is_some();
        assert_eq!(ids.iter().filter(lives).count(), limits::COMMAND_SESSIONS_EACH);
        for number in 0..3 * limits::COMMAND_SESSIONS {
            let user = jid(&format!("user{number}@example.org"));
            sessions.put(now, None, (&user, FILES), State::AsksUser);
            assert!(sessions.by_id.len() <= limits::COMMAND_SESSIONS);
        }
        let listed: usize = sessions.of_user.values().map(Vec::len).sum();
        assert_eq!(listed, sessions.by_id.len());
        let id = sessions.put(now, None, (&alice, FILES), State::AsksUser);
        assert!(sessions.get(now, &id, &alice, FILES).is_some());
    }
}
