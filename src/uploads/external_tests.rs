use super::*;
use crate::secret::Secret;

const SECRET: &str = "0123456789abcdef";

fn external(protocol: Protocol) -> External {
    External { secret: Secret::new(SECRET), protocol }
}

fn path(text: &str) -> ForeignPath {
    ForeignPath::of(&text.split('/').map(str::to_owned).collect::<Vec<_>>()).unwrap()
}

const NONE: Proof<'static> = Proof { authorization: None, v2: None, v: None, content_type: None };

fn now() -> Timestamp {
    Timestamp::from_micros(1_000_000_000_000_000)
}

fn jwt(header: &str, claims: &str, secret: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = mac(secret.as_bytes(), signed.as_bytes()).finalize().into_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

const HEADER: &str = r#"{"typ":"JWT","alg":"HS256"}"#;
const CLAIMS: &str = r#"{"slot":"abc","exp":1000000001,"iat":999999700,"sub":"Alice@example.org","filename":"x.jpg",
    "filesize":10,"filetype":"image/jpeg","expires":1000600000}"#;

fn verified(token: &str, path_text: &str, size: u64) -> Result<ForeignTerms, Refusal> {
    let authorization = format!("Bearer {token}");
    let proof = Proof { authorization: Some(&authorization), ..NONE };
    verify(&external(Protocol::Jwt), &path(path_text), size, proof, now())
}

