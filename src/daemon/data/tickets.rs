//! The command `tickets revoke`: a running server learns of it from the database.

use std::io::Write;

use serde::Serialize;

use super::OutputForm;
use super::output::Output;
use crate::config::Config;
use crate::daemon::open;
use crate::error::Result;
use crate::model::BareJid;
use crate::tickets;

/// The result as JSON.
#[derive(Serialize)]
struct RevocationJson<'a> {
    /// The user, or `all`.
    id: &'a str,
    revoked: bool,
}

/// Revokes the tickets of this user, or of all. Every server that shares the database refuses them within 10 seconds.
pub fn revoke_tickets(
    config: &Config,
    user: Option<&BareJid>,
    form: OutputForm,
    out: &mut dyn Write,
) -> Result<()> {
    let open::Tables { secrets, epochs, .. } = open::verified_tables(config)?;
    match user {
        Some(user) => tickets::revoke_of(&*epochs, user)?,
        None => tickets::revoke_all(&*secrets)?,
    }
    let mut output = Output::new(out, form);
    let id = user.map_or("all", BareJid::as_str);
    output.result(&RevocationJson { id, revoked: true }, || {
        let whose = user.map_or("all tickets".to_owned(), |user| format!("the tickets of {user}"));
        format!("{whose} are revoked; running servers refuse them within 10 seconds")
    });
    output.end();
    Ok(())
}
