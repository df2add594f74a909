//! `ls`: the media of a channel, page by page.

use media_server::limits;
use media_server::model::Channel;
use serde_json::Value;

use crate::config::Config;
use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::http::{Http, Request};
use crate::reader::Reader;
use crate::retry::{Attempt, attempts};
use crate::site::{judged, text};

/// Lists a channel, the newest first.
pub fn list(config: &Config, console: &Console, http: &Http, channel: &Channel) -> Result<Exit> {
    let mut reader = Reader::new(config, console, http, channel, None);
    let endpoint = reader.endpoint()?;
    let list = endpoint.url(&[channel.as_str()]);
    let (mut url, mut results) = (list.clone(), Vec::new());
    for _ in 0..limits::CLIENT_PAGES {
        let (entries, more) = page(&mut reader, console, channel, &url)?;
        let last = entries.last().and_then(id_of).map(str::to_owned);
        for mut entry in entries {
            let Some(id) = id_of(&entry).map(str::to_owned) else { return Err(strange(channel)) };
            if console.is_json() {
                entry["url"] = endpoint.url(&[channel.as_str(), &id]).into();
                results.push(entry);
            } else {
                console.print(&line(&entry, &id))?;
            }
        }
        match last.filter(|_| more) {
            Some(last) => url = format!("{list}?before={last}"),
            None => break,
        }
    }
    if console.is_json() {
        console.print_json(&results)?;
    }
    Ok(Exit::Done)
}

/// The entries of one page, and whether there is another.
fn page(
    reader: &mut Reader<'_>,
    console: &Console,
    channel: &Channel,
    url: &str,
) -> Result<(Vec<Value>, bool)> {
    let (json, more) = attempts(channel.as_str(), console, || {
        let request = Request {
            method: "GET",
            url: url.to_owned(),
            fields: vec![("Accept", "application/json".to_owned())],
        };
        let sent = match reader.send(request) {
            Ok(sent) => sent,
            Err(failure) => return Attempt::Failed(failure),
        };
        match judged(sent) {
            Attempt::Done(mut response) => {
                let mut links =
                    response.headers().get_all("link").iter().filter_map(|link| link.to_str().ok());
                let more = links.any(|link| link.contains("rel=\"next\"") || link.contains("rel=next"));
                text(&mut response, limits::CLIENT_LIST_BYTES)
                    .map_or_else(Attempt::of, |text| Attempt::Done((text, more)))
            }
            Attempt::Again(failure, after) => Attempt::Again(failure, after),
            Attempt::Unreachable(failure) => Attempt::Unreachable(failure),
            Attempt::Failed(failure) => Attempt::Failed(failure),
        }
    })?;
    match serde_json::from_str(&json) {
        Ok(Value::Array(entries)) => Ok((entries, more)),
        _ => Err(strange(channel)),
    }
}

/// The id, if it can stand in a URL.
fn id_of(entry: &Value) -> Option<&str> {
    let id = entry.get("id")?.as_str()?;
    id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)).then_some(id)
}

/// Id, bytes, date and name.
fn line(entry: &Value, id: &str) -> String {
    let of = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let size = entry.get("fileSize").and_then(Value::as_u64).unwrap_or_default();
    let date: String = of("uploadedDate").chars().take("2026-11-22T18:00:00".len()).collect();
    format!("{id}  {size:>11}  {date}  {}", of("fileName"))
}

fn strange(channel: &Channel) -> Failure {
    Failure::new(Exit::NoService, "the server's response can't be understood").of(channel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_begins_with_the_id() {
        let entry = json!({"id": "abc", "fileSize": 60892, "fileName": "a photo.jpg", "uploadedDate": "2026-11-22T18:00:00.000Z"});
        assert_eq!(line(&entry, "abc"), "abc        60892  2026-11-22T18:00:00  a photo.jpg");
        assert_eq!(line(&json!({}), "abc"), "abc            0    ");
    }

    #[test]
    fn an_id_can_not_change_the_request() {
        for (id, good) in
            [("aB0-_", true), ("a&max=1", false), ("a/b", false), ("a b", false), ("a\u{1b}", false)]
        {
            assert_eq!(id_of(&json!({"id": id})).is_some(), good, "{id}");
        }
        assert_eq!(id_of(&json!({"id": 1})), None);
    }
}