#[test]
fn a_token_of_prosody_tells_owner_type_and_end() {
    let terms = verified(&jwt(HEADER, CLAIMS, SECRET), "abc/another name.jpg", 10).unwrap();
    assert_eq!(terms.owner, Some("alice@example.org".parse().unwrap()));
    assert_eq!(terms.mime_type.as_deref(), Some("image/jpeg"));
    assert_eq!(terms.keeps, Keeps::Until(Timestamp::from_micros(1_000_600_000_000_000)));
    for absent in [CLAIMS.replace(r#","expires":1000600000"#, ""), CLAIMS.replace("1000600000", "null")] {
        assert_eq!(verified(&jwt(HEADER, &absent, SECRET), "abc/x", 10).unwrap().keeps, Keeps::Always);
    }
}

#[test]
fn every_other_token_is_refused() {
    let good = jwt(HEADER, CLAIMS, SECRET);
    assert!(verified(&good, "abc/x", 10).is_ok());
    let with = |from: &str, to: &str| {
        assert!(CLAIMS.contains(from), "{from}");
        jwt(HEADER, &CLAIMS.replace(from, to), SECRET)
    };
    for (token, path, size, refusal) in [
        (jwt(HEADER, CLAIMS, "another secret!!"), "abc/x", 10, Refusal::BadSlot),
        (jwt(r#"{"alg":"none"}"#, CLAIMS, SECRET), "abc/x", 10, Refusal::BadSlot),
        (jwt(r#"{"alg":"hs256"}"#, CLAIMS, SECRET), "abc/x", 10, Refusal::BadSlot),
        (jwt(r#"{"alg":"HS256","crit":["x"]}"#, CLAIMS, SECRET), "abc/x", 10, Refusal::BadSlot),
        (jwt(HEADER, "{}", SECRET), "abc/x", 10, Refusal::BadSlot),
        (jwt(HEADER, "[1]", SECRET), "abc/x", 10, Refusal::BadSlot),
        (jwt(HEADER, "no JSON", SECRET), "abc/x", 10, Refusal::BadSlot),
        (good.clone(), "abd/x", 10, Refusal::BadSlot),
        (good.clone(), "abc", 10, Refusal::BadSlot),
        (good.clone(), "abc/x/y", 10, Refusal::BadSlot),
        (good.clone(), "abc/x", 11, Refusal::OtherSize),
        (with("1000000001", "1000000000"), "abc/x", 10, Refusal::SlotEnded),
        (with("1000000001", "\"1000000001\""), "abc/x", 10, Refusal::BadSlot),
        (with(r#""sub":"Alice@example.org","#, ""), "abc/x", 10, Refusal::BadSlot),
        (with("Alice@example.org", "alice@example.org/phone"), "abc/x", 10, Refusal::BadSlot),
        (with("\"filesize\":10", "\"filesize\":10.5"), "abc/x", 10, Refusal::BadSlot),
        (with("\"filesize\":10", "\"filesize\":-10"), "abc/x", 10, Refusal::BadSlot),
        (with("1000600000", "\"soon\""), "abc/x", 10, Refusal::BadSlot),
        (format!("{good}="), "abc/x", 10, Refusal::BadSlot),
        (format!("{good}.x"), "abc/x", 10, Refusal::BadSlot),
        (good.replace('.', ""), "abc/x", 10, Refusal::BadSlot),
        (String::new(), "abc/x", 10, Refusal::BadSlot),
    ] {
        assert_eq!(verified(&token, path, size), Err(refusal), "{token} {path} {size}");
    }
    let payload = good.split('.').nth(1).unwrap();
    for place in 0..payload.len() {
        let mut changed = payload.as_bytes().to_vec();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let token = good.replace(payload, std::str::from_utf8(&changed).unwrap());
        assert_eq!(verified(&token, "abc/x", 10), Err(Refusal::BadSlot), "byte {place}");
    }
    for authorization in ["Basic abc", "Bearer", ""] {
        let proof = Proof { authorization: Some(authorization), ..NONE };
        let refused = verify(&external(Protocol::Jwt), &path("abc/x"), 10, proof, now());
        assert_eq!(refused, Err(Refusal::BadSlot), "{authorization}");
    }
}

fn hex(signed: &str) -> String {
    let mac = mac(SECRET.as_bytes(), signed.as_bytes()).finalize().into_bytes();
    mac.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_hmac_covers_path_size_and_type() {
    let (v, v2) = (hex("a b/ü.jpg 10"), hex("a b/ü.jpg\x0010\0image/jpeg"));
    let check = |protocol, path_text: &str, size, v: &str, v2: &str, content_type| {
        let proof = Proof { authorization: None, v: Some(v), v2: Some(v2), content_type };
        verify(&external(protocol), &path(path_text), size, proof, now())
    };
    let jpeg = Some("image/jpeg");
    for protocol in [Protocol::V, Protocol::V2] {
        let terms = check(protocol, "a b/ü.jpg", 10, &v, &v2, jpeg).unwrap();
        let expected =
            ForeignTerms { owner: None, mime_type: jpeg.map(str::to_owned), keeps: Keeps::AsMessage };
        assert_eq!(terms, expected);
        assert!(check(protocol, "a b/ü.jpg", 10, &v.to_uppercase(), &v2.to_uppercase(), jpeg).is_ok());
        for (path, size, v, v2) in [
            ("a b/u.jpg", 10, v.as_str(), v2.as_str()),
            ("a b/ü.jpg", 11, &v, &v2),
            ("a b/ü.jpg", 10, &v2, &v),
            ("a b/ü.jpg", 10, &v[..63], &v2[..63]),
            ("a b/ü.jpg", 10, "", ""),
            ("a b/ü.jpg", 10, &"é".repeat(32), &"é".repeat(32)),
        ] {
            assert_eq!(check(protocol, path, size, v, v2, jpeg), Err(Refusal::BadSlot), "{path} {size} {v}");
        }
        let nothing = verify(&external(protocol), &path("a b/ü.jpg"), 10, NONE, now());
        assert_eq!(nothing, Err(Refusal::BadSlot));
    }
    // The type counts for v2 alone.
    assert!(check(Protocol::V, "a b/ü.jpg", 10, &v, &v2, Some("text/html")).is_ok());
    assert!(check(Protocol::V2, "a b/ü.jpg", 10, &v, &v2, Some("text/html")).is_err());
    let untyped = hex("x\x001\0application/octet-stream");
    assert!(check(Protocol::V2, "x", 1, "", &untyped, None).is_ok());
    assert!(check(Protocol::Jwt, "a b/ü.jpg", 10, &v, &v2, jpeg).is_err(), "one protocol at a time");
}

#[test]
fn a_path_is_named_by_its_hash() {
    assert_eq!(path("a/b").id(), ForeignPath::of(&["a/b".into()]).unwrap().id());
    assert_ne!(path("a/b").id(), path("a/c").id());
    assert_eq!(path("a/b c.jpg").file_name(), "b c.jpg");
    for segments in [&["a".to_owned(), String::new()][..], &["a\n".into()], &["\u{85}".into()], &[]] {
        assert_eq!(ForeignPath::of(segments), None, "{segments:?}");
    }
}
