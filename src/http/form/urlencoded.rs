//! `application/x-www-form-urlencoded`: `name=value&name=value`; the value of `data` is base64.

use memchr::{memchr, memchr2};

use super::collector::{Collector, Field};
use super::decode::{Base64, Percent};
use super::source::Source;
use super::{DataPart, Failure};
use crate::limits;
use crate::model::Refusal;

/// Reads a form to the end of its body.
pub(super) fn read(source: &mut Source<'_>, collector: &mut Collector<'_>) -> Result<(), Failure> {
    loop {
        let (name, stop) = read_name(source, collector)?;
        if stop == Some(b'=') || !name.is_empty() {
            let mut field = collector.open(Some(&name), DataPart::default())?;
            let more = stop == Some(b'=') && read_value(source, collector, &mut field)?;
            collector.close(field)?;
            if !more && stop != Some(b'&') {
                return Ok(());
            }
        } else if stop.is_none() {
            return Ok(());
        }
    }
}

/// Reads a name and the byte that ended it: `=` or `&`; `None` at the body's end.
fn read_name(
    source: &mut Source<'_>,
    collector: &mut Collector<'_>,
) -> Result<(String, Option<u8>), Failure> {
    let mut percent = Percent::new(b' ');
    let mut name = Vec::new();
    let stop = source.until(
        |bytes| memchr2(b'=', b'&', bytes),
        |piece| {
            collector.spend(piece.len())?;
            let decoded = percent.decode(piece, &mut name);
            if name.len() > limits::FIELD_NAME_BYTES {
                return Err(Refusal::FieldTooLong.into());
            }
            Ok(decoded?)
        },
    )?;
    collector.spend(1)?;
    percent.finish()?;
    let name = String::from_utf8(name).map_err(|_| Refusal::NotUtf8)?;
    Ok((name, stop))
}

