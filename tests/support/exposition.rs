//! The text format of Prometheus 0.0.4, read strictly: one way to write everything, and the naming rules that
//! promtool checks.

use std::collections::BTreeSet;

/// The family of one name.
#[derive(Debug)]
pub struct Family {
    /// The name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its type.
    pub help: String,
    /// The numbers.
    pub samples: Vec<Sample>,
}

/// A line with a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The family's name, for a histogram with one of its endings.
    pub name: String,
    /// Names and values of the labels, in their order.
    pub labels: Labels,
    /// The number.
    pub value: f64,
}

/// Reads a whole text.
pub fn parse(text: &str) -> Result<Vec<Family>, String> {
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut families: Vec<Family> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let read = if let Some(rest) = line.strip_prefix("# HELP ") {
            let kind = lines.next().map(|(_, line)| line).unwrap_or_default();
            family(rest, kind).map(|family| families.push(family))
        } else {
            let family = families.last_mut().ok_or("a sample without a family")?;
            sample(line).map(|sample| family.samples.push(sample))
        };
        read.map_err(|what| format!("line {}: {what}: {line}", number + 1))?;
    }
    let mut names = BTreeSet::new();
    for family in &families {
        if !names.insert(&family.name) {
            return Err(format!("{} comes twice", family.name));
        }
        check(family).map_err(|what| format!("{}: {what}", family.name))?;
    }
    Ok(families)
}

/// The value of a sample, written `name{label=value,…}`; the labels are all it has, in their order.
pub fn value(families: &[Family], wanted: &str) -> Option<f64> {
    let written = |sample: &&Sample| {
        let labels: Vec<_> = sample.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{}{labels}", sample.name) == wanted
    };
    families.iter().flat_map(|family| &family.samples).find(written).map(|sample| sample.value)
}

fn family(help: &str, kind: &str) -> Result<Family, String> {
    let (name, help) = help.split_once(' ').ok_or("no help")?;
    let rest = kind.strip_prefix("# TYPE ").ok_or("no TYPE line behind HELP")?;
    let kind =
        rest.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).ok_or("another name in TYPE")?;
    if !matches!(kind, "counter" | "gauge" | "histogram") {
        return Err(format!("unknown type {kind}"));
    }
    let help = unescape(help, false)?;
    Ok(Family { name: named(name, true)?, kind: kind.to_owned(), help, samples: Vec::new() })
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let name = named(&line[..end], true)?;
    let (labels, value) = match line[end..].strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), &line[end..]),
    };
    let value = value.strip_prefix(' ').ok_or("no blank before the value")?;
    Ok(Sample { name, labels, value: number(value)? })
}

/// Names and values, in their order.
pub type Labels = Vec<(String, String)>;

/// Labels from behind their opening brace; and what is behind the closing one.
fn labels(mut text: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    loop {
        let (name, rest) = text.split_once("=\"").ok_or("no value of a label")?;
        let end = closing_quote(rest).ok_or("a label's value has no end")?;
        if labels.iter().any(|(known, _)| known == name) {
            return Err(format!("the label {name} comes twice"));
        }
        labels.push((named(name, false)?, unescape(&rest[..end], true)?));
        let rest = &rest[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => text = more,
            None => return Ok((labels, rest.strip_prefix('}').ok_or("no closing brace")?)),
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return Some(at),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    None
}

fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if quotes => '"',
                other => return Err(format!("unknown escape {other:?}")),
            },
            c => c,
        });
    }
    Ok(plain)
}

fn number(text: &str) -> Result<f64, String> {
    let wrong = || format!("not a number: {text}");
    match text {
        "NaN" => Ok(f64::NAN),
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        _ if text.contains(|c: char| !c.is_ascii_digit() && !"-.eE+".contains(c)) => Err(wrong()),
        _ => text.parse().map_err(|_| wrong()),
    }
}

fn named(name: &str, metric: bool) -> Result<String, String> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || (metric && c == ':');
    if name.starts_with(first)
        && name.chars().all(|c| first(c) || c.is_ascii_digit())
        && !name.starts_with("__")
    {
        return Ok(name.to_owned());
    }
    Err(format!("not a name: {name}"))
}

/// The rules for a whole family.
fn check(family: &Family) -> Result<(), String> {
    let Family { name, kind, help, samples } = family;
    if !help.ends_with('.') {
        return Err("the help is no sentence".to_owned());
    }
    if (kind == "counter") != name.ends_with("_total") {
        return Err(format!("a {kind} of this name"));
    }
    if ["_bucket", "_sum", "_count"].iter().any(|ending| name.ends_with(ending)) {
        return Err("an ending that histograms have".to_owned());
    }
    for (at, sample) in samples.iter().enumerate() {
        if samples[..at].iter().any(|other| other.name == sample.name && other.labels == sample.labels) {
            return Err(format!("{sample:?} comes twice"));
        }
        if kind == "counter" && (sample.value.is_nan() || sample.value < 0.0) {
            return Err(format!("{sample:?} is no count"));
        }
        if kind != "histogram"
            && (sample.name != *name || sample.labels.iter().any(|(label, _)| label == "le"))
        {
            return Err(format!("{sample:?} does not belong here"));
        }
    }
    if kind == "histogram" { check_histogram(name, samples) } else { Ok(()) }
}

/// Each histogram: its buckets in order, the last one of all, then sum and count.
fn check_histogram(name: &str, samples: &[Sample]) -> Result<(), String> {
    let mut rest = samples;
    while !rest.is_empty() {
        let ending = |sample: &Sample| sample.name.strip_prefix(name).unwrap_or_default().to_owned();
        let length = rest.iter().take_while(|sample| ending(sample) == "_bucket").count();
        let [buckets @ .., sum, count] = rest.get(..length + 2).ok_or("a histogram without its end")? else {
            return Err("a histogram without its end".to_owned());
        };
        if ending(sum) != "_sum" || ending(count) != "_count" || sum.labels != count.labels {
            return Err(format!("no sum and count: {sum:?} {count:?}"));
        }
        check_buckets(buckets, count)?;
        rest = &rest[length + 2..];
    }
    Ok(())
}

fn check_buckets(buckets: &[Sample], count: &Sample) -> Result<(), String> {
    let (mut bound, mut below) = (f64::NEG_INFINITY, 0.0);
    for bucket in buckets {
        let [labels @ .., (label, le)] = bucket.labels.as_slice() else {
            return Err(format!("a bucket without le: {bucket:?}"));
        };
        let next = number(le)?;
        if label != "le" || labels != count.labels || next <= bound || bucket.value < below {
            return Err(format!("not the next bucket: {bucket:?}"));
        }
        (bound, below) = (next, bucket.value);
    }
    if bound != f64::INFINITY || below != count.value {
        return Err(format!("the last bucket is not all: {count:?}"));
    }
    Ok(())
}
