//! Values of request fields: ranges, conditions, credentials, media ranges. Each line of the input is one of them.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use media_server::access::credentials;
use media_server::clock::Timestamp;
use media_server::http::accept::Accept;
use media_server::http::conditional::{self, Validators};
use media_server::http::range;
use media_server::limits;
use media_server::model::{Jid, Method, Refusal};

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let (first, second, third) = (lines.next(), lines.next(), lines.next());
    check_range(first.unwrap_or_default(), second);
    check_conditions(first, second, third);
    check_credentials(first, second);
    check_accept(first.unwrap_or_default(), second.unwrap_or_default());
    if let Some(first) = first {
        check_token(first);
    }
});

fn validators() -> Validators {
    Validators::new("da39a3ee5e6b", Timestamp::from_micros(1_390_500_000_999_999))
}

fn check_range(field: &str, if_range: Option<&str>) {
    let header = |name: &str| match name {
        "Range" => Some(field),
        "If-Range" => if_range,
        _ => None,
    };
    for size in [0, 1, 10, 1 << 40, u64::MAX] {
        let outcome = range::evaluate(&validators(), header, Method::Get, size);
        if let range::Outcome::Part(part) = &outcome {
            assert!(part.start < part.end && part.end <= size, "{field:?} of {size}");
            assert!(range::content_range(part, size).is_ascii());
        }
        assert_eq!(range::evaluate(&validators(), header, Method::Head, size), range::Outcome::Whole);
        if outcome != range::Outcome::Whole {
            assert!(field.trim_start().to_ascii_lowercase().starts_with("bytes="), "{field:?}");
        }
    }
}

fn check_conditions(first: Option<&str>, second: Option<&str>, third: Option<&str>) {
    let header = |name: &str| -> Vec<&str> {
        match name {
            "If-Match" => third.into_iter().collect(),
            "If-None-Match" => first.into_iter().collect(),
            "If-Modified-Since" | "If-Unmodified-Since" => second.into_iter().collect(),
            _ => Vec::new(),
        }
    };
    let outcomes = [Method::Get, Method::Head, Method::Post, Method::Delete]
        .map(|method| conditional::evaluate(&validators(), header, method));
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[2], outcomes[3]);
    assert_ne!(outcomes[2], conditional::Outcome::NotModified);
    let named =
        |field: Option<&str>| field.is_none_or(|field| field.contains("da39a3ee5e6b") || field.trim() == "*");
    if third.is_some() && !named(third) {
        assert_eq!(outcomes, [conditional::Outcome::PreconditionFailed; 4]);
    }
}

fn check_credentials(auth: Option<&str>, header: Option<&str>) {
    let with_header = credentials::from_request(auth, header);
    // The header beside a parameter is not even looked at.
    assert_eq!(with_header, credentials::from_request(auth, None));
    let Ok(credentials) = credentials::from_request(None, auth) else { return };
    let jid = credentials.jid();
    assert!(jid.bare().local().is_some());
    assert_eq!(jid.to_string().parse::<Jid>().as_ref(), Ok(jid));
}

/// The lines of a list count together, in any order.
fn check_accept(first: &str, second: &str) {
    for range in ["text/html", "*/*"] {
        let quality = |lines: &[&str]| Accept::new(lines.to_vec()).quality(range);
        let both = quality(&[first, second]);
        assert!(both <= 1000 && both == quality(&[first]).max(quality(&[second])));
        assert_eq!(both, quality(&[&format!("{second},{first}")]));
        assert!(both == 0 || format!("{first},{second}").to_ascii_lowercase().contains(range));
    }
}

/// The text itself as a token's contents: refused, or read to the last colon.
fn check_token(text: &str) {
    let token = STANDARD.encode(text);
    let read = credentials::from_request(Some(&token), None);
    assert_eq!(read, credentials::from_request(None, Some(&format!("Basic {token}"))));
    assert_eq!(read, credentials::from_request(Some(token.trim_end_matches('=')), None));
    let known = text.rsplit_once(':').and_then(|(jid, transaction)| {
        let unfit = |c: char| c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}');
        let fits =
            (1..=limits::TRANSACTION_ID_BYTES).contains(&transaction.len()) && !transaction.contains(unfit);
        jid.parse::<Jid>().ok().filter(|jid| fits && jid.bare().local().is_some())
    });
    match (read, known) {
        (Ok(read), Some(jid)) => {
            assert_eq!(*read.jid(), jid);
            assert_eq!(format!("{read:?}"), format!("Credentials({jid}, transaction hidden)"));
        }
        (Err(Refusal::BadCredentials), None) => {}
        (Err(_), Some(_)) if token.len() > limits::TOKEN_BYTES => {}
        other => panic!("{other:?}"),
    }
}
