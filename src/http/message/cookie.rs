//! Cookies of a request (RFC 6265).

/// The value of the first cookie of this name in the lines of the field `Cookie`.
pub fn cookie<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    let pairs = lines.iter().flat_map(|line| line.split(';'));
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cookie_of_a_name_is_read() {
        for (lines, expected) in [
            (&["a=1"][..], Some("1")),
            (&["b=2; a=1"], Some("1")),
            (&["b=2;a=1;a=3"], Some("1")),
            (&["b=2", " a = x=y "], Some("x=y")),
            (&["a="], Some("")),
            (&["a=\"1\""], Some("\"1\"")),
            (&["a"], None),
            (&["A=1"], None),
            (&["aa=1; b=a=1"], None),
            (&[";;=; =1"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(cookie(lines, "a"), expected, "{lines:?}");
        }
    }
}
