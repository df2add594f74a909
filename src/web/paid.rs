//! Confirmed HEADs, each of which pays for one GET (XEP-0070 version 1.0.2 section 4.2): clients ask for the size of a file
//! first, and their users shall confirm once. In memory only.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::access::Credentials;
use crate::cache::Cache;
use crate::limits;
use crate::model::BareJid;

/// The properties that a GET must share with the HEAD that pays for it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PaidHead {
    pub credentials: Credentials,
    /// The path as it was sent, without the query.
    pub path: String,
    /// The client's network.
    pub network: IpAddr,
}

/// The HEADs that nothing was got for yet.
pub(super) struct PaidHeads(Mutex<Cache<PaidHead, BareJid>>);

impl PaidHeads {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Cache::new(limits::HEADS_PAID)))
    }

    /// This user has confirmed a HEAD.
    pub(super) fn pay(&self, head: PaidHead, user: BareJid) {
        self.pay_at(Instant::now(), head, user);
    }

    /// The user who has confirmed the HEAD, once.
    pub(super) fn spend(&self, head: &PaidHead) -> Option<BareJid> {
        self.spend_at(Instant::now(), head)
    }

    fn pay_at(&self, now: Instant, head: PaidHead, user: BareJid) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.insert(now, head, user, limits::HEAD_PAYS);
    }

    fn spend_at(&self, now: Instant, head: &PaidHead) -> Option<BareJid> {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let user = heads.get(now, head).cloned();
        heads.remove(head);
        user
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::access::credentials::from_request;

    fn head(credentials: &str, path: &str, last: u8) -> PaidHead {
        let credentials = from_request(Some(&BASE64_STANDARD.encode(credentials)), None).unwrap();
        PaidHead { credentials, path: path.to_owned(), network: [192, 0, 2, last].into() }
    }

    #[test]
    fn a_head_pays_once_for_the_same_and_for_a_minute() {
        let (heads, now) = (PaidHeads::new(), Instant::now());
        let alice: BareJid = "alice@example.org".parse().unwrap();
        let paid = head("alice@example.org/x:t", "/room@example.org/A", 1);
        heads.pay_at(now, paid.clone(), alice.clone());
        for other in [
            head("alice@example.org/x:u", "/room@example.org/A", 1),
            head("alice@example.org:t", "/room@example.org/A", 1),
            head("alice@example.org/x:t", "/room@example.org/B", 1),
            head("alice@example.org/x:t", "/room%40example.org/A", 1),
            head("alice@example.org/x:t", "/room@example.org/A", 2),
        ] {
            assert_eq!(heads.spend_at(now, &other), None);
        }
        assert_eq!(heads.spend_at(now, &paid), Some(alice.clone()));
        assert_eq!(heads.spend_at(now, &paid), None);
        for (after, expected) in [
            (limits::HEAD_PAYS - std::time::Duration::from_millis(1), Some(alice.clone())),
            (limits::HEAD_PAYS, None),
        ] {
            heads.pay_at(now, paid.clone(), alice.clone());
            assert_eq!(heads.spend_at(now + after, &paid), expected);
        }
    }
}
