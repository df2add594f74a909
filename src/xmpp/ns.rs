//! Names of XML namespaces.

/// Stanzas on a client's stream (RFC 6120 section 4.8.3), and within this program on both links.
pub const CLIENT: &str = "jabber:client";
/// Stanzas on a component's stream (XEP-0114); translated to [`CLIENT`] where the stream is read.
pub const COMPONENT: &str = "jabber:component:accept";
/// The stream's root, its features and errors (RFC 6120 section 4.8.1).
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Conditions of stream errors (RFC 6120 section 4.9.2).
pub const STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Conditions of stanza errors (RFC 6120 section 8.3.2).
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// STARTTLS (RFC 6120 section 5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 section 6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Resource binding (RFC 6120 section 7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// The session request of old servers (RFC 3921 section 3).
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Verifying HTTP requests via XMPP (XEP-0070).
pub const HTTP_AUTH: &str = "http://jabber.org/protocol/http-auth";
/// Identity and features of an entity (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// The items of an entity (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Publish-subscribe (XEP-0060).
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// Requests of a pubsub node's owners (XEP-0060 section 8).
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// Result set management (XEP-0059).
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// Data forms (XEP-0004).
pub const DATA_FORMS: &str = "jabber:x:data";
/// Ad-hoc commands (XEP-0050).
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// XMPP ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// Last activity (XEP-0012).
pub const LAST: &str = "jabber:iq:last";
/// Entity time (XEP-0202).
pub const TIME: &str = "urn:xmpp:time";
/// HTTP file upload (XEP-0363).
pub const UPLOAD: &str = "urn:xmpp:http:upload:0";
/// Purposes of uploads (XEP-0363 version 1.2.0 section 6). A feature is this, a `#` and the purpose's name.
pub const UPLOAD_PURPOSE: &str = "urn:xmpp:http:upload:purpose:0";
/// Hints about storing a message (XEP-0334).
pub const HINTS: &str = "urn:xmpp:hints";
/// Delayed delivery (XEP-0203).
pub const DELAY: &str = "urn:xmpp:delay";
/// Delayed delivery of old servers (XEP-0091).
pub const OLD_DELAY: &str = "jabber:x:delay";
/// Replies to messages (XEP-0461).
pub const REPLY: &str = "urn:xmpp:reply:0";
/// A text for clients that do not support another element (XEP-0428).
pub const FALLBACK: &str = "urn:xmpp:fallback:0";
/// Messages that are encrypted by OpenPGP (XEP-0027).
pub const ENCRYPTED_PGP: &str = "jabber:x:encrypted";
/// How a message is encrypted (XEP-0380).
pub const ENCRYPTION: &str = "urn:xmpp:eme:0";
