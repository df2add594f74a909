//! One log-in, for the command `check`. Runs on its caller's thread and blocks it.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::model::Jid;
use crate::sys::wait;

use super::dial::Dial;
use super::login::{LinkError, LinkResult};
use super::session::{LinkPlan, LinkSession};
use super::settings::{LinkSettings, Times};

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
    let plan = LinkPlan::new(settings.clone(), times)?;
    let (host, port) = plan.settings.endpoint();
    let deadline = Instant::now() + times.login;
    let socket = Dial::start(host, port, deadline, || ())?.wait(deadline)?;
    let mut session = LinkSession::new(socket, &plan, deadline, Instant::now())?;
    match log_in(&mut session, times) {
        Ok(jid) => {
            session.close(times.close);
            Ok(Checked::LoggedIn(jid))
        }
        Err(LinkError::AlreadyConnected) => Ok(Checked::AlreadyConnected),
        Err(LinkError::Failed(error)) => Err(error),
    }
}

/// Runs the session until it is logged in or fails, at the latest at its deadline.
fn log_in(session: &mut LinkSession, times: Times) -> LinkResult<Jid> {
    loop {
        let now = Instant::now();
        let more = session.turn(now, &mut |_| ())?;
        if let Some(jid) = session.jid() {
            return Ok(jid.clone());
        }
        let fds: Vec<_> = session.interest().into_iter().collect();
        let until = if more { now } else { now + times.tick };
        wait(&fds, Some(until)).map_err(|error| Error::io("can't wait for the XMPP server", error))?;
    }
}

#[cfg(test)]
mod tests;
