//! A client for shells: logs in over XMPP and confirms what the media server asks (XEP-0070).
//!
//! `make demo` uses it, and so can scripts that talk to a media server with curl. It speaks SASL PLAIN without
//! TLS, so it is for a server on this machine.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for shells")]

#[path = "../tests/support/stanza.rs"]
mod stanza;
#[path = "../tests/support/xmpp_client.rs"]
mod xmpp_client;

use std::process::ExitCode;

use xmpp_client::{Client, Policy};

const USAGE: &str = "\
usage: xmpp-confirm JID PASSWORD HOST:PORT [--deny]
           logs in, prints READY and its full JID, then confirms (or denies) every request and prints it
       xmpp-confirm JID PASSWORD HOST:PORT --discover DOMAIN
           prints the HTTP endpoint of the domain's media server
       xmpp-confirm JID PASSWORD HOST:PORT --channel SERVICE CHANNEL ACCESS-MODEL [JID=AFFILIATION]...
           makes a channel's node at its channel service; access models are open and whitelist";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [jid, password, address] => confirm(jid, password, address, Policy::Echo),
        [jid, password, address, "--deny"] => confirm(jid, password, address, Policy::Deny),
        [jid, password, address, "--discover", domain] => discover(jid, password, address, domain),
        [jid, password, address, "--channel", service, channel, access_model, ref affiliations @ ..] => {
            create(jid, password, address, (service, channel, access_model), affiliations)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xmpp-confirm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn confirm(jid: &str, password: &str, address: &str, policy: Policy) -> Result<(), String> {
    let client = Client::login(address, jid, password, policy)?;
    client.settle()?;
    println!("READY {}", client.jid());
    let word = if policy == Policy::Deny { "denied" } else { "confirmed" };
    for number in 0.. {
        let request = client.next_confirm(number)?;
        println!("{word} {} {}", request.method, request.url);
    }
    Ok(())
}

fn discover(jid: &str, password: &str, address: &str, domain: &str) -> Result<(), String> {
    let (service, endpoint) = Client::login(address, jid, password, Policy::Ignore)?.discover(domain)?;
    if endpoint.is_empty() {
        return Err(format!("{service} is a media server, but does not say its endpoint (http.endpoint)"));
    }
    println!("{endpoint}");
    Ok(())
}

fn create(
    jid: &str,
    password: &str,
    address: &str,
    (service, channel, access_model): (&str, &str, &str),
    affiliations: &[&str],
) -> Result<(), String> {
    let pairs = affiliations.iter().map(|pair| {
        pair.rsplit_once('=').ok_or_else(|| format!("{pair} does not look like JID=AFFILIATION"))
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let client = Client::login(address, jid, password, Policy::Ignore)?;
    client.create_channel(service, channel, access_model, &pairs)
}
