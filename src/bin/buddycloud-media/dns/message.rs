//! Queries for SRV records, and replies, which may be forged. Without I/O.

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, RCODE, TYPE};

use super::order::Srv;

/// The longest host name, and the number of aliases that are followed.
const NAME_BYTES: usize = 253;
const ALIASES: usize = 8;

/// A question.
#[derive(Debug)]
pub struct Question {
    id: u16,
    name: String,
    bytes: Vec<u8>,
}

/// A reply, read.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// These records, or none.
    Records(Vec<Srv>),
    /// Not all of them fit.
    Truncated,
    /// The server can't say.
    Failed,
}

impl Question {
    /// The question for this name; `None` if it can't be one.
    pub fn new(name: &str, id: u16) -> Option<Self> {
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let asked = Name::new(name).ok()?;
        let class = QCLASS::CLASS(CLASS::IN);
        packet.questions.push(simple_dns::Question::new(asked, QTYPE::TYPE(TYPE::SRV), class, false));
        let bytes = packet.build_bytes_vec().ok()?;
        Some(Self { id, name: name.to_ascii_lowercase(), bytes })
    }

    /// The message to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Parses a message; `None` if it is not a reply to this query.
    pub fn read(&self, message: &[u8]) -> Option<Reply> {
        let packet = Packet::parse(message).ok()?;
        let [question] = &packet.questions[..] else { return None };
        let is_reply = packet.has_flags(PacketFlag::RESPONSE) && packet.id() == self.id;
        if !is_reply || question.qtype != QTYPE::TYPE(TYPE::SRV) || text(&question.qname)? != self.name {
            return None;
        }
        Some(match packet.rcode() {
            _ if packet.has_flags(PacketFlag::TRUNCATION) => Reply::Truncated,
            RCODE::NoError => Reply::Records(records(&packet, &self.name)),
            RCODE::NameError => Reply::Records(Vec::new()),
            _ => Reply::Failed,
        })
    }
}

/// The records of this name, or of the one that it is an alias of.
fn records(packet: &Packet<'_>, name: &str) -> Vec<Srv> {
    let mut owner = name.to_owned();
    for _ in 0..ALIASES {
        let alias = packet.answers.iter().find_map(|record| match &record.rdata {
            RData::CNAME(target) if text(&record.name).as_ref() == Some(&owner) => text(&target.0),
            _ => None,
        });
        match alias {
            Some(alias) => owner = alias,
            None => break,
        }
    }
    let of_owner = packet
        .answers
        .iter()
        .filter(|record| record.class == CLASS::IN && text(&record.name).as_ref() == Some(&owner));
    of_owner
        .filter_map(|record| match &record.rdata {
            RData::SRV(srv) => {
                let target = text(&srv.target)?;
                let is_host =
                    target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                let (priority, weight, port) = (srv.priority, srv.weight, srv.port);
                is_host.then_some(Srv { priority, weight, port, target, direct_tls: false })
            }
            _ => None,
        })
        .collect()
}

