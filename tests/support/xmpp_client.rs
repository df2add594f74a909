//! A small blocking XMPP client that answers confirm requests (XEP-0070). Independent of the server's own.

#![allow(dead_code, reason = "the example uses less of it than the tests")]

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::stanza::{Stanza, StreamReader, escape};

/// The namespace of confirm requests.
pub const HTTP_AUTH: &str = "http://jabber.org/protocol/http-auth";
const CLIENT: &str = "jabber:client";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// How long a server may take for a login or an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than a century.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

/// How a client handles confirm requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Sends the stanza back with `to` and `from` swapped, as buddycloud's http-api does.
    Echo,
    /// Sends a new message with thread and confirm only, as xmpp-ftw does.
    Minimal,
    /// Refuses, as xmpp-ftw does.
    Deny,
    /// Keeps silent.
    Ignore,
}

/// A confirm request as it was received.
#[derive(Clone, Debug)]
pub struct Confirm {
    /// The transaction id.
    pub id: String,
    /// The HTTP method that is to be confirmed.
    pub method: String,
    /// The address that is to be confirmed.
    pub url: String,
    /// The whole stanza.
    pub stanza: Stanza,
}

/// A logged-in client; a thread of its own reads what comes.
pub struct Client {
    jid: String,
    shared: Arc<Shared>,
    socket: TcpStream,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    socket: Mutex<TcpStream>,
}

struct State {
    policy: Policy,
    forgets: bool,
    confirms: Vec<Confirm>,
    stanzas: Vec<Stanza>,
    end: Option<String>,
}

