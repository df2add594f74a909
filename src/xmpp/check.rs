//! One log-in of a link that is not kept, for commands. Runs on its caller's thread and blocks it.

use super::conversation::Conversation;
use super::login::LinkError;
use super::settings::{LinkSettings, Times};
use crate::error::Result;
use crate::model::Jid;

/// The result of a log-in that the server did not refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The log-in succeeded; this was our address.
    LoggedIn(Jid),
    /// Another component of this name is connected, most likely the running server. So name and port are right; whether
    /// the secret is right is not known.
    AlreadyConnected,
}

/// Logs one link in and out again; blocks for up to `times.login`, and `times.close` at the end.
pub fn check(settings: &LinkSettings, times: Times) -> Result<Checked> {
    match Conversation::open(settings.clone(), times) {
        Ok(conversation) => {
            let jid = conversation.jid().clone();
            conversation.close();
            Ok(Checked::LoggedIn(jid))
        }
        Err(LinkError::AlreadyConnected) => Ok(Checked::AlreadyConnected),
        Err(LinkError::Failed(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
