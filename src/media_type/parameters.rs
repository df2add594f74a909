//! Parameters of header fields: `value; name=token; name="quoted string"` (RFC 9110 section 5.6.6).

use std::borrow::Cow;

/// A parameter without a value, or a quoted string without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Splits a field into its value, without the white space around it, and its parameters.
pub(crate) fn split(field: &str) -> (&str, Parameters<'_>) {
    match field.split_once(';') {
        Some((value, rest)) => (value.trim(), Parameters { rest }),
        None => (field.trim(), Parameters { rest: "" }),
    }
}

/// The parameters of a field, in order: name as written, value without its quotes.
#[derive(Clone, Debug)]
pub(crate) struct Parameters<'a> {
    rest: &'a str,
}

impl<'a> Parameters<'a> {
    /// The value of the first parameter of this name, in any case.
    pub(crate) fn get(self, wanted: &str) -> Result<Option<Cow<'a, str>>, Malformed> {
        let mut found = None;
        for parameter in self {
            let (name, value) = parameter?;
            if found.is_none() && name.eq_ignore_ascii_case(wanted) {
                found = Some(value);
            }
        }
        Ok(found)
    }

    fn read(&mut self) -> Result<(&'a str, Cow<'a, str>), Malformed> {
        let (name, rest) = self.rest.split_once('=').ok_or(Malformed)?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(';') {
            return Err(Malformed);
        }
        let rest = rest.trim_start();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(';').unwrap_or(rest.len());
                (Cow::Borrowed(rest[..end].trim_end()), &rest[end..])
            }
        };
        self.rest = rest;
        Ok((name, value))
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<(&'a str, Cow<'a, str>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_start_matches([';', ' ', '\t']);
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = "";
        }
        Some(read)
    }
}

/// Reads a quoted string behind its first quote; returns it with what follows it.
fn unquote(quoted: &str) -> Result<(Cow<'_, str>, &str), Malformed> {
    let mut value = Cow::Borrowed("");
    let mut from = 0;
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            // COMPAT: only these two are taken as escaped, for some senders write `C:\holiday.jpg`.
            b'"' | b'\\' if escaped => {
                value += &quoted[from..at - 1];
                from = at;
                escaped = false;
            }
            b'"' => {
                value += &quoted[from..at];
                return after_quote(&quoted[at + 1..]).map(|rest| (value, rest));
            }
            _ => escaped = byte == b'\\',
        }
    }
    Err(Malformed)
}

fn after_quote(rest: &str) -> Result<&str, Malformed> {
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with(';') { Ok(rest) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: &str) -> Option<Vec<(&str, String)>> {
        let (_, parameters) = split(field);
        parameters.map(|parameter| parameter.ok().map(|(name, value)| (name, value.into_owned()))).collect()
    }

    #[test]
    fn parameters_are_read_in_every_spelling() {
        for (field, expected) in [
            ("text/plain", vec![]),
            ("text/plain;", vec![]),
            (" text/plain ; ; charset = utf-8 ;", vec![("charset", "utf-8")]),
            ("x; a=1;b=\"2\"; C=3", vec![("a", "1"), ("b", "2"), ("C", "3")]),
            ("x; a=\"b;c=d\"; e=f", vec![("a", "b;c=d"), ("e", "f")]),
            (r#"x; a="q\"q\\q""#, vec![("a", r#"q"q\q"#)]),
            (r#"x; a="C:\dir\é.png"; b=c"#, vec![("a", r"C:\dir\é.png"), ("b", "c")]),
            (r#"x; a="\\\\host\x""#, vec![("a", r"\\host\x")]),
            ("x; a=a file=name.png ;b=", vec![("a", "a file=name.png"), ("b", "")]),
            ("x; a=\"\"", vec![("a", "")]),
            ("x; a=\"%22\"", vec![("a", "%22")]),
        ] {
            let expected = expected.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
            assert_eq!(read(field), Some(expected), "{field}");
        }
    }

    #[test]
    fn malformed_parameters_are_errors() {
        for field in
            ["x; a", "x; a=\"b", "x; =b", "x; a=\"b\"c", "x; a; b=c", r#"x; a="b\""#, "x; a=\"b\" c=d"]
        {
            assert_eq!(read(field), None, "{field}");
        }
    }

    #[test]
    fn the_first_of_a_name_counts() {
        let (value, parameters) = split("x; A=1; a=2");
        assert_eq!(value, "x");
        assert_eq!(parameters.clone().get("a"), Ok(Some(Cow::Borrowed("1"))));
        assert_eq!(parameters.get("b"), Ok(None));
        assert_eq!(split("x; a=1; broken").1.get("a"), Err(Malformed));
    }
}