impl Client {
    /// Logs in with SASL PLAIN, without TLS. A JID without a resource gets one from the server.
    pub fn login(address: &str, jid: &str, password: &str, policy: Policy) -> Result<Self, String> {
        let socket = connect(address)?;
        let (reader, jid) = log_in(&socket, jid, password).map_err(|error| format!("{jid}: {error}"))?;
        let state = State { policy, forgets: false, confirms: Vec::new(), stanzas: Vec::new(), end: None };
        let writer = socket.try_clone().map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            socket: Mutex::new(writer),
        });
        let listener = shared.clone();
        socket.set_read_timeout(None).map_err(|error| error.to_string())?;
        std::thread::spawn(move || listener.listen(reader));
        let client = Self { jid, shared, socket };
        client.send("<presence/>")?;
        Ok(client)
    }

    /// The full JID.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// The JID without its resource.
    pub fn bare(&self) -> &str {
        self.jid.split('/').next().unwrap_or_default()
    }

    /// Waits until the server has handled all that was sent, such as the presence that makes messages to the
    /// bare JID come here. Any answer will do.
    pub fn settle(&self) -> Result<(), String> {
        let domain = self.bare().split('@').next_back().unwrap_or_default();
        self.ask("get", domain, "<ping xmlns='urn:xmpp:ping'/>").map(|_| ())
    }

    /// Sets how confirm requests are handled from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.lock().policy = policy;
    }

    /// Keeps no confirm requests from now on, for those who get very many.
    pub fn forget_confirms(&self) {
        self.shared.lock().forgets = true;
    }

    /// The confirm requests so far.
    pub fn confirms(&self) -> Vec<Confirm> {
        self.shared.lock().confirms.clone()
    }

    /// Waits for the confirm request of this number, counted from 0 since the login.
    pub fn confirm(&self, number: usize) -> Result<Confirm, String> {
        let found = self.shared.wait(PATIENCE, |state| state.confirms.get(number).cloned());
        found.ok_or_else(|| format!("{} got no confirm request number {number}", self.jid))
    }

    /// The same for as long as the connection lives.
    pub fn next_confirm(&self, number: usize) -> Result<Confirm, String> {
        let found = self.shared.wait(FOR_EVER, |state| state.confirms.get(number).cloned());
        found.ok_or_else(|| self.ended().unwrap_or_default())
    }

    /// Answers a confirm request by hand, for tests whose policy is [`Policy::Ignore`].
    pub fn answer(&self, request: &Confirm, policy: Policy) -> Result<(), String> {
        let confirm = request.stanza.child("confirm", HTTP_AUTH).ok_or("no confirm in the stanza")?;
        let mut stanza = request.stanza.clone();
        stanza.set("to", &self.jid); // so that an echo comes from this client
        answer(policy, &stanza, confirm).map_or(Ok(()), |xml| self.send(&xml))
    }

    /// Waits for a stanza other than confirm requests and takes it out of those that were received.
    pub fn take(&self, wanted: impl Fn(&Stanza) -> bool) -> Option<Stanza> {
        self.shared.wait(PATIENCE, |state| {
            let index = state.stanzas.iter().position(&wanted)?;
            Some(state.stanzas.remove(index))
        })
    }

    /// The same of those that have come already.
    pub fn try_take(&self, wanted: impl Fn(&Stanza) -> bool) -> Option<Stanza> {
        let stanzas = &mut self.shared.lock().stanzas;
        let index = stanzas.iter().position(wanted)?;
        Some(stanzas.remove(index))
    }

    /// Why the connection has ended, if it has.
    pub fn ended(&self) -> Option<String> {
        self.shared.lock().end.clone()
    }

    /// Sends this text as it is.
    pub fn send(&self, xml: &str) -> Result<(), String> {
        self.shared.send(xml)
    }

    /// Sends an IQ and waits for its answer, whether result or error.
    pub fn ask(&self, kind: &str, to: &str, payload: &str) -> Result<Stanza, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("ask{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.send(&format!("<iq id='{id}' type='{kind}' to='{}'>{payload}</iq>", escape(to)))?;
        let answer = |stanza: &Stanza| stanza.name == "iq" && stanza.attribute("id") == id;
        self.take(answer).ok_or_else(|| format!("{to} does not answer {}", self.jid))
    }

    /// Sends an IQ of type `set` that must succeed.
    fn must(&self, to: &str, payload: &str) -> Result<(), String> {
        let answer = self.ask("set", to, payload)?;
        match answer.attribute("type") {
            "result" => Ok(()),
            _ => Err(format!("{to} refuses: {}", answer.to_xml(CLIENT))),
        }
    }

    /// Creates the node of a channel's posts at its channel service, with these affiliations.
    pub fn create_channel(
        &self,
        service: &str,
        channel: &str,
        access_model: &str,
        affiliations: &[(&str, &str)],
    ) -> Result<(), String> {
        self.create_node(service, &format!("/user/{channel}/posts"), access_model, affiliations)
    }

    /// Creates a node at a pubsub service, with these affiliations.
    pub fn create_node(
        &self,
        service: &str,
        node: &str,
        access_model: &str,
        affiliations: &[(&str, &str)],
    ) -> Result<(), String> {
        let escaped = escape(node);
        let create = format!(
            "<pubsub xmlns='{PUBSUB}'><create node='{escaped}'/><configure><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#node_config</value></field>\
             <field var='pubsub#access_model'><value>{access_model}</value></field></x></configure></pubsub>"
        );
        self.must(service, &create)?;
        affiliations.iter().try_for_each(|(jid, word)| self.affiliate(service, node, jid, word))
    }

    /// Sets the affiliations of a channel.
    pub fn set_affiliation(&self, service: &str, channel: &str, jid: &str, word: &str) -> Result<(), String> {
        self.affiliate(service, &format!("/user/{channel}/posts"), jid, word)
    }

    /// Sets an affiliation with a node.
    fn affiliate(&self, service: &str, node: &str, jid: &str, word: &str) -> Result<(), String> {
        let (node, jid) = (escape(node), escape(jid));
        let set = format!(
            "<pubsub xmlns='{PUBSUB_OWNER}'><affiliations node='{node}'>\
             <affiliation jid='{jid}' affiliation='{word}'/></affiliations></pubsub>"
        );
        self.must(service, &set)
    }

    /// Finds the media server among a domain's services and gives its JID and its HTTP endpoint.
    pub fn discover(&self, domain: &str) -> Result<(String, String), String> {
        let items = self.ask("get", domain, &format!("<query xmlns='{DISCO_ITEMS}'/>"))?;
        for item in items.all("item") {
            let jid = item.attribute("jid");
            let info = self.ask("get", jid, &format!("<query xmlns='{DISCO_INFO}'/>"))?;
            if info.all("identity").into_iter().any(is_media_server) {
                return Ok((jid.to_owned(), endpoint(&info).unwrap_or_default()));
            }
        }
        Err(format!("{domain} has no service that is a component/generic \"Media Server\""))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.send("</stream:stream>");
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn send(&self, xml: &str) -> Result<(), String> {
        let mut socket = self.socket.lock().expect("no holder of this lock panics");
        socket.write_all(xml.as_bytes()).map_err(|error| format!("can't send to the XMPP server: {error}"))
    }

    fn wait<T>(&self, patience: Duration, mut find: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&mut state) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            if state.end.is_some() {
                return None;
            }
            (state, _) = self.changed.wait_timeout(state, left).expect("no holder of this lock panics");
        }
    }

    fn listen(&self, mut reader: StreamReader<TcpStream>) {
        let end = loop {
            match reader.stanza() {
                Ok(Some(stanza)) => self.received(stanza),
                Ok(None) => break "the server closed the stream".to_owned(),
                Err(error) => break error,
            }
        };
        self.lock().end = Some(end);
        self.changed.notify_all();
    }

    fn received(&self, stanza: Stanza) {
        let mut state = self.lock();
        let asked = stanza.child("confirm", HTTP_AUTH).filter(|_| stanza.attribute("type") != "error");
        if let Some(confirm) = asked {
            let answer = answer(state.policy, &stanza, confirm);
            if !state.forgets {
                let [id, method, url] =
                    ["id", "method", "url"].map(|name| confirm.attribute(name).to_owned());
                state.confirms.push(Confirm { id, method, url, stanza });
            }
            drop(state);
            answer.map(|xml| self.send(&xml));
        } else {
            state.stanzas.push(stanza);
        }
        self.changed.notify_all();
    }
}

