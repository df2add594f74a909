use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::super::stream::{StreamError, StreamParser};
use super::*;

const SCRAM: &str = "<mechanism>PLAIN</mechanism><mechanism>SCRAM-SHA-1</mechanism>";
const PLAIN: &str = "<mechanism>PLAIN</mechanism>";

fn machine(security: Security) -> ClientLogin {
    ClientLogin::new(&ClientSettings {
        host: String::new(),
        port: 0,
        service: "example.com".parse().unwrap(),
        username: "media".to_owned(),
        password: Secret::new("pencil"),
        security,
        ca: None,
        connector: None,
        resource: "here".to_owned(),
        available: true,
        names: SettingNames::SERVER,
    })
}

/// The machine's next step after this XML from the server.
fn take(machine: &mut ClientLogin, xml: &str) -> Result<LoginStep> {
    let mut stream = StreamParser::new(ns::CLIENT);
    stream.feed(format!("<s:stream xmlns:s='{}' xmlns='{}'>{xml}", ns::STREAM, ns::CLIENT).as_bytes());
    stream.next_event().unwrap();
    machine.event(stream.next_event().unwrap().expect("a stanza"))
}

fn header() -> StreamEvent {
    StreamEvent::Opened(StreamHeader { version: Some("1.0".to_owned()), ..StreamHeader::default() })
}

/// The machine's next step after these features on a new stream.
fn features(machine: &mut ClientLogin, features: &str) -> Result<LoginStep> {
    assert_eq!(machine.event(header()).unwrap(), LoginStep::Send(String::new()));
    take(machine, &format!("<s:features>{features}</s:features>"))
}

fn mechanisms(list: &str) -> String {
    format!("<mechanisms xmlns='{}'>{list}</mechanisms>", ns::SASL)
}

fn starttls(inside: &str) -> String {
    format!("<starttls xmlns='{}'>{inside}</starttls>", ns::TLS)
}

fn sasl(name: &str, text: &str) -> String {
    format!("<{name} xmlns='{}'>{text}</{name}>", ns::SASL)
}

