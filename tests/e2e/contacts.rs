//! Users add the media server to the contacts of their XMPP client (RFC 6121 section 3).

use crate::site::Site;
use crate::support::prosody::{ACCOUNT, COMPONENT, DOMAIN};
use crate::support::stanza::Stanza;
use crate::support::xmpp_client::{Client, Policy};

/// Waits for a presence of this type; an available one has none.
#[track_caller]
fn presence(user: &Client, from: &str, kind: &str) -> Stanza {
    let wanted = |stanza: &Stanza| {
        stanza.name == "presence" && stanza.attribute("from") == from && stanza.attribute("type") == kind
    };
    user.take(wanted).unwrap_or_else(|| panic!("{} gets no presence {kind:?} of {from}", user.jid()))
}

fn roster(user: &Client) -> String {
    let roster = user.ask("get", user.bare(), "<query xmlns='jabber:iq:roster'/>").expect("a roster");
    roster.to_xml("jabber:client")
}

#[test]
fn the_component_is_a_contact_and_our_account_is_none() {
    let site = Site::shared();
    let user = site.user();
    roster(&user);
    user.send(&format!("<presence to='{COMPONENT}' type='subscribe'/>")).expect("the user is connected");
    presence(&user, COMPONENT, "subscribed");
    presence(&user, COMPONENT, "");
    let shown = roster(&user);
    assert!(shown.contains(COMPONENT) && shown.contains("subscription='to'"), "{shown}");
    // At the next log-in the server of the user asks whether the contact is there.
    let name = user.bare().split('@').next().expect("a split gives one part");
    let again = site.prosody.login(DOMAIN, &format!("{name}/again"), Policy::Ignore);
    presence(&again, COMPONENT, "");
    user.send(&format!("<presence to='{COMPONENT}' type='unsubscribe'/>")).expect("the user is connected");
    presence(&again, COMPONENT, "unavailable");
    let account = format!("{ACCOUNT}@{DOMAIN}");
    user.send(&format!("<presence to='{account}' type='subscribe'/>")).expect("the user is connected");
    presence(&user, &account, "unsubscribed");
}
