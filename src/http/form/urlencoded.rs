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
            let mut field = collector.open(Some(&name), DataPart::default)?;
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

/// Reads a name, and what ended it: `=`, `&`, or the body's end.
fn read_name(
    source: &mut Source<'_>,
    collector: &mut Collector<'_>,
) -> Result<(String, Option<u8>), Failure> {
    let mut percent = Percent::new(b' ');
    let mut name = Vec::new();
    let stop = source.until(
        |bytes| memchr2(b'=', b'&', bytes),
        |piece| {
            collector.spend(piece.len() + 1)?;
            percent.decode(piece, &mut name)?;
            if name.len() > limits::FIELD_NAME_BYTES { Err(Refusal::FieldTooLong.into()) } else { Ok(()) }
        },
    )?;
    percent.finish()?;
    let name = String::from_utf8(name).map_err(|_| Refusal::NotUtf8)?;
    Ok((name, stop))
}

/// Reads a value into its field; whether another field follows.
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
            percent.decode(piece, &mut text)?;
            let Some(base64) = &mut base64 else { return collector.push(field, &text) };
            data.clear();
            base64.decode(&text, &mut data)?;
            collector.push(field, &data)
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
