use std::thread;
use std::time::Duration;

use super::super::peer::{Certificate, Conn, ScriptedServer, long_times, mechanisms};
use super::super::{ClientSettings, Security, ns};
use super::*;
use crate::error::Kind;

/// Checks these settings against a server that plays this script.
fn run(
    settings: &LinkSettings,
    peer: ScriptedServer,
    script: impl FnOnce(&mut Conn) + Send + 'static,
) -> Result<Checked> {
    let server = thread::spawn(move || {
        let mut conn = peer.accept();
        script(&mut conn);
    });
    let result = check(settings, long_times());
    server.join().expect("the script to go through");
    result
}

fn component(script: impl FnOnce(&mut Conn) + Send + 'static) -> Result<Checked> {
    let peer = ScriptedServer::listen();
    run(&LinkSettings::Component(peer.component()), peer, script)
}

fn client(security: Security, script: impl FnOnce(&mut Conn) + Send + 'static) -> Result<Checked> {
    let peer = ScriptedServer::listen();
    run(&LinkSettings::Client(peer.client(security)), peer, script)
}

/// Checks a client that trusts this certificate and insists on TLS.
fn trusting(
    certificate: Certificate,
    script: impl FnOnce(&mut Conn, &Certificate) + Send + 'static,
) -> Result<Checked> {
    let peer = ScriptedServer::listen();
    let settings = ClientSettings { ca: Some(certificate.path()), ..peer.client(Security::Required) };
    run(&LinkSettings::Client(settings), peer, move |conn| script(conn, &certificate))
}

fn here() -> Checked {
    Checked::LoggedIn("media@example.com/here".parse().unwrap())
}

#[test]
fn a_component_logs_in_and_leaves() {
    let checked = component(|conn| {
        conn.log_component_in();
        conn.until("</stream:stream>");
        conn.send("</stream:stream>");
    });
    assert_eq!(checked.unwrap(), Checked::LoggedIn("media.example.com".parse().unwrap()));
}

