//! Sizes and times with units, in whole numbers. Pure text: no I/O, no floating point, no overflow.

use std::time::Duration;

/// The units of sizes; letters of either case are accepted. A number without a unit counts bytes.
const SIZES: &[(&str, u64)] = &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)];

/// The units of times in milliseconds; lower case only.
const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a size such as `100M`: digits, then at most one of the letters K, M, G and T, which stand for powers of
/// 1024. Returns bytes, or nothing where the text is not a size or exceeds a `u64`.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    number.checked_mul(factor(SIZES, &unit.to_ascii_uppercase(), 1)?)
}

/// Reads a time such as `31d` or `500ms`: digits, then at most one of ms, s, m, h and d. `plain` is the unit of a
/// number without one. Returns nothing where the text is not a time or exceeds a `u64` of milliseconds.
pub fn time(text: &str, plain: Duration) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let plain = u64::try_from(plain.as_millis()).ok()?;
    number.checked_mul(factor(TIMES, unit, plain)?).map(Duration::from_millis)
}

/// Writes a size with the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    show(SIZES, bytes, "")
}

/// Writes a time of whole milliseconds with the largest unit that divides it.
pub(super) fn show_time(time: Duration) -> String {
    show(TIMES, u64::try_from(time.as_millis()).unwrap_or(u64::MAX), "s")
}

/// The digits at the start of a text as a number, and the rest.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn factor(units: &[(&str, u64)], unit: &str, plain: u64) -> Option<u64> {
    if unit.is_empty() {
        return Some(plain);
    }
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

fn show(units: &[(&str, u64)], amount: u64, zero: &str) -> String {
    if amount == 0 {
        return format!("0{zero}");
    }
    let unit = units.iter().rev().find(|(_, factor)| amount.is_multiple_of(*factor));
    unit.map_or_else(|| amount.to_string(), |(name, factor)| format!("{}{name}", amount / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let table = [
            ("0", Some(0)),
            ("104857600", Some(104_857_600)),
            ("64K", Some(65_536)),
            ("64k", Some(65_536)),
            ("100M", Some(104_857_600)),
            ("100m", Some(104_857_600)),
            ("1G", Some(1 << 30)),
            ("2T", Some(2 << 40)),
            ("0G", Some(0)),
            ("007K", Some(7168)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("16777215T", Some(16_777_215 << 40)),
            ("16777216T", None),
            ("99999999999999999999999999K", None),
        ];
        for (text, expected) in table {
            assert_eq!(size(text), expected, "{text}");
        }
        for text in ["", "K", "M100", "-1", "+1", "1.5G", "1,5G", "1e3", "0x10", "100 M", " 1", "1 ", "1MB"] {
            assert_eq!(size(text), None, "{text:?}");
        }
        for text in ["1MiB", "1B", "1KK", "1s", "1P", "٥", "٥K", "1µ", "1K\0", "1ſ"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn times() {
        let seconds = |text| time(text, Duration::from_secs(1));
        let table = [
            ("0", Some(0)),
            ("30", Some(30_000)),
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("12h", Some(43_200_000)),
            ("31d", Some(2_678_400_000)),
            ("0d", Some(0)),
            ("18446744073709551615ms", Some(u64::MAX)),
            ("18446744073709551615", None),
            ("18446744073709551615d", None),
            ("213503982334d", Some(213_503_982_334 * 86_400_000)),
            ("213503982335d", None),
        ];
        for (text, expected) in table {
            assert_eq!(seconds(text), expected.map(Duration::from_millis), "{text}");
        }
        for text in ["", "s", "-1s", "1.5h", "1w", "1S", "1M", "1MS", "1 s", "1s ", "1h30m", "1min", "١s"] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
        let milliseconds = |text| time(text, Duration::from_millis(1));
        assert_eq!(milliseconds("30000"), Some(Duration::from_secs(30)));
        assert_eq!(milliseconds("30s"), milliseconds("30000"));
    }

    #[test]
    fn amounts_are_shown_as_they_are_read() {
        for (bytes, shown) in
            [(0, "0"), (1, "1"), (1023, "1023"), (1536, "1536"), (104_857_600, "100M"), (1 << 30, "1G")]
        {
            assert_eq!((show_size(bytes).as_str(), size(shown)), (shown, Some(bytes)));
        }
        for (millis, shown) in [
            (0, "0s"),
            (1, "1ms"),
            (1500, "1500ms"),
            (90_000, "90s"),
            (3_600_000, "1h"),
            (31_536_000_000, "365d"),
        ] {
            let expected = Duration::from_millis(millis);
            assert_eq!((show_time(expected).as_str(), time(shown, expected)), (shown, Some(expected)));
        }
        assert_eq!(show_size(i64::MAX.unsigned_abs()), "9223372036854775807");
    }
}
