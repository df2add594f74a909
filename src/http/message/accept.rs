//! Proactive negotiation: how much a client wants a media type (RFC 9110 section 12.5.1). Only bytes are read; any thread
//! runs it.

/// The quality of a type that is wanted without reserve.
const FULL: u16 = 1000;

/// The lines of a field `Accept`.
#[derive(Clone, Debug)]
pub struct Accept<'a>(Vec<&'a str>);

impl<'a> Accept<'a> {
    /// The fields `Accept` of a request, in their order.
    pub fn new(lines: Vec<&'a str>) -> Self {
        Self(lines)
    }

    /// The highest quality that the client names for exactly this media range, such as `text/html` or `*/*`, in
    /// thousandths: 0 to 1000. 0 as well if it does not name the range. A range with an invalid quality is ignored.
    pub fn quality(&self, range: &str) -> u16 {
        let elements = self.0.iter().flat_map(|line| line.split(','));
        elements.filter_map(|element| quality_of(element, range)).max().unwrap_or(0)
    }
}

/// The quality of this element of the list, if it names the range.
fn quality_of(element: &str, range: &str) -> Option<u16> {
    let mut parts = element.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(range) {
        return None;
    }
    let weight = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| is_weight(name));
    weight.map_or(Some(FULL), |(_, value)| thousandths(value.trim()))
}

fn is_weight(name: &str) -> bool {
    name.trim().eq_ignore_ascii_case("q")
}

/// A weight (RFC 9110 section 12.4.2) in thousandths. Java writes `.2`, which the grammar does not allow.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || whole.len() > 1 || fraction.len() > 3 || !digits(fraction) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "" | "0" => Some(fraction),
        "1" if fraction == 0 => Some(FULL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quality_of_a_range_is_the_highest_that_is_named() {
        for (lines, html) in [
            (&[][..], 0),
            (&[""], 0),
            (&["text/html"], 1000),
            (&["TEXT/Html"], 1000),
            (&["text/html;q=0.5"], 500),
            (&["text/html; charset=utf-8 ; Q=0.25"], 250),
            (&["text/html;q=.2"], 200),
            (&["text/html;q=1.000"], 1000),
            (&["text/html;q=0"], 0),
            (&["text/html;q=0.0, text/html;level=1;q=0.4"], 400),
            (&["application/json, text/html;q=0.7"], 700),
            (&["application/json", "text/html;q=0.7"], 700),
            (&["text/html;q=1.001"], 0),
            (&["text/html;q=2"], 0),
            (&["text/html;q="], 0),
            (&["text/html;q=0.1234"], 0),
            (&["text/html;q=-1"], 0),
            (&["text/html;q=+0"], 0),
            (&["text/html;q=nan"], 0),
            (&["text/html;q=é"], 0),
            (&["text/html;q"], 1000),
            (&["text/*, */*"], 0),
            (&["xtext/html"], 0),
            (&[",,;q=1,=,text/html;,"], 1000),
        ] {
            assert_eq!(Accept::new(lines.to_vec()).quality("text/html"), html, "{lines:?}");
        }
    }
}
