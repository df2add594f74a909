//! The preparation of the parts of XMPP addresses: nodeprep, nameprep and resourceprep (RFC 3920 appendices A and B, RFC
//! 3491), and domain names in other scripts (RFC 3490). Equal parts become equal texts.

use std::borrow::Cow;

use stringprep::tables;
use unicode_normalization::is_nfkc;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::punycode;

/// A profile of stringprep (RFC 3454).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// nodeprep
    Local,
    /// nameprep
    Label,
    /// resourceprep
    Resource,
}

/// The prefix of the ASCII form of a label (RFC 3490 section 5).
const ACE_PREFIX: &str = "xn--";
/// Bytes of a label in the DNS (RFC 1035 section 2.3.4).
const LABEL_BYTES: usize = 63;
/// Characters that separate labels (RFC 3490 section 3.1).
const DOTS: [char; 4] = ['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'];
/// Punctuation that labels of some languages have (RFC 5892 appendix A).
const LABEL_PUNCTUATION: [char; 4] = ['-', '_', '\u{b7}', '\u{30fb}'];

/// Prepares a part. `None` if it is not valid, or if a second preparation would change the result: that would give another
/// address at each reading.
pub(super) fn prepare(part: &str, profile: Profile) -> Option<String> {
    let prepared = once(part, profile)?;
    let again = once(&prepared, profile)?;
    (again == prepared).then(|| prepared.into_owned())
}

/// Prepares a domain name: labels of letters, digits, hyphens and underscores, of any script. So it holds no character with
/// a meaning in paths, headers or XML. An ASCII form becomes the label that it stands for, so each domain has one name.
pub(super) fn prepare_domain(domain: &str) -> Option<String> {
    let labels: Option<Vec<String>> = domain.split(DOTS).map(prepare_label).collect();
    Some(labels?.join("."))
}

/// A prepared domain name as the DNS and certificates have it. `None` if one of its labels is too long for them.
pub(super) fn domain_to_ascii(domain: &str) -> Option<String> {
    let labels: Option<Vec<Cow<'_, str>>> = domain.split('.').map(label_to_ascii).collect();
    Some(labels?.join("."))
}

fn prepare_label(label: &str) -> Option<String> {
    let prepared = prepare(label, Profile::Label)?;
    let valid =
        |c: char| c.is_alphanumeric() || LABEL_PUNCTUATION.contains(&c) || is(c, GeneralCategoryGroup::Mark);
    if prepared.is_empty() || !prepared.chars().all(valid) {
        return None;
    }
    Some(of_ascii_form(&prepared).unwrap_or(prepared))
}

/// The label of an ASCII form. `None` if it is no ASCII form of a label that is prepared: it stands for itself then (RFC
/// 3490 section 4.2).
fn of_ascii_form(label: &str) -> Option<String> {
    let encoded = label.strip_prefix(ACE_PREFIX).filter(|_| label.len() <= LABEL_BYTES)?;
    let decoded = punycode::decode(encoded).filter(|decoded| !decoded.is_ascii())?;
    let is_same = prepare_label(&decoded)? == decoded && label_to_ascii(&decoded)? == label;
    is_same.then_some(decoded)
}

fn label_to_ascii(label: &str) -> Option<Cow<'_, str>> {
    if label.is_ascii() {
        return Some(label.into());
    }
    let ascii = format!("{ACE_PREFIX}{}", punycode::encode(label)?);
    (ascii.len() <= LABEL_BYTES).then(|| ascii.into())
}

fn once(part: &str, profile: Profile) -> Option<Cow<'_, str>> {
    if part.contains(tables::unassigned_code_point) {
        return with_younger(part, profile).map(Cow::Owned);
    }
    known(part, profile)
}

/// Prepares a text of characters of Unicode 3.2.
fn known(text: &str, profile: Profile) -> Option<Cow<'_, str>> {
    match profile {
        Profile::Local => stringprep::nodeprep(text),
        Profile::Label => stringprep::nameprep(text),
        Profile::Resource => stringprep::resourceprep(text),
    }
    .ok()
}

/// Prepares a text in which some characters are younger than Unicode 3.2. The profiles let them stay as they are in what is
/// looked up (RFC 3454 section 7), and XMPP servers do. Permitted are those that no later version of the profiles would
/// change either.
fn with_younger(text: &str, profile: Profile) -> Option<String> {
    let mut prepared = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(tables::unassigned_code_point) {
        let (before, behind) = rest.split_at(at);
        let younger = behind.chars().next()?;
        if !is_stable(younger, profile) {
            return None;
        }
        prepared += &known(before, profile)?;
        prepared.push(younger);
        rest = &behind[younger.len_utf8()..];
    }
    prepared += &known(rest, profile)?;
    (is_nfkc(&prepared) && is_of_one_direction(&prepared)).then_some(prepared)
}