/// A name in lower case without the dot at its end; `None` if a label holds what would not be read back.
fn text(name: &Name<'_>) -> Option<String> {
    let mut text = String::new();
    for label in name.as_bytes() {
        if label.is_empty() || !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    (text.len() <= NAME_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{CNAME, SRV};

    use super::*;

    const NAME: &str = "_xmpp-client._tcp.example.com";

    fn question() -> Question {
        Question::new(NAME, 0x1234).unwrap()
    }

    fn srv(owner: &'static str, port: u16, target: &'static str) -> ResourceRecord<'static> {
        let srv = SRV { priority: 1, weight: 2, port, target: Name::new_unchecked(target) };
        ResourceRecord::new(Name::new_unchecked(owner), CLASS::IN, 60, RData::SRV(srv))
    }

    fn alias(owner: &'static str, target: &'static str) -> ResourceRecord<'static> {
        let target = RData::CNAME(CNAME(Name::new_unchecked(target)));
        ResourceRecord::new(Name::new_unchecked(owner), CLASS::IN, 60, target)
    }

    fn reply(change: impl FnOnce(&mut Packet<'static>)) -> Vec<u8> {
        let mut packet = Packet::new_reply(0x1234);
        let name = Name::new_unchecked(NAME);
        let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(simple_dns::Question::new(name, kind, class, false));
        change(&mut packet);
        packet.build_bytes_vec().unwrap()
    }

    fn ports(message: &[u8]) -> Option<Vec<(u16, String)>> {
        match question().read(message) {
            Some(Reply::Records(records)) => {
                Some(records.into_iter().map(|record| (record.port, record.target)).collect())
            }
            _ => None,
        }
    }

    #[test]
    fn the_records_of_the_name_count_and_no_others() {
        let target = |port, name: &str| (port, name.to_owned());
        let message = reply(|packet| {
            packet.answers.push(srv("_XMPP-client._tcp.Example.com", 5222, "XMPP.example.com"));
            packet.answers.push(srv("_xmpp-client._tcp.example.org", 1, "evil.example.com"));
            packet.answers.push(srv(NAME, 5223, ""));
        });
        assert_eq!(ports(&message), Some(vec![target(5222, "xmpp.example.com"), target(5223, "")]));
        let aliased = reply(|packet| {
            packet.answers.push(alias(NAME, "srv.example.net"));
            packet.answers.push(srv("srv.example.net", 5222, "a"));
            packet.answers.push(srv(NAME, 1, "b"));
        });
        assert_eq!(ports(&aliased), Some(vec![target(5222, "a")]));
        assert_eq!(ports(&reply(|packet| *packet.rcode_mut() = RCODE::NameError)), Some(Vec::new()));
    }

    #[test]
    fn aliases_in_a_circle_end() {
        let message = reply(|packet| {
            packet.answers.push(alias(NAME, "a.example.com"));
            packet.answers.push(alias("a.example.com", NAME));
        });
        assert_eq!(ports(&message), Some(Vec::new()));
    }

    #[test]
    fn another_question_server_or_truth_is_no_reply() {
        let good = reply(|packet| packet.answers.push(srv(NAME, 5222, "a")));
        assert!(ports(&good).is_some());
        let other_id = [&[0x12, 0x35], &good[2..]].concat();
        let no_reply = [&good[..2], &[good[2] & 0x7f], &good[3..]].concat();
        let other_name =
            reply(|packet| packet.questions[0].qname = Name::new_unchecked("_xmpp-client._tcp.example.net"));
        let other_type = reply(|packet| packet.questions[0].qtype = QTYPE::TYPE(TYPE::A));
        let no_question = reply(|packet| packet.questions.clear());
        for message in [other_id, no_reply, other_name, other_type, no_question, question().bytes().to_vec()]
        {
            assert_eq!(question().read(&message), None);
        }
        assert_eq!(
            question().read(&reply(|packet| packet.set_flags(PacketFlag::TRUNCATION))),
            Some(Reply::Truncated)
        );
        assert_eq!(
            question().read(&reply(|packet| *packet.rcode_mut() = RCODE::ServerFailure)),
            Some(Reply::Failed)
        );
    }

    /// Targets go to the resolver and into messages.
    #[test]
    fn a_target_is_a_host_name() {
        for target in ["a b", "a\u{1b}[2J", "a/b", "a:1", "a%00"] {
            let message = reply(|packet| packet.answers.push(srv(NAME, 5222, target)));
            assert_eq!(ports(&message), Some(Vec::new()), "{target:?}");
        }
    }

    /// Reading any reply ends without a panic: cut at every byte, and changed at every byte.
    #[test]
    fn hostile_replies_are_read_to_an_end() {
        let good = reply(|packet| {
            packet.answers.push(alias(NAME, "srv.example.net"));
            packet.answers.push(srv("srv.example.net", 5222, "a.example.net"));
        });
        for end in 0..good.len() {
            let _ = question().read(&good[..end]);
        }
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut message = good.clone();
                message[at] = value;
                let _ = question().read(&message);
                // A second byte: a pointer is two.
                if let Some(next) = message.get_mut(at + 1) {
                    *next = value.wrapping_mul(31);
                    let _ = question().read(&message);
                }
            }
        }
        // Names that point to themselves and to one another, and counts beyond the end.
        let header = [0x12, 0x34, 0x80, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        for tail in [&[0xc0, 12, 0, 33, 0, 1][..], &[0xc0, 14, 0xc0, 12, 0, 33, 0, 1], &[0xc0, 0xff], &[0x3f]]
        {
            let _ = question().read(&[&header, tail].concat());
        }
    }
}
