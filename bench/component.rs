//! A component that does nothing but ask for confirmations (XEP-0114, XEP-0070): what the XMPP server and the user's
//! client alone allow.

use std::time::{Duration, Instant};

use crate::http::p99;
use crate::rounds::Done;
use crate::support::gateway::Gateway;
use crate::support::prosody::ABSENT;
use crate::support::stanza::escape;
use crate::support::xmpp_client::HTTP_AUTH;

/// A connected component.
pub struct Component {
    gateway: Gateway,
    asked: u64,
}

impl Component {
    /// Connects as the component that nobody else is.
    pub fn connect(port: u16) -> Self {
        Self { gateway: Gateway::connect(port, ABSENT), asked: 0 }
    }

    /// Keeps so many requests to this user under way; the unit is a confirmation.
    pub fn ask(&mut self, jid: &str, count: usize, time: Duration) -> Done {
        let begun = Instant::now();
        let mut confirmed = 0;
        let mut sent: Vec<Instant> = Vec::new();
        let mut took = Vec::new();
        let first = self.asked;
        for _ in 0..count {
            self.send(jid);
            sent.push(Instant::now());
        }
        // Those still under way are waited for, or the next turn would meet them.
        while confirmed < sent.len() {
            let id = self.confirmation();
            took.push(sent[usize::try_from(id - first).expect("few enough to count")].elapsed());
            confirmed += 1;
            if begun.elapsed() < time {
                self.send(jid);
                sent.push(Instant::now());
            }
        }
        Done { units: confirmed as f64, time: begun.elapsed(), p99: p99(took) }
    }

    /// Sends what the media server sends, in its words and its length.
    fn send(&mut self, jid: &str) {
        let (id, to) = (self.asked, escape(jid));
        self.asked += 1;
        let (method, url) = ("GET", "http://localhost/private@example.org/AAAAAAAAAAAAAAAAAAAA");
        let stanza = format!(
            "<message type='normal' id='{id:032}' from='{ABSENT}' to='{to}'><thread>{id:032}</thread>\
             <body>Somebody, probably you, asks in your name for {method} {url}\nIf it was you, confirm the request \
             in your client. If not, deny it, or do nothing: it will then be refused.\nConfirmation message for \
             transaction {id}</body><confirm xmlns='{HTTP_AUTH}' id='{id}' method='{method}' url='{url}'/></message>"
        );
        self.gateway.send(&stanza);
    }

    /// Waits for the next confirmation; its number.
    fn confirmation(&mut self) -> u64 {
        loop {
            let stanza = self.gateway.stanza();
            let confirm = stanza.child("confirm", HTTP_AUTH).filter(|_| stanza.attribute("type") != "error");
            if let Some(confirm) = confirm {
                return confirm.attribute("id").parse().expect("the id that was sent");
            }
        }
    }
}
