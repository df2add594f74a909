//! The servers of an XMPP domain by its SRV records (RFC 6120 section 3.2, XEP-0368). The thread that logs in runs it and
//! waits for the name servers.

mod message;
mod order;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use media_server::limits;

use message::{Question, Reply};
use order::{Srv, ordered};

/// A place where an XMPP server may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The host's name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the connection begins with TLS.
    pub direct_tls: bool,
}

/// The answer of the DNS about a domain.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// These places, to be tried in this order.
    Places(Vec<Place>),
    /// The domain says that it has no XMPP server (RFC 2782: the target is the root).
    NoService,
    /// Nothing, or no name server replies; this many of the questions have a reply.
    Nothing(usize),
}

/// Asks the name servers, each for some time, for the SRV records of this domain in its ASCII form. The random number says
/// how records of one priority are ordered.
pub fn look_up(domain: &str, server: Option<SocketAddr>, random: &mut dyn FnMut() -> u32) -> Answer {
    let servers = server.map_or_else(system_servers, |server| vec![server]);
    let mut questions: Vec<_> = [("_xmpps-client._tcp", true), ("_xmpp-client._tcp", false)]
        .into_iter()
        .filter_map(|(service, direct)| {
            Some((Question::new(&format!("{service}.{domain}"), random() as u16)?, direct))
        })
        .collect();
    let (mut records, mut replied) = (Vec::new(), 0);
    for server in servers.iter().cycle().take(servers.len() * limits::CLIENT_DNS_ROUNDS) {
        // An error is that of one server; the next one may reply.
        let replies = ask(*server, questions.iter().map(|(question, _)| question)).unwrap_or_default();
        for (index, found) in replies.into_iter().rev() {
            let (_, direct) = questions.remove(index);
            replied += 1;
            records.extend(found.into_iter().map(|record| Srv { direct_tls: direct, ..record }));
        }
        if questions.is_empty() {
            break;
        }
    }
    concluded(records, replied, random)
}

fn concluded(records: Vec<Srv>, replied: usize, random: &mut dyn FnMut() -> u32) -> Answer {
    if records.is_empty() {
        return Answer::Nothing(replied);
    }
    let offered: Vec<Srv> = records.into_iter().filter(|record| !record.target.is_empty()).collect();
    if offered.is_empty() {
        return Answer::NoService;
    }
    Answer::Places(ordered(offered, random).into_iter().map(Srv::into_place).collect())
}

/// The records that one server gives to these questions, by the number of the question, in its order.
fn ask<'a>(
    server: SocketAddr,
    questions: impl Iterator<Item = &'a Question>,
) -> io::Result<Vec<(usize, Vec<Srv>)>> {
    let questions: Vec<_> = questions.collect();
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A connected socket takes datagrams of this server only.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    for question in &questions {
        socket.send(question.bytes())?;
    }
    let deadline = Instant::now() + limits::CLIENT_DNS_TIME;
    let mut found: Vec<(usize, Vec<Srv>)> = Vec::new();
    let mut buffer = [0; limits::CLIENT_DNS_BYTES];
    while found.len() < questions.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        // A time-out, or the server's refusal.
        let Ok(count) = socket.recv(&mut buffer) else { break };
        for (index, question) in questions.iter().enumerate() {
            if found.iter().any(|(known, _)| *known == index) {
                continue;
            }
            match question.read(&buffer[..count]) {
                Some(Reply::Records(records)) => found.push((index, records)),
                Some(Reply::Truncated) => {
                    if let Some(records) = ask_by_tcp(server, question, deadline)? {
                        found.push((index, records));
                    }
                }
                Some(Reply::Failed) | None => {}
            }
        }
    }
    found.sort_unstable_by_key(|(index, _)| *index);
    Ok(found)
}

/// The same over TCP (RFC 7766), where a reply is not cut.
fn ask_by_tcp(server: SocketAddr, question: &Question, deadline: Instant) -> io::Result<Option<Vec<Srv>>> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut socket = TcpStream::connect_timeout(&server, left())?;
    socket.set_read_timeout(Some(left()))?;
    let length = u16::try_from(question.bytes().len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_be_bytes(), question.bytes()].concat())?;
    let mut length = [0; 2];
    socket.read_exact(&mut length)?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    socket.read_exact(&mut reply)?;
    Ok(match question.read(&reply) {
        Some(Reply::Records(records)) => Some(records),
        _ => None,
    })
}

/// The name servers of the system, or else the one of this machine.
fn system_servers() -> Vec<SocketAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = name_servers(&text);
    if servers.is_empty() { vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT))] } else { servers }
}

const DNS_PORT: u16 = 53;

/// Those of a resolv.conf(5), of which the resolver uses three at most.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        words.next()?.parse::<IpAddr>().ok()
    });
    lines.take(limits::CLIENT_DNS_SERVERS).map(|address| SocketAddr::new(address, DNS_PORT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read() {
        let text = "# nameserver 9.9.9.9\nsearch example.com\nnameserver 192.0.2.1\n nameserver ::1 # x\n\
                    nameserver bad\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let servers: Vec<_> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[::1]:53", "192.0.2.2:53"]);
    }

    #[test]
    fn records_become_places_or_say_that_there_is_no_service() {
        let record = |target: &str| Srv {
            priority: 0,
            weight: 0,
            port: 1,
            target: target.to_owned(),
            direct_tls: true,
        };
        let concluded = |records| concluded(records, 1, &mut || 0);
        assert_eq!(concluded(Vec::new()), Answer::Nothing(1));
        assert_eq!(concluded(vec![record("")]), Answer::NoService);
        let place = Place { host: "a".to_owned(), port: 1, direct_tls: true };
        assert_eq!(concluded(vec![record(""), record("a")]), Answer::Places(vec![place]));
    }

    #[test]
    fn a_server_that_is_silent_or_sends_rubbish_costs_its_time_only() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let replies = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            for _ in 0..2 {
                let (count, from) = server.recv_from(&mut buffer).unwrap();
                for bytes in [&b""[..], &[0; 12], &buffer[..count], &[0xff; 600]] {
                    server.send_to(bytes, from).unwrap();
                }
            }
        });
        let question = Question::new("_xmpp-client._tcp.example.com", 7).unwrap();
        let other = Question::new("_xmpps-client._tcp.example.com", 8).unwrap();
        assert_eq!(ask(address, [&question, &other].into_iter()).unwrap(), []);
        replies.join().unwrap();
    }
}
