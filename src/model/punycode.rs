//! Punycode (RFC 3492): labels of domain names as ASCII.

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// The text that this stands for, without the prefix `xn--`. `None` if it stands for none.
pub(super) fn decode(encoded: &str) -> Option<String> {
    let (basic, digits) = encoded.rsplit_once('-').unwrap_or(("", encoded));
    let mut text: Vec<char> = basic.is_ascii().then(|| basic.chars().collect())?;
    let (mut n, mut at, mut bias) = (INITIAL_N, 0_u32, INITIAL_BIAS);
    let mut digits = digits.bytes().peekable();
    while digits.peek().is_some() {
        let before = at;
        let mut weight = 1_u32;
        for k in (BASE..).step_by(BASE as usize) {
            let digit = value(digits.next()?)?;
            at = digit.checked_mul(weight).and_then(|more| at.checked_add(more))?;
            let threshold = threshold(k, bias);
            if digit < threshold {
                break;
            }
            weight = weight.checked_mul(BASE - threshold)?;
        }
        let length = u32::try_from(text.len()).ok()? + 1;
        bias = adapt(at - before, length, before == 0);
        n = n.checked_add(at / length)?;
        at %= length;
        text.insert(at as usize, char::from_u32(n)?);
        at += 1;
    }
    Some(text.into_iter().collect())
}

/// The text in ASCII, without the prefix `xn--`. `None` if it is far too long for a label.
pub(super) fn encode(text: &str) -> Option<String> {
    let mut encoded: String = text.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(encoded.len()).ok()?;
    if basic > 0 {
        encoded.push('-');
    }
    let length = u32::try_from(text.chars().count()).ok()?;
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0_u32, INITIAL_BIAS, basic);
    while handled < length {
        let next = text.chars().map(u32::from).filter(|c| *c >= n).min()?;
        delta = (next - n).checked_mul(handled + 1).and_then(|more| delta.checked_add(more))?;
        n = next;
        for c in text.chars().map(u32::from) {
            if c < n {
                delta = delta.checked_add(1)?;
            }
            if c == n {
                push_number(&mut encoded, delta, bias);
                bias = adapt(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(encoded)
}

/// A number as digits of variable weight (section 3.3).
fn push_number(encoded: &mut String, mut number: u32, bias: u32) {
    for k in (BASE..).step_by(BASE as usize) {
        let threshold = threshold(k, bias);
        if number < threshold {
            break;
        }
        encoded.push(digit(threshold + (number - threshold) % (BASE - threshold)));
        number = (number - threshold) / (BASE - threshold);
    }
    encoded.push(digit(number));
}

fn threshold(k: u32, bias: u32) -> u32 {
    k.saturating_sub(bias).clamp(T_MIN, T_MAX)
}

/// Section 6.1.
fn adapt(delta: u32, length: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / length;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

fn value(digit: u8) -> Option<u32> {
    match digit {
        b'a'..=b'z' => Some(u32::from(digit - b'a')),
        b'0'..=b'9' => Some(u32::from(digit - b'0') + 26),
        _ => None,
    }
}

fn digit(value: u32) -> char {
    char::from_digit((value + 10) % BASE, BASE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3492 section 7.1, in lower case where the RFC has letters in upper case, and some labels of IANA's.
    const VECTORS: &[(&str, &str)] = &[
        ("ليهمابتكلموشعربي؟", "egbpdaj6bu4bxfgehfvwxn"),
        ("他们为什么不说中文", "ihqwcrb4cv8a8dqg056pqjye"),
        ("pročprostěnemluvíčesky", "proprostnemluvesky-uyb24dma41a"),
        ("почемужеонинеговорятпорусски", "b1abfaaepdrnnbgefbadotcwatmq2g4l"),
        ("tạisaohọkhôngthểchỉnóitiếngviệt", "tisaohkhngthchnitingvit-kjcr8268qyxafd2f1b9g"),
        ("3年b組金八先生", "3b-ww4c5e180e575a65lsy2b"),
        ("-> $1.00 <-", "-> $1.00 <--"),
        ("bücher", "bcher-kva"),
        ("испытание", "80akhbyknj4f"),
        ("परीक्षा", "11b5bs3a9aj6g"),
        ("", ""),
        ("a", "a-"),
    ];

    #[test]
    fn the_vectors_of_the_rfc() {
        for (text, encoded) in VECTORS {
            assert_eq!(encode(text).as_deref(), Some(*encoded));
            assert_eq!(decode(encoded).as_deref(), Some(*text));
        }
    }

    #[test]
    fn invalid_ascii_forms_are_refused() {
        for encoded in ["é", "a-é", "kv", "kva!", "99999999999999", "bcher-KVA"] {
            assert_eq!(decode(encoded), None, "{encoded}");
        }
    }
}
