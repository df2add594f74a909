//! `/-/...`: the style, the script and the icon of the page, which are part of the program. `-` is no channel, so it hides
//! none. They are sent on a turn, from memory.

use std::fmt::Write;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::http::conditional::{self, Validators};
use crate::http::{Exchange, Response};
use crate::limits;
use crate::model::{Method, Refusal};

/// The methods of these addresses.
const METHODS: &str = "GET, HEAD, OPTIONS";

/// A file of the page.
pub(in crate::web) struct PageFile {
    name: &'static str,
    mime_type: &'static str,
    content: String,
    /// The beginning of its SHA-256, in hexadecimal.
    digest: String,
}

/// The style sheet.
pub(super) static STYLE: LazyLock<PageFile> =
    LazyLock::new(|| PageFile::new("page.css", "text/css; charset=utf-8", include_str!("assets/page.css")));
/// The script.
pub(super) static SCRIPT: LazyLock<PageFile> = LazyLock::new(|| {
    PageFile::new("page.js", "text/javascript; charset=utf-8", include_str!("assets/page.js"))
});
/// The icon of the page in the browser's tab.
pub(super) static ICON: LazyLock<PageFile> =
    LazyLock::new(|| PageFile::new("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")));

impl PageFile {
    fn new(name: &'static str, mime_type: &'static str, source: &str) -> Self {
        let content = without_comments(source);
        let mut digest = String::new();
        for byte in &Sha256::digest(&content)[..8] {
            // Writing to a String can't fail.
            let _ = write!(digest, "{byte:02x}");
        }
        Self { name, mime_type, content, digest }
    }

    /// Its address, relative to that of a page. It changes with the content, so no browser uses an old one.
    pub fn link(&self) -> String {
        format!("./-/{}?{}", self.name, self.digest)
    }

    /// Its size.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.content.len()
    }

    fn response(&self, exchange: &Exchange) -> Response {
        let validators = Validators::new(&self.digest, Timestamp::from_micros(0));
        // It has no date.
        let fields = |name: &str| if name == "If-None-Match" { exchange.headers(name) } else { Vec::new() };
        let response = match conditional::evaluate(&validators, fields, exchange.method()) {
            conditional::Outcome::NotModified => Response::new(304),
            _ => Response::bytes(200, self.mime_type, self.content.clone().into_bytes()),
        };
        response
            .header("ETag", validators.etag().to_owned())
            .header("Cache-Control", format!("public, max-age={}", limits::PAGE_FILE_MAX_AGE.as_secs()))
            .header("X-Content-Type-Options", "nosniff")
            .header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    }
}

/// The file at this path; an error if there is none below `/-/`, and `None` for all other paths.
pub(in crate::web) fn find(path: &str) -> Option<Result<&'static PageFile, Refusal>> {
    let name = path.strip_prefix("/-/")?;
    let files = [&*STYLE, &*SCRIPT, &*ICON];
    Some(files.into_iter().find(|file| file.name == name).ok_or(Refusal::NoSuchRoute))
}

/// The response to a request for such a file.
pub(in crate::web) fn respond(
    exchange: &Exchange,
    file: Result<&PageFile, Refusal>,
) -> Result<Response, Refusal> {
    let file = file?;
    match exchange.method() {
        Method::Get | Method::Head => Ok(file.response(exchange)),
        Method::Options => Ok(Response::new(200).header("Allow", METHODS)),
        _ => Ok(Response::refusal(Refusal::MethodNotAllowed).header("Allow", METHODS)),
    }
}

/// The same style or script without the lines that are comments, and without the indentation: browsers need neither. A
/// comment has lines of its own, which begin with `//`, or with `/*` and end with `*/`; no text goes over several lines.
fn without_comments(source: &str) -> String {
    let is_comment = |line: &&str| line.starts_with("//") || (line.starts_with("/*") && line.ends_with("*/"));
    let lines = source.lines().map(str::trim).filter(|line| !line.is_empty() && !is_comment(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_have_addresses() {
        for (path, expected) in [
            ("/-/page.css", Some(Ok("page.css"))),
            ("/-/page.js", Some(Ok("page.js"))),
            ("/-/icon.svg", Some(Ok("icon.svg"))),
            ("/-/", Some(Err(Refusal::NoSuchRoute))),
            ("/-/page.css/", Some(Err(Refusal::NoSuchRoute))),
            ("/-/../page.css", Some(Err(Refusal::NoSuchRoute))),
            ("/-", None),
            ("/room@example.com/-/page.css", None),
            ("*", None),
        ] {
            let found = find(path).map(|found| found.map(|file| file.name));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn comments_are_left_out_and_nothing_else() {
        let source = "// a\n\nlet a = '//'; // b\n  /* c */\n\tp { color: red }\n";
        assert_eq!(without_comments(source), "let a = '//'; // b\np { color: red }\n");
    }

    #[test]
    fn the_files_load_nothing_and_run_no_text() {
        for file in [&*STYLE, &*SCRIPT, &*ICON] {
            let text = file.content.replace("http://www.w3.org/2000/svg", "");
            for bad in
                ["http:", "https://", "url(", "@import", "eval(", "innerHTML", "outerHTML", "document.write"]
            {
                assert!(!text.contains(bad), "{} has {bad}", file.name);
            }
            assert!(!file.content.contains('\u{fffd}') && file.content.len() < 20_000, "{}", file.name);
        }
    }
}