#[test]
fn the_error_of_a_refused_component_names_the_setting() {
    let refused = |condition: &'static str| {
        component(move |conn| {
            conn.handshake();
            let condition = format!("<{condition} xmlns='{}'/>", ns::STREAMS);
            conn.send(&format!("<stream:error>{condition}</stream:error></stream:stream>"));
        })
    };
    assert_eq!(refused("conflict").unwrap(), Checked::AlreadyConnected);
    let error = refused("not-authorized").unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("xmpp.component.secretkey"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn a_server_of_another_protocol_is_an_error() {
    let error = component(|conn| conn.send("HTTP/1.1 400 Bad Request\r\n\r\n<html></html>")).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    let error = component(|conn| drop(conn.until(">"))).unwrap_err();
    assert!(error.to_string().contains("instead of sending a stream header"), "{error}");
}

#[test]
fn a_silent_server_is_an_error_in_time() {
    let peer = ScriptedServer::listen();
    let times = Times { login: Duration::from_millis(100), ..long_times() };
    let error = check(&LinkSettings::Component(peer.component()), times).unwrap_err();
    assert!(error.to_string().contains("did not send a stream header in time"), "{error}");
    let full = peer.fill_backlog();
    let error = check(&LinkSettings::Component(peer.component()), times).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    drop(full);
}

#[test]
fn a_server_may_send_single_bytes() {
    let checked = client(Security::Disabled, |conn| {
        conn.until(">");
        conn.until(">");
        conn.drip(&format!(
            "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}' id='é' version='1.0'>\
             <stream:features>{}</stream:features>",
            ns::CLIENT,
            ns::STREAM,
            mechanisms("PLAIN")
        ));
        conn.until("</auth>");
        conn.drip(&format!("<success xmlns='{}'/>", ns::SASL));
        conn.bind();
    });
    assert_eq!(checked.unwrap(), here());
}

#[test]
fn a_client_logs_in_over_tls() {
    let checked = trusting(Certificate::new("example.com"), |conn, certificate| {
        conn.proceed("");
        assert!(conn.starttls(certificate));
        conn.scram("pencil");
        conn.bind();
        conn.until("</stream:stream>");
    });
    assert_eq!(checked.unwrap(), here());
}

/// A program that has read the authorities for other connections does not read them again.
#[test]
fn a_shared_connector_is_used_for_starttls() {
    let certificate = Certificate::new("example.com");
    let pem = std::fs::read(certificate.path()).unwrap();
    let authority = native_tls::Certificate::from_pem(&pem).unwrap();
    let shared = native_tls::TlsConnector::builder().add_root_certificate(authority).build().unwrap();
    for (connector, trusted) in [(Some(shared), true), (None, false)] {
        let peer = ScriptedServer::listen();
        let settings = ClientSettings { connector, ..peer.client(Security::Required) };
        let certificate = certificate.clone();
        let checked = run(&LinkSettings::Client(settings), peer, move |conn| {
            conn.proceed("");
            if conn.starttls(&certificate) {
                conn.scram("pencil");
                conn.bind();
                conn.until("</stream:stream>");
            }
        });
        assert_eq!(checked.is_ok(), trusted, "{checked:?}");
    }
}

#[test]
fn a_domain_in_another_script_has_its_ascii_form_in_the_certificate() {
    let certificate = Certificate::new("xn--bcher-kva.example");
    let peer = ScriptedServer::listen();
    let ca = Some(certificate.path());
    let service = "bücher.example".parse().unwrap();
    let settings = ClientSettings { ca, service, ..peer.client(Security::Required) };
    let server = thread::spawn(move || {
        let mut conn = peer.accept();
        conn.proceed("");
        assert!(conn.starttls(&certificate));
        assert!(
            conn.until(" version='1.0'>").contains("to='bücher.example'"),
            "the stream has the other form"
        );
    });
    let error = check(&LinkSettings::Client(settings), long_times()).unwrap_err();
    assert!(!error.to_string().contains("certificate"), "{error}");
    server.join().unwrap();
}

#[test]
fn a_certificate_of_another_domain_is_refused() {
    for domain in ["127.0.0.1", "other.example.com"] {
        let error = trusting(Certificate::new(domain), |conn, certificate| {
            conn.proceed("");
            // A TLS 1.3 server is done before the client has looked at the certificate.
            conn.starttls(certificate);
            assert_eq!(conn.rest(), "");
        })
        .unwrap_err();
        assert!(error.to_string().contains("must name example.com"), "{error}");
    }
}

#[test]
fn an_expired_certificate_is_refused() {
    let error = trusting(Certificate::expired("example.com"), |conn, certificate| {
        conn.proceed("");
        conn.starttls(certificate);
        assert_eq!(conn.rest(), "");
    })
    .unwrap_err();
    assert!(format!("{error:?}").contains("expired"), "{error:?}");
}

#[test]
fn clear_text_during_the_handshake_is_not_read_as_stream() {
    let error = trusting(Certificate::new("example.com"), |conn, _| {
        conn.proceed("");
        conn.wait_hello();
        let (streams, offer) = (ns::STREAM, mechanisms("PLAIN"));
        conn.send(&format!(
            "<stream:stream xmlns='jabber:client' xmlns:stream='{streams}' id='1' version='1.0'>\
             <stream:features>{offer}</stream:features>"
        ));
        let said = conn.rest();
        assert!(!said.contains("<auth"), "{said}");
    })
    .unwrap_err();
    assert!(error.to_string().contains("TLS with the XMPP server failed"), "{error}");
}

#[test]
fn an_unknown_authority_is_refused() {
    let error = client(Security::Enabled, |conn| {
        conn.proceed("");
        conn.starttls(&Certificate::new("example.com"));
        assert_eq!(conn.rest(), "");
    })
    .unwrap_err();
    assert!(error.to_string().contains("xmpp.connection.tls.ca"), "{error}");
}

#[test]
fn an_unreadable_authority_is_a_matter_of_configuration() {
    let peer = ScriptedServer::listen();
    for path in ["/nonexistent/ca.pem", "/dev/null"] {
        let settings = ClientSettings { ca: Some(path.into()), ..peer.client(Security::Enabled) };
        let error = check(&LinkSettings::Client(settings), long_times()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{error}");
    }
}

#[test]
fn clear_text_after_proceed_is_an_error() {
    for tail in
        [" ", "<stream:features/>", "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>", "<"]
    {
        let error = client(Security::Required, move |conn| {
            conn.proceed(tail);
            assert_eq!(conn.rest(), "");
        })
        .unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{tail:?}: {error}");
    }
}

#[test]
fn a_removed_offer_of_tls_is_an_error() {
    let error = client(Security::Required, |conn| {
        conn.features(&mechanisms("PLAIN"));
        assert_eq!(conn.rest(), "");
    })
    .unwrap_err();
    assert!(error.to_string().contains("offers no TLS"), "{error}");
    let error = client(Security::Enabled, |conn| {
        conn.features(&mechanisms("PLAIN"));
        assert_eq!(conn.rest(), "");
    })
    .unwrap_err();
    assert!(error.to_string().contains("PLAIN is not for connections without TLS"), "{error}");
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    let error = client(Security::Disabled, |conn| {
        conn.scram("guess");
        assert_eq!(conn.rest(), "");
    })
    .unwrap_err();
    assert!(error.to_string().contains("wrong signature"), "{error}");
    assert_eq!(
        client(Security::Disabled, |conn| {
            conn.scram("pencil");
            conn.bind();
        })
        .unwrap(),
        here()
    );
}

#[test]
fn the_error_of_a_wrong_password_names_the_setting() {
    let error = client(Security::Disabled, |conn| {
        conn.features(&mechanisms("PLAIN"));
        conn.until("</auth>");
        conn.send(&format!("<failure xmlns='{}'><not-authorized/></failure>", ns::SASL));
    })
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("xmpp.connection.username"), "{error}");
}