/// Reads a value into its field; returns whether another field follows.
fn read_value(
    source: &mut Source<'_>,
    collector: &mut Collector<'_>,
    field: &mut Field,
) -> Result<bool, Failure> {
    // A `+` that a careless sender left unescaped is a space in a text, but a digit in base64.
    let (mut percent, mut base64) = match field {
        Field::Data => (Percent::new(b'+'), Some(Base64::default())),
        _ => (Percent::new(b' '), None),
    };
    let (mut text, mut data) = (Vec::new(), Vec::new());
    let stop = source.until(
        |bytes| memchr(b'&', bytes),
        |piece| {
            text.clear();
            // The bytes before a bad escape are read first: so the first mistake is reported, however the body is split.
            let decoded = percent.decode(piece, &mut text);
            match &mut base64 {
                None => collector.push(field, &text)?,
                Some(base64) => {
                    data.clear();
                    base64.decode(&text, &mut data)?;
                    collector.push(field, &data)?;
                }
            }
            Ok(decoded?)
        },
    )?;
    percent.finish()?;
    if let Some(base64) = base64 {
        data.clear();
        base64.finish(&mut data)?;
        collector.push(field, &data)?;
    }
    Ok(stop.is_some())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::super::Failure;
    use super::super::tests::{Reading, read_every_way, read_pieces};
    use super::*;

    fn parse(body: impl AsRef<[u8]>) -> Reading {
        read_every_way("application/x-www-form-urlencoded; charset=UTF-8", body.as_ref())
    }

    #[test]
    fn fields_are_read_in_every_spelling() {
        let (form, data) =
            parse("&title=a+b%2Bc%26&&description=&Bare&FileName=%C3%A9=%3D&data=QUJD&x=é&%74itle=2&")
                .unwrap();
        assert_eq!(data, b"ABC");
        for (name, text) in
            [("title", "a b+c&"), ("description", ""), ("bare", ""), ("filename", "é=="), ("x", "é")]
        {
            assert_eq!(form.text(name), Some(text), "{name}");
        }
        assert_eq!(form.data(), Some(&DataPart { bytes: 3, ..DataPart::default() }));
    }

    #[test]
    fn data_is_base64_of_every_kind() {
        for body in ["data=-_8B", "data=%2B%2f8B", "DATA=+/8B", "x=y&data=%2B/%0D%0A8B%20", "data=-/\r\n8 B"]
        {
            assert_eq!(parse(body).unwrap().1, [0xfb, 0xff, 0x01], "{body}");
        }
        for (body, bytes) in
            [("data=QQ==", "A"), ("data=QQ%3D%3D&x=", "A"), ("data=QQ", "A"), ("data=", ""), ("data", "")]
        {
            let (form, data) = parse(body).unwrap();
            assert_eq!((data.as_slice(), form.data().is_some()), (bytes.as_bytes(), true), "{body}");
        }
        assert_eq!(parse("title=x").unwrap().0.data(), None);
    }

    #[test]
    fn malformed_fields_are_refused() {
        for (body, refusal) in [
            ("data=Q", Refusal::BadBase64),
            ("data=QUJ!", Refusal::BadBase64),
            ("data=QUI=QUI=", Refusal::BadBase64),
            ("data=Q*%zz", Refusal::BadBase64),
            ("data=%zz*", Refusal::BadForm),
            ("data=QQ==%", Refusal::BadForm),
            ("title=%zz", Refusal::BadForm),
            ("title=%4", Refusal::BadForm),
            ("%4&title=x", Refusal::BadForm),
            ("title=%E9", Refusal::NotUtf8),
            ("%E9=x", Refusal::NotUtf8),
            ("title=a%00b", Refusal::HoldsNul),
            ("data=-_8B&data=-_8B", Refusal::SecondData),
        ] {
            assert_eq!(parse(body), Err(refusal), "{body}");
        }
    }

    #[test]
    fn every_limit_of_a_urlencoded_form_holds() {
        let whole = |body: &str| {
            let read = read_pieces("", body.as_bytes(), usize::MAX, usize::MAX).map(|_| ());
            assert_eq!(read_pieces("", body.as_bytes(), 1000, 1000).map(|_| ()), read);
            read
        };
        let fields = |count: usize| (0..count).map(|at| format!("f{at}=&")).collect::<String>();
        assert_eq!(whole(&fields(limits::FORM_PARTS)), Ok(()));
        assert_eq!(whole(&fields(limits::FORM_PARTS + 1)), Err(Refusal::TooManyParts));
        assert_eq!(whole(&fields(100_000)), Err(Refusal::TooManyParts));

        for (name, max, refusal) in super::super::tests::TEXT_LIMITS {
            let text = |bytes: usize| format!("{name}={}", "%61".repeat(bytes));
            assert_eq!(whole(&text(max)), Ok(()), "{name}");
            assert_eq!(whole(&text(max + 1)), Err(refusal), "{name}");
        }

        let name = |bytes: usize| "n".repeat(bytes) + "=x";
        assert_eq!(whole(&name(limits::FIELD_NAME_BYTES)), Ok(()));
        assert_eq!(whole(&name(limits::FIELD_NAME_BYTES + 1)), Err(Refusal::FieldTooLong));
        assert_eq!(whole(&name(1 << 20)), Err(Refusal::FieldTooLong));

        let overhead = usize::try_from(limits::FORM_OVERHEAD_BYTES).unwrap();
        assert_eq!(whole(&"&".repeat(overhead - 1)), Ok(()));
        assert_eq!(whole(&"&".repeat(overhead + 1)), Err(Refusal::TooLarge));
        assert_eq!(whole(&("x=&x=".to_owned() + &"A".repeat(overhead))), Err(Refusal::TooLarge));
        assert_eq!(whole(&("data=".to_owned() + &"A".repeat(4 * overhead))), Ok(()));
    }

    #[test]
    fn endless_bodies_are_refused() {
        for (start, rest) in [("", b'&'), ("", b'a'), ("title=", b'a'), ("data=", b' '), ("x=&x=", b'A')] {
            let mut body = start.as_bytes().chain(io::repeat(rest));
            let read = super::super::read(None, &mut body, &mut io::sink());
            assert!(matches!(read, Err(Failure::Refused(_))), "{start}{}", char::from(rest));
        }
    }

    #[test]
    fn data_of_any_size_passes_through() {
        const SIZE: u64 = 8 << 20;
        let mut body = b"data=".chain(io::repeat(b'_').take(SIZE));
        let form = super::super::read(None, &mut body, &mut io::sink()).unwrap();
        assert_eq!(form.data().map(|data| data.bytes), Some(SIZE / 4 * 3));
    }
}