/// Whether it is a letter, mark, number, symbol or punctuation that the case folding of the profile leaves alone.
fn is_stable(c: char, profile: Profile) -> bool {
    let is_visible = !is(c, GeneralCategoryGroup::Other) && !is(c, GeneralCategoryGroup::Separator);
    is_visible && (profile == Profile::Resource || c.to_lowercase().eq([c]))
}

fn is(c: char, group: GeneralCategoryGroup) -> bool {
    c.general_category_group() == group
}

/// RFC 3454 section 6: a text from right to left holds no letters from left to right, and begins and ends with its own.
fn is_of_one_direction(text: &str) -> bool {
    let is_rtl = tables::bidi_r_or_al;
    !text.contains(is_rtl)
        || (!text.contains(tables::bidi_l) && text.starts_with(is_rtl) && text.ends_with(is_rtl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_younger_than_the_profiles_are_permitted_where_nothing_changes_them() {
        use Profile::{Local, Resource};
        for (part, profile, expected) in [
            ("Phone 🤷", Resource, Some("Phone 🤷")),
            ("Gajim.🏳️‍🌈", Resource, Some("Gajim.🏳🌈")),
            ("é🤷É", Resource, Some("é🤷É")),
            ("É🤷É", Local, Some("é🤷é")),
            ("ß🤷", Local, Some("ss🤷")),
            ("ⴀ", Local, Some("ⴀ")),
            // Changed by case folding or by normalisation of today's Unicode.
            ("\u{3f9}", Local, None),
            ("\u{3f9}", Resource, None),
            ("\u{1e9e}", Local, None),
            ("\u{1f100}", Resource, None),
            // A younger combining mark would change places with an older one.
            ("x\u{301}\u{1dca}", Resource, None),
            // Invisible ones: U+2066 turns the direction of text, U+3FFFF is a noncharacter, U+E0100 selects a variant.
            ("a\u{2066}b", Resource, None),
            ("a\u{3ffff}", Resource, None),
            ("🤷\u{a0}", Local, None),
            ("🤷\u{e000}", Resource, None),
            ("🤷\u{7}", Resource, None),
            ("a🤷@b", Local, None),
            ("a🤷 b", Local, None),
            ("ab🤷שלום", Resource, None),
            ("שלום🤷שלום", Resource, Some("שלום🤷שלום")),
        ] {
            assert_eq!(prepare(part, profile).as_deref(), expected, "{part:?} as {profile:?}");
        }
    }

    #[test]
    fn a_domain_has_one_name() {
        for (domain, expected) in [
            ("Example.COM", Some("example.com")),
            ("XN--Bcher-KVA.example", Some("bücher.example")),
            ("BÜCHER。example", Some("bücher.example")),
            ("xn--11b5bs3a9aj6g.xn--11b5bs3a9aj6g", Some("परीक्षा.परीक्षा")),
            ("xn--4dbrk0ce.example", Some("ישראל.example")),
            ("l·l.example", Some("l·l.example")),
            // Not the ASCII form of a prepared label: "faß" is not prepared, the others are invalid.
            ("xn--fa-hia.example", Some("xn--fa-hia.example")),
            ("faß.example", Some("fass.example")),
            ("xn--a.example", Some("xn--a.example")),
            ("xn--.example", Some("xn--.example")),
            ("xn--abc-.example", Some("xn--abc-.example")),
            ("xn--xn--a-epa.example", Some("xn--xn--a-epa.example")),
            // U+2215 in ASCII form.
            ("xn--ab-upt.example", Some("xn--ab-upt.example")),
            ("a..b", None),
            ("", None),
            ("a b", None),
            ("💩.example", None),
            ("a\u{2215}b.example", None),
        ] {
            let prepared = prepare_domain(domain);
            assert_eq!(prepared.as_deref(), expected, "{domain}");
            if let Some(prepared) = prepared {
                assert_eq!(prepare_domain(&prepared), Some(prepared), "again");
            }
        }
    }

    #[test]
    fn the_dns_has_the_ascii_form() {
        assert_eq!(domain_to_ascii("bücher.example.com").as_deref(), Some("xn--bcher-kva.example.com"));
        assert_eq!(domain_to_ascii("example.com").as_deref(), Some("example.com"));
        assert_eq!(domain_to_ascii(&format!("{}.example", "ü".repeat(70))), None);
    }
}
