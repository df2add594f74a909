//! A scripted XMPP server for tests: silence, late replies, wrong senders, broken XML, cut connections.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use sha1::{Digest, Sha1};

use super::PATIENCE;
use super::prosody::{CHANNELS, COMPONENT, DOMAIN, SECRET};
use super::server::Xmpp;
use super::stanza::{Stanza, StreamReader, escape};

/// Which of the media server's two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one of its component.
    Component,
    /// The one of its client.
    Client,
}

/// The peer's reply to a stanza.
pub type Script = Box<dyn FnMut(Side, &Stanza) -> Vec<String> + Send>;

/// The peer. It takes one connection of each side at a time; a newer one takes the older one's place.
pub struct Peer {
    shared: Arc<Shared>,
    xmpp: Xmpp,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    script: Mutex<Script>,
}

#[derive(Default)]
struct State {
    component: Option<TcpStream>,
    client: Option<TcpStream>,
    logins: [usize; 2],
    seen: Vec<(Side, Stanza)>,
}

impl Peer {
    /// Listens on two ports and answers every stanza after the login by this script.
    pub fn start(script: impl FnMut(Side, &Stanza) -> Vec<String> + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            script: Mutex::new(Box::new(script)),
        });
        let client_port = shared.clone().listen(Side::Client);
        let component_port = shared.clone().listen(Side::Component);
        Self { shared, xmpp: Xmpp { client_port, component_port } }
    }

    /// Where it listens.
    pub fn xmpp(&self) -> Xmpp {
        self.xmpp
    }

    /// Waits until this side has logged in so many times.
    pub fn wait_login(&self, side: Side, times: usize) {
        let what = format!("login number {times} of the {side:?}");
        self.shared.wait(&what, |state| (state.logins[side as usize] >= times).then_some(()));
    }

    /// Waits for a stanza that was received on this side.
    pub fn wait_stanza(&self, side: Side, what: &str, wanted: impl Fn(&Stanza) -> bool) -> Stanza {
        self.shared.wait(what, |state| {
            let found = state.seen.iter().find(|(from, stanza)| *from == side && wanted(stanza));
            found.map(|(_, stanza)| stanza.clone())
        })
    }

    /// All that was received on this side since the start, without logins.
    pub fn seen(&self, side: Side) -> Vec<Stanza> {
        let state = self.shared.lock();
        state.seen.iter().filter(|(from, _)| *from == side).map(|(_, stanza)| stanza.clone()).collect()
    }

    /// Sends this text as it is.
    pub fn inject(&self, side: Side, xml: &str) {
        let state = self.shared.lock();
        let socket = state.socket(side).expect("the side is connected");
        let _ = { socket }.write_all(xml.as_bytes());
    }

    /// Ends the connection without a word.
    pub fn cut(&self, side: Side) {
        if let Some(socket) = self.shared.lock().socket(side) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Answers by another script from now on.
    pub fn set_script(&self, script: impl FnMut(Side, &Stanza) -> Vec<String> + Send + 'static) {
        *self.shared.script.lock().expect("scripts don't panic") = Box::new(script);
    }
}

impl State {
    fn socket(&self, side: Side) -> Option<&TcpStream> {
        match side {
            Side::Component => self.component.as_ref(),
            Side::Client => self.client.as_ref(),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn wait<T>(&self, what: &str, find: impl Fn(&State) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&state) {
                return found;
            }
            let left = deadline.checked_duration_since(Instant::now());
            let left = left
                .unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain for {what}; got {:#?}", state.seen));
            (state, _) = self.changed.wait_timeout(state, left).expect("no holder of this lock panics");
        }
    }

    fn listen(self: Arc<Self>, side: Side) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = self.clone();
                std::thread::spawn(move || {
                    shared.serve(side, &connection);
                    let _ = connection.shutdown(Shutdown::Both);
                });
            }
        });
        port
    }

    /// Errors end the connection: what the media server does then is what tests look at.
    fn serve(&self, side: Side, connection: &TcpStream) -> Option<()> {
        let reader = StreamReader::new(connection.try_clone().ok()?);
        let mut reader = match side {
            Side::Component => accept_component(reader, connection)?,
            Side::Client => accept_client(reader, connection)?,
        };
        {
            let mut state = self.lock();
            let socket = connection.try_clone().ok();
            match side {
                Side::Component => state.component = socket,
                Side::Client => state.client = socket,
            }
            state.logins[side as usize] += 1;
        }
        self.changed.notify_all();
        while let Ok(Some(stanza)) = reader.stanza() {
            let answers = self.script.lock().expect("scripts don't panic")(side, &stanza);
            self.lock().seen.push((side, stanza));
            self.changed.notify_all();
            for answer in answers {
                { connection }.write_all(answer.as_bytes()).ok()?;
            }
        }
        Some(())
    }
}

