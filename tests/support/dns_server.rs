//! A name server with the records of a test.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord};

/// An SRV record: its name, priority, weight, port and target.
pub type Record = (String, u16, u16, u16, String);

/// A listening name server. Its thread ends with the test's process.
pub struct DnsServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl DnsServer {
    /// One that knows these records; of all other names it says that there are none.
    pub fn start(records: Vec<Record>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let names = Arc::clone(&asked);
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((count, client)) = socket.recv_from(&mut buffer) {
                let question = Packet::parse(&buffer[..count]).expect("a question");
                names.lock().expect("no panic").push(question.questions[0].qname.to_string());
                socket.send_to(&reply(&question, &records), client).expect("the client is there");
            }
        });
        Self { address, asked }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names that it was asked for.
    pub fn asked(&self) -> Vec<String> {
        let mut names = self.asked.lock().expect("no panic").clone();
        names.sort();
        names
    }
}

fn reply(question: &Packet<'_>, records: &[Record]) -> Vec<u8> {
    let mut reply = Packet::new_reply(question.id());
    reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    let name = question.questions[0].qname.to_string();
    reply.questions = question.questions.clone();
    for (owner, priority, weight, port, target) in records.iter().filter(|record| record.0 == name) {
        let target = Name::new_unchecked(target);
        let record = SRV { priority: *priority, weight: *weight, port: *port, target };
        let owner = Name::new_unchecked(owner);
        reply.answers.push(ResourceRecord::new(owner, CLASS::IN, 60, RData::SRV(record)));
    }
    if reply.answers.is_empty() {
        *reply.rcode_mut() = RCODE::NameError;
    }
    reply.build_bytes_vec().expect("a reply")
}