fn sent(step: Result<LoginStep>) -> String {
    match step {
        Ok(LoginStep::Send(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// A machine that has authenticated itself.
fn authenticated() -> ClientLogin {
    let mut machine = machine(Security::Disabled);
    features(&mut machine, &mechanisms(PLAIN)).unwrap();
    let step = take(&mut machine, &sasl("success", "")).unwrap();
    assert_eq!(step, LoginStep::Restart(machine.open()));
    machine
}

#[test]
fn tls_comes_before_authentication() {
    for security in [Security::Enabled, Security::Required] {
        let mut machine = machine(security);
        let offer = starttls("") + &mechanisms(SCRAM);
        let answer = sent(features(&mut machine, &offer));
        assert_eq!(answer, format!("<starttls xmlns='{}'/>", ns::TLS));
        assert_eq!(
            take(&mut machine, &format!("<proceed xmlns='{}'/>", ns::TLS)).unwrap(),
            LoginStep::StartTls
        );
        assert!(machine.secured().starts_with("<?xml version='1.0'?><stream:stream "));
        assert!(sent(features(&mut machine, &mechanisms(SCRAM))).contains("mechanism='SCRAM-SHA-1'"));
    }
}

#[test]
fn required_tls_that_is_not_offered_is_an_error() {
    let error = features(&mut machine(Security::Required), &mechanisms(SCRAM)).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    let insists = starttls("<required/>") + &mechanisms(SCRAM);
    assert!(features(&mut machine(Security::Disabled), &insists).is_err());
    let offers = starttls("") + &mechanisms(SCRAM);
    assert!(sent(features(&mut machine(Security::Disabled), &offers)).contains("SCRAM-SHA-1"));
}

#[test]
fn refused_tls_is_an_error() {
    let mut machine = machine(Security::Enabled);
    features(&mut machine, &starttls("")).unwrap();
    assert!(take(&mut machine, &format!("<failure xmlns='{}'/>", ns::TLS)).is_err());
}

#[test]
fn plain_without_tls_is_used_only_if_tls_is_disabled() {
    assert!(features(&mut machine(Security::Enabled), &mechanisms(PLAIN)).is_err());
    assert!(sent(features(&mut machine(Security::Disabled), &mechanisms(PLAIN))).contains("'PLAIN'"));
    assert!(sent(features(&mut machine(Security::Enabled), &mechanisms(SCRAM))).contains("'SCRAM-SHA-1'"));
}

#[test]
fn a_wrong_server_signature_is_an_error() {
    let mut machine = machine(Security::Enabled);
    let auth = sent(features(&mut machine, &mechanisms(SCRAM)));
    let initial = auth.split('>').nth(1).unwrap().split('<').next().unwrap();
    let first = String::from_utf8(STANDARD.decode(initial).unwrap()).unwrap();
    let nonce = first.rsplit("r=").next().unwrap();
    let challenge = STANDARD.encode(format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i=4096"));
    assert!(sent(take(&mut machine, &sasl("challenge", &challenge))).starts_with("<response "));
    let forged = STANDARD.encode("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
    let error = take(&mut machine, &sasl("success", &forged)).unwrap_err();
    assert!(error.to_string().contains("wrong signature"), "{error}");
}

#[test]
fn success_before_the_challenge_is_an_error() {
    let mut machine = machine(Security::Enabled);
    features(&mut machine, &mechanisms(SCRAM)).unwrap();
    assert!(take(&mut machine, &sasl("success", "")).is_err());
}

/// The mechanism of an `<auth/>`.
fn mechanism(auth: &str) -> &str {
    auth.split('\'').nth(3).expect("a second attribute")
}

#[test]
fn a_refused_account_is_a_matter_of_configuration() {
    for (condition, kind) in [
        ("<not-authorized/>", Kind::Config),
        ("<text>x</text><account-disabled/>", Kind::Config),
        ("<temporary-auth-failure/>", Kind::Unavailable),
    ] {
        let mut machine = machine(Security::Enabled);
        features(&mut machine, &mechanisms(SCRAM)).unwrap();
        let error = take(&mut machine, &sasl("failure", condition)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.to_string().contains("pencil"));
    }
}

#[test]
fn the_next_mechanism_is_tried_when_one_is_refused() {
    let offer = mechanisms(
        &["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]
            .map(|name| format!("<mechanism>{name}</mechanism>"))
            .concat(),
    );
    for (security, expected) in [
        (Security::Disabled, &["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"][..]),
        (Security::Enabled, &["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"]),
    ] {
        let mut machine = machine(security);
        let mut step = features(&mut machine, &offer);
        for name in expected {
            assert_eq!(mechanism(&sent(step)), *name);
            step = take(&mut machine, &sasl("failure", "<not-authorized/>"));
        }
        assert_eq!(step.unwrap_err().kind(), Kind::Config);
    }
}

#[test]
fn the_second_mechanism_may_succeed() {
    let mut machine = machine(Security::Disabled);
    assert_eq!(mechanism(&sent(features(&mut machine, &mechanisms(SCRAM)))), "SCRAM-SHA-1");
    let auth = sent(take(&mut machine, &sasl("failure", "<invalid-mechanism/>")));
    assert_eq!(mechanism(&auth), "PLAIN");
    assert_eq!(take(&mut machine, &sasl("success", "")).unwrap(), LoginStep::Restart(machine.open()));
}

#[test]
fn no_second_mechanism_is_tried_where_it_can_not_help() {
    for condition in OTHERS_WOULD_FAIL {
        let mut machine = machine(Security::Disabled);
        features(&mut machine, &mechanisms(SCRAM)).unwrap();
        let error = take(&mut machine, &sasl("failure", &format!("<{condition}/>"))).unwrap_err();
        assert!(error.to_string().ends_with(condition), "{error}");
    }
}

#[test]
fn the_first_refusal_is_told_where_the_stream_ends_behind_it() {
    let mut machine = machine(Security::Disabled);
    features(&mut machine, &mechanisms(SCRAM)).unwrap();
    take(&mut machine, &sasl("failure", "<not-authorized/>")).unwrap();
    let error = machine.event(StreamEvent::Closed).unwrap_err();
    assert!(error.to_string().ends_with("not-authorized"), "{error}");
}

#[test]
fn a_resource_is_bound_and_presence_sent() {
    let mut machine = authenticated();
    let bind = sent(features(&mut machine, &format!("<bind xmlns='{}'/>", ns::BIND)));
    assert_eq!(
        bind,
        "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <resource>here</resource></bind></iq>"
    );
    assert_eq!(sent(take(&mut machine, "<message/>")), "");
    let jid = "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
               <jid>media@example.com/other</jid></bind></iq>";
    let ready = LoginStep::Ready("media@example.com/other".parse().unwrap(), "<presence/>".to_owned());
    assert_eq!(take(&mut machine, jid).unwrap(), ready);
}

#[test]
fn a_session_is_requested_only_if_the_server_requires_it() {
    let jid = "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
               <jid>media@example.com/other</jid></bind></iq>";
    let offer = |inside: &str| {
        format!("<bind xmlns='{}'/><session xmlns='{}'>{inside}</session>", ns::BIND, ns::SESSION)
    };
    let mut modern = authenticated();
    features(&mut modern, &offer("<optional/>")).unwrap();
    assert!(matches!(take(&mut modern, jid), Ok(LoginStep::Ready(..))));
    let mut old = authenticated();
    features(&mut old, &offer("")).unwrap();
    assert!(sent(take(&mut old, jid)).contains(ns::SESSION));
    assert!(matches!(take(&mut old, "<iq type='result' id='session'/>"), Ok(LoginStep::Ready(..))));
}

#[test]
fn a_refused_resource_is_an_error() {
    let mut machine = authenticated();
    features(&mut machine, &format!("<bind xmlns='{}'/>", ns::BIND)).unwrap();
    let refusal =
        format!("<iq type='error' id='bind'><error><conflict xmlns='{}'/></error></iq>", ns::STANZAS);
    let error = take(&mut machine, &refusal).unwrap_err();
    assert!(error.to_string().ends_with("refuses us a resource: conflict"), "{error}");
    assert!(features(&mut authenticated(), "").is_err());
}

#[test]
fn events_out_of_order_are_errors() {
    let old = StreamEvent::Opened(StreamHeader::default());
    assert!(machine(Security::Enabled).event(old).is_err());
    assert!(take(&mut machine(Security::Enabled), "<s:features/>").is_err());
    assert!(machine(Security::Enabled).event(StreamEvent::Closed).is_err());
    let mut machine = machine(Security::Enabled);
    features(&mut machine, &starttls("")).unwrap();
    assert!(take(&mut machine, &sasl("success", "")).is_err());
    let unknown = StreamError { condition: "host-unknown".to_owned(), text: "x".to_owned() };
    let error = machine.event(StreamEvent::Failed(unknown)).unwrap_err();
    assert!(error.to_string().ends_with("client port: host-unknown (x)"), "{error}");
}