/// XEP-0114.
fn accept_component(
    mut reader: StreamReader<TcpStream>,
    mut connection: &TcpStream,
) -> Option<StreamReader<TcpStream>> {
    reader.header().ok()?;
    let header = stream_header("jabber:component:accept", &format!("from='{COMPONENT}' id='component-1'"));
    connection.write_all(header.as_bytes()).ok()?;
    let handshake = reader.stanza().ok()??;
    let expected = Sha1::digest(format!("component-1{SECRET}"));
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    if handshake.text != expected {
        let _ = connection.write_all(b"<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>");
        return None;
    }
    connection.write_all(b"<handshake/>").ok()?;
    Some(reader)
}

/// RFC 6120 with PLAIN, whatever the password; then resource binding and the session of RFC 3921.
fn accept_client(
    mut reader: StreamReader<TcpStream>,
    mut connection: &TcpStream,
) -> Option<StreamReader<TcpStream>> {
    let header = stream_header("jabber:client", &format!("from='{DOMAIN}' id='client-1' version='1.0'"));
    reader.header().ok()?;
    connection.write_all(header.as_bytes()).ok()?;
    connection
        .write_all(
            b"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
              <mechanism>PLAIN</mechanism></mechanisms></stream:features>",
        )
        .ok()?;
    (reader.stanza().ok()??.name == "auth").then_some(())?;
    connection.write_all(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").ok()?;
    let mut reader = reader.restarted();
    reader.header().ok()?;
    connection.write_all(header.as_bytes()).ok()?;
    connection
        .write_all(b"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
        .ok()?;
    let bind = reader.stanza().ok()??;
    let resource =
        bind.all("resource").first().map_or("scripted".to_owned(), |resource| resource.text.clone());
    let bound = format!(
        "<iq type='result' id='{}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <jid>mediaserver@{DOMAIN}/{}</jid></bind></iq>",
        escape(bind.attribute("id")),
        escape(&resource)
    );
    connection.write_all(bound.as_bytes()).ok()?;
    Some(reader)
}

fn stream_header(namespace: &str, attributes: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{namespace}' \
         xmlns:stream='http://etherx.jabber.org/streams' {attributes}>"
    )
}

/// What a healthy channel service and the XMPP domain before it answer, where every channel has this access
/// model and these affiliations. Anything else gets no answer.
pub fn channel_service(stanza: &Stanza, access_model: &str, affiliations: &[(&str, &str)]) -> Vec<String> {
    if stanza.name != "iq" || stanza.attribute("type") != "get" {
        return Vec::new();
    }
    let Some(request) = stanza.children.first() else { return Vec::new() };
    let node = escape(request.children.first().map_or("", |child| child.attribute("node")));
    let payload = match (request.namespace.as_str(), request.children.first().map(|child| child.name.as_str())) {
        ("http://jabber.org/protocol/disco#items", _) => {
            format!("<query xmlns='http://jabber.org/protocol/disco#items'><item jid='{CHANNELS}'/></query>")
        }
        ("http://jabber.org/protocol/disco#info", _) => {
            "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='pubsub' type='channels'/>\
             </query>"
                .to_owned()
        }
        (_, Some("configure")) => format!(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='{node}'>\
             <x xmlns='jabber:x:data' type='result'><field var='pubsub#access_model'><value>{access_model}</value>\
             </field></x></configure></pubsub>"
        ),
        (_, Some("affiliations")) => {
            let rows = affiliations.iter().map(|(jid, word)| format!("<affiliation jid='{jid}' affiliation='{word}'/>"));
            format!(
                "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><affiliations node='{node}'>{}\
                 </affiliations></pubsub>",
                rows.collect::<String>()
            )
        }
        _ => return Vec::new(),
    };
    vec![result(stanza, &payload)]
}

/// The result of an IQ.
pub fn result(request: &Stanza, payload: &str) -> String {
    format!(
        "<iq type='result' id='{}' from='{}' to='{}'>{payload}</iq>",
        escape(request.attribute("id")),
        escape(request.attribute("to")),
        escape(request.attribute("from"))
    )
}
