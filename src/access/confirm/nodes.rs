//! Confirmations for other nodes: a node hands its prompt over, and the holder of the stream has it in its registry beside
//! its own. A part of the gate's state machine, without I/O.

use std::time::Instant;

use super::prompt::Prompt;
use super::{Confirmations, Pending};
use crate::access::credentials::Credentials;
use crate::access::request::{Confirmation, Request, RequestId};
use crate::model::{Jid, Refusal, SharedPrompt, StoredPrompt};
use crate::xmpp::Element;

impl Confirmations {
    /// Another node may have asked users until now, by prompts that have no rows. So no text counts as a yes to the one
    /// prompt that is known here until those prompts have ended.
    pub(in crate::access) fn follow_another_node(&mut self, now: Instant) {
        self.cautious_until = Some(now + self.settings.reply_timeout);
    }

    /// The prompt for a request, for the node that holds the component's stream; see [`Confirmations::begin`].
    pub(in crate::access) fn shared(
        &self,
        (request, credentials): (&Request, &Credentials),
        confirmation: Confirmation,
        known_open: bool,
    ) -> SharedPrompt {
        let ends_by_bounce = confirmation.ends_by_bounce(known_open);
        Prompt::new(request, credentials, &self.settings).into_shared(
            request,
            confirmation.shown,
            ends_by_bounce,
        )
    }

    /// Begins a confirmation for another node; returns the prompt, if the user is to be asked now. A prompt that was
    /// sent before counts even beyond the limits.
    pub(in crate::access) fn begin_for_node(
        &mut self,
        now: Instant,
        component: &Jid,
        id: RequestId,
        stored: StoredPrompt,
    ) -> Result<Option<Element>, Refusal> {
        let StoredPrompt { prompt: shared, age, is_sent, is_abandoned, .. } = stored;
        if !is_sent {
            self.check_limits(shared.client)?;
            self.check_user(now, shared.asked.bare(), shared.client, shared.has_origin)?;
        }
        let pending = Pending {
            client: shared.client,
            begun: now.checked_sub(age).unwrap_or(now),
            deadline: now + shared.time,
            shown: shared.shown,
            ends_by_bounce: shared.ends_by_bounce,
            prompt: Prompt::of_node(shared),
        };
        let asks_now = pending.shown && !is_sent;
        let stanza = asks_now.then(|| pending.prompt.to_stanza(component));
        self.insert(id, pending);
        if is_abandoned {
            self.cancel(id);
        }
        Ok(stanza)
    }

    /// Whether a request waits for this confirmation: its client has not hung up.
    pub(in crate::access) fn waits(&self, id: RequestId) -> bool {
        self.pending.contains_key(&id) && !self.abandoned.contains(&id)
    }

    /// The confirmations that have ended since the last call and whose clients had hung up.
    pub(in crate::access) fn take_ended(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.ended)
    }
}
