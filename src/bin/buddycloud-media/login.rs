//! Logging in: which servers are tried, and which failure is reported.

use std::path::PathBuf;
use std::time::Duration;

use media_server::limits;
use media_server::model::BareJid;
use media_server::secret::Secret;
use media_server::xmpp::{
    ClientSettings, Conversation, LoginError, LoginFailure, Security, SettingNames, Times,
};

use crate::config::Config;
use crate::console::Console;
use crate::dns::{self, Answer, Place};
use crate::exit::{Exit, Failure, Result};
use crate::http::Http;

/// The words of this program's configuration.
const NAMES: SettingNames = SettingNames {
    endpoint: "server",
    port: "that of server",
    service: "the domain of jid",
    account: "jid and the password",
    ca: "tls.ca",
    security: "no password is sent without it",
};

/// The port of XMPP clients (RFC 6120 section 14.7).
const XMPP_PORT: u16 = 5222;

/// Logs the account in at the first place that can be reached. Never without TLS, for which it uses the connector of
/// `http`: reading the system's authorities takes longer than all else.
pub fn log_in(config: &Config, console: &Console, http: &Http) -> Result<Conversation> {
    http.warm_up();
    let jid = config.account()?;
    let password = config.password()?;
    let mut last = None;
    for place in places(jid, config, console)? {
        console.detail(format!("connecting to {}:{}{}", place.host, place.port, tls_of(&place)));
        let settings = settings(jid, &password, &place, config.ca.clone(), http);
        match Conversation::log_in_or_tell(settings, times()) {
            Ok(conversation) => {
                console.detail(format!("logged in as {}", conversation.jid()));
                return Ok(conversation);
            }
            // The server has spoken: another place would say the same.
            Err(error) if error.failure == LoginFailure::Refused => return Err(refused(jid, &error)),
            Err(error) => {
                console.detail(error.error.to_string());
                // A certificate that is not trusted is worth more than a host that is down behind it.
                if last.as_ref().is_none_or(|last: &Failure| last.exit != Exit::Tls) {
                    last = Some(failed(&error));
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| Failure::new(Exit::NoService, format!("{} has no XMPP server", jid.domain()))))
}

/// The places to try, in order.
fn places(jid: &BareJid, config: &Config, console: &Console) -> Result<Vec<Place>> {
    if let Some((host, port)) = config.server.clone() {
        return Ok(vec![Place { host, port, direct_tls: false }]);
    }
    let domain = jid.ascii_domain();
    let domain = domain.ok_or_else(|| Failure::new(Exit::Config, "the domain of jid can't be in the DNS"))?;
    let itself = vec![Place { host: domain.clone(), port: XMPP_PORT, direct_tls: false }];
    if domain.parse::<std::net::IpAddr>().is_ok() || domain == "localhost" {
        return Ok(itself);
    }
    match dns::look_up(&domain, config.dns, &mut random) {
        Answer::Places(places) => Ok(places),
        Answer::NoService => {
            Err(Failure::new(Exit::NoService, format!("the DNS says that {domain} has no XMPP server")))
        }
        Answer::Nothing(replies) => {
            console.detail(format!("{domain} has no SRV records ({replies} of 2 questions were answered)"));
            Ok(itself)
        }
    }
}

fn settings(
    jid: &BareJid,
    password: &Secret,
    place: &Place,
    ca: Option<PathBuf>,
    http: &Http,
) -> ClientSettings {
    let domain = jid.domain().parse().expect("the domain of an address is an address");
    let settings = ClientSettings {
        host: place.host.clone(),
        port: place.port,
        service: domain,
        username: jid.local().unwrap_or_default().to_owned(),
        password: password.clone(),
        security: if place.direct_tls { Security::Direct } else { Security::Required },
        ca,
        // Direct TLS asks for a protocol in the handshake.
        connector: if place.direct_tls { None } else { http.tls() },
        resource: "buddycloud-media".to_owned(),
        // Messages of others to the user are for the user's other clients.
        available: false,
        names: NAMES,
    };
    settings.with_own_resource()
}

fn times() -> Times {
    Times { login: limits::CLIENT_LOGIN_TIME, close: Duration::from_millis(200), ..Times::default() }
}

fn tls_of(place: &Place) -> &'static str {
    if place.direct_tls { " (direct TLS)" } else { "" }
}

fn refused(jid: &BareJid, error: &LoginError) -> Failure {
    let why = error.error.to_string();
    let condition = why.rsplit(": ").next().unwrap_or_default();
    Failure::new(Exit::Refused, format!("{} refuses the password of {jid} ({condition})", jid.domain()))
}

fn failed(error: &LoginError) -> Failure {
    let exit = match error.failure {
        LoginFailure::Tls => Exit::Tls,
        LoginFailure::Refused => Exit::Refused,
        LoginFailure::Other if error.error.kind() == media_server::error::Kind::Config => Exit::Config,
        LoginFailure::Other => Exit::NoService,
    };
    Failure::new(exit, error.error.to_string())
}

/// A random number; without any, all clients would choose the same server, which does no harm to one.
fn random() -> u32 {
    getrandom::u32().unwrap_or_else(|_| std::process::id())
}
