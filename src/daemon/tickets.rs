//! The command `tickets revoke`, beside a running server, which learns of it from the database. Runs on the main thread and
//! ends.

use std::io::Write;

use super::{open, say};
use crate::config::Config;
use crate::error::Result;
use crate::model::BareJid;
use crate::tickets;

/// Revokes the tickets of this user, or of all. Every server that shares the database refuses them within 10 seconds.
pub fn revoke_tickets(config: &Config, user: Option<&BareJid>, out: &mut dyn Write) -> Result<()> {
    open::verify_identity(config, &open::database_state(config)?)?;
    let open::Tables { secrets, epochs, .. } = open::tables(config)?;
    let whose = match user {
        Some(user) => {
            tickets::revoke_of(&*epochs, user)?;
            format!("the tickets of {user}")
        }
        None => {
            tickets::revoke_all(&*secrets)?;
            "all tickets".to_owned()
        }
    };
    say(out, &format!("{whose} are revoked; running servers refuse them within 10 seconds"));
    Ok(())
}
