//! `rm`, `set` and `ticket`: requests without a file.

use media_server::model::Channel;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::address::Target;
use crate::args::Changes;
use crate::config::Config;
use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::http::{Http, Payload, Request};
use crate::put::Told;
use crate::retry::attempts;
use crate::site::{Credentials, Site, judged, small_text};
use crate::ticket::{self, Scope};

/// Deletes media. A failure is reported, and the others go on.
pub fn remove(config: &Config, console: &Console, http: &Http, targets: &[Target]) -> Result<Exit> {
    let mut told = Told::new(console);
    let mut sites: Vec<(&str, Site<'_>)> = Vec::new();
    for target in targets {
        let domain = target.channel.domain();
        let known = sites.iter().position(|(known, _)| *known == domain);
        let number = match known {
            Some(number) => number,
            None => {
                sites.push((domain, Site::find(config, console, http, domain)?));
                sites.len() - 1
            }
        };
        let site = &sites[number].1;
        let removed = site.url(target).and_then(|url| {
            send(site, "DELETE", &url, None)?;
            console.detail(format!("{target} is deleted"));
            Ok(url)
        });
        // Only the JSON output lists deleted media.
        told.take(removed.map(|url| match console.is_json() {
            true => json!({"url": url, "id": target.id}),
            false => Value::Null,
        }));
    }
    told.end()
}

/// Changes the texts of a media.
pub fn set(
    config: &Config,
    console: &Console,
    http: &Http,
    target: &Target,
    changes: &Changes,
) -> Result<Exit> {
    let site = Site::find(config, console, http, target.channel.domain())?;
    let url = site.url(target)?;
    let text = send(&site, "POST", &url, Some(&form(changes)))?;
    if console.is_json() {
        console.print_json(&[with_address(text.as_deref(), url, &target.id)])?;
    }
    Ok(Exit::Done)
}

/// Prints a ticket.
pub fn ticket(
    config: &Config,
    console: &Console,
    http: &Http,
    channel: &Channel,
    post: bool,
) -> Result<Exit> {
    let site = Site::find(config, console, http, channel.domain())?;
    let scope = if post { Scope::Post } else { Scope::Read };
    let ticket = ticket::obtain(&site, channel, scope)?;
    let ticket = ticket
        .ok_or_else(|| Failure::new(Exit::NoService, format!("{} gives no tickets", site.endpoint())))?;
    let text = ticket::text_of(&ticket)?;
    if console.is_json() {
        console.print_json(&[ticket])?;
    } else {
        console.print(&text)?;
    }
    Ok(Exit::Done)
}

/// Sends a request with an url-encoded form or without a body; gives the text of its response.
fn send(site: &Site<'_>, method: &'static str, url: &str, form: Option<&str>) -> Result<Option<String>> {
    let mut response = attempts(url, site.console, || {
        let mut request = Request { method, url: url.to_owned(), fields: Vec::new() };
        let payload = match form {
            Some(form) => {
                request.fields.push(("Content-Type", "application/x-www-form-urlencoded".to_owned()));
                Payload::Bytes(form.as_bytes())
            }
            None => Payload::Nothing,
        };
        judged(site.send(request, payload, Credentials::Confirmed))
    })?;
    // So that the connection is free for the next request.
    Ok(small_text(&mut response))
}

/// The metadata of a response, with the address of the media; the address alone where the response has no JSON object.
fn with_address(text: Option<&str>, url: String, id: &str) -> Value {
    let stored = text.and_then(|text| serde_json::from_str(text).ok()).filter(Value::is_object);
    let mut stored = stored.unwrap_or_else(|| json!({}));
    stored["url"] = url.into();
    stored["id"] = id.into();
    stored
}

fn form(changes: &Changes) -> String {
    let field = |name: &str, value: &Option<String>| {
        let encoded = utf8_percent_encode(value.as_deref()?, NON_ALPHANUMERIC);
        Some(format!("{name}={encoded}"))
    };
    let fields = [
        field("title", &changes.title),
        field("description", &changes.description),
        field("filename", &changes.name),
    ];
    fields.into_iter().flatten().collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_told_whatever_the_response_is() {
        let address = json!({"url": "https://a/b", "id": "b"});
        for text in
            [None, Some(""), Some("{"), Some("[]"), Some("[1]"), Some("\"x\""), Some("1"), Some("null")]
        {
            assert_eq!(with_address(text, "https://a/b".to_owned(), "b"), address, "{text:?}");
        }
        let stored = with_address(Some("{\"title\":\"T\",\"id\":1}"), "https://a/b".to_owned(), "b");
        assert_eq!(stored, json!({"title": "T", "url": "https://a/b", "id": "b"}));
    }

    #[test]
    fn texts_are_encoded() {
        let changes =
            Changes { title: Some("a&b=ä +".into()), description: None, name: Some("x.jpg".into()) };
        assert_eq!(form(&changes), "title=a%26b%3D%C3%A4%20%2B&filename=x%2Ejpg");
        let empty = Changes { title: Some(String::new()), ..Changes::default() };
        assert_eq!(form(&empty), "title=");
    }
}
