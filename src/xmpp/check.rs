//! One log-in, for the command that checks a configuration.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::model::Jid;
use crate::sys::wait;

use super::dial::Dial;
use super::login::{Broken, Outcome};
use super::session::{Plan, Session, Traffic};
use super::settings::{LinkSettings, Times};

/// What came of a log-in that the server did not refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It worked; this was our address.
    LoggedIn(Jid),
    /// A component of this name is connected, most likely the running server: name and port are right,
    /// and the secret was not looked at or is right.
    AlreadyConnected,
}

/// Logs one link in and leaves again; blocks for up to `times.login`.
pub fn check(settings: &LinkSettings, times: Times) -> Result<Checked> {
    let plan = Plan::new(settings.clone(), times)?;
    let (host, port) = plan.settings.endpoint();
    let deadline = Instant::now() + times.login;
    let socket = Dial::start(host, port, deadline, || ())?.wait(deadline)?;
    let mut session = Session::new(socket, &plan, deadline, Instant::now())?;
    match log_in(&mut session, times) {
        Ok(jid) => {
            session.close(times.close);
            Ok(Checked::LoggedIn(jid))
        }
        Err(Broken::AlreadyConnected) => Ok(Checked::AlreadyConnected),
        Err(Broken::Failed(error)) => Err(error),
    }
}

/// Turns until the session is up, or breaks because its deadline has come.
fn log_in(session: &mut Session, times: Times) -> Outcome<Jid> {
    loop {
        let now = Instant::now();
        let more = session.turn(now, &mut |_: Traffic| ())?;
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