/// The reply of a client with this policy to a confirm request.
pub fn answer(policy: Policy, request: &Stanza, confirm: &Stanza) -> Option<String> {
    let to = escape(request.attribute("from"));
    let thread = request.child("thread", CLIENT).map(|thread| thread.to_xml(CLIENT)).unwrap_or_default();
    let confirm = confirm.to_xml(CLIENT);
    match policy {
        Policy::Echo => {
            let mut echo = request.clone();
            echo.set("to", request.attribute("from"));
            echo.set("from", request.attribute("to"));
            Some(echo.to_xml(CLIENT))
        }
        Policy::Minimal => Some(format!("<message to='{to}' type='normal'>{thread}{confirm}</message>")),
        Policy::Deny => Some(format!(
            "<message to='{to}' type='error'>{thread}{confirm}<error type='auth'>\
             <not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )),
        Policy::Ignore => None,
    }
}

fn is_media_server(identity: &Stanza) -> bool {
    ["category", "type", "name"].map(|name| identity.attribute(name))
        == ["component", "generic", "Media Server"]
}

fn endpoint(info: &Stanza) -> Option<String> {
    let fields = info.all("field").into_iter();
    let field =
        fields.filter(|field| field.attribute("var") == "endpoint").find_map(|field| field.children.first());
    field.map(|value| value.text.clone())
}

fn connect(address: &str) -> Result<TcpStream, String> {
    let socket =
        TcpStream::connect(address).map_err(|error| format!("can't connect to {address}: {error}"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(socket)
}

/// Gives the reader of the stream that begins with the login, and the full JID.
fn log_in(
    socket: &TcpStream,
    jid: &str,
    password: &str,
) -> Result<(StreamReader<TcpStream>, String), String> {
    let (bare, resource) = jid.split_once('/').unwrap_or((jid, ""));
    let (user, domain) = bare.split_once('@').ok_or("a JID of a user looks like local@domain")?;
    let mut reader = StreamReader::new(socket.try_clone().map_err(|error| error.to_string())?);
    let mut socket = socket;
    let mut send = |xml: &str| socket.write_all(xml.as_bytes()).map_err(|error| error.to_string());

    send(&stream_header(domain))?;
    reader.header()?;
    expect(&mut reader, "features")?;
    let secret = STANDARD.encode(format!("\0{user}\0{password}"));
    send(&format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{secret}</auth>"))?;
    expect(&mut reader, "success")?;

    let mut reader = reader.restarted();
    send(&stream_header(domain))?;
    reader.header()?;
    expect(&mut reader, "features")?;
    let resource = if resource.is_empty() {
        String::new()
    } else {
        format!("<resource>{}</resource>", escape(resource))
    };
    send(&format!("<iq type='set' id='bind'><bind xmlns='{BIND}'>{resource}</bind></iq>"))?;
    let bound = expect(&mut reader, "iq")?;
    let jid = bound.all("jid").first().map(|jid| jid.text.clone());
    let jid = jid.ok_or_else(|| format!("the resource is refused: {}", bound.to_xml(CLIENT)))?;
    Ok((reader, jid))
}

fn stream_header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xmlns='{CLIENT}' \
         xmlns:stream='http://etherx.jabber.org/streams'>",
        escape(domain)
    )
}

fn expect(reader: &mut StreamReader<TcpStream>, name: &str) -> Result<Stanza, String> {
    match reader.stanza()? {
        Some(stanza) if stanza.name == name => Ok(stanza),
        Some(other) => Err(format!("the server answers {} instead of {name}", other.to_xml(CLIENT))),
        None => Err(format!("the server closes the stream instead of sending {name}")),
    }
}
