//! `quota`: the command of the server that shows how much the user stores (XEP-0050).

use media_server::xmpp::{Element, ns};
use serde_json::{Map, Value};

use crate::account::Account;
use crate::config::Config;
use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::http::Http;
use crate::login;
use crate::service;

/// Ad-hoc commands (XEP-0050).
const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// The command "How much I use".
const NODE: &str = "quota";

/// Tells how much the user has stored, and how much may be.
pub fn quota(config: &Config, console: &Console, http: &Http) -> Result<Exit> {
    let account = Account::start(login::log_in(config, console, http)?)?;
    let domain = account.jid().bare().domain().to_owned();
    let jid = service::find_server(&account, config.service.as_ref(), &domain)?;
    let command = Element::new("command", COMMANDS).with("node", NODE).with("action", "execute");
    let reply = account.ask_one("set", &jid, command)?;
    let told = read(&reply)
        .ok_or_else(|| Failure::new(Exit::NoService, format!("{jid} does not report the usage")))?;
    if console.is_json() {
        let members = told.into_iter().map(|told| (told.name, Value::String(told.value)));
        console.print_json(&[Value::Object(members.collect::<Map<_, _>>())])?;
    } else {
        for Told { label, value, .. } in told {
            let line = if label.is_empty() { value } else { format!("{label}: {value}") };
            console.print(&line)?;
        }
    }
    Ok(Exit::Done)
}

/// A line of the reply.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    name: String,
    label: String,
    value: String,
}

/// The notes and the fields of a completed command.
fn read(reply: &Element) -> Option<Vec<Told>> {
    let command = reply.child("command", COMMANDS).filter(|_| reply.attribute("type") == Some("result"))?;
    let notes = command.children().filter(|child| child.is("note", COMMANDS)).flat_map(|note| {
        let lines = note.text().lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| Told { name: "note".to_owned(), label: String::new(), value: line.to_owned() })
    });
    let fields = command.child("x", ns::DATA_FORMS).into_iter().flat_map(Element::children).filter_map(field);
    let told: Vec<_> = notes.chain(fields).collect();
    (!told.is_empty()).then_some(told)
}

fn field(field: &Element) -> Option<Told> {
    let is_shown = field.is("field", ns::DATA_FORMS) && field.attribute("type") != Some("hidden");
    let values: Vec<_> =
        field.children().filter(|child| child.is("value", ns::DATA_FORMS)).map(Element::text).collect();
    let name = field.attribute("var").unwrap_or("text");
    (is_shown && !values.is_empty()).then(|| Told {
        name: name.to_owned(),
        label: field.attribute("label").unwrap_or_default().to_owned(),
        value: values.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_and_fields_are_told() {
        let value = |text: &str| Element::new("value", ns::DATA_FORMS).with_text(text);
        let field = |name: &str, kind: &str, label: &str, text: &str| {
            let field = Element::new("field", ns::DATA_FORMS).with("var", name).with("type", kind);
            field.with("label", label).with_child(value(text))
        };
        let form = Element::new("x", ns::DATA_FORMS)
            .with_child(Element::new("title", ns::DATA_FORMS).with_text("How much I use"))
            .with_child(field("FORM_TYPE", "hidden", "", "x"))
            .with_child(field("used", "text-single", "Used", "3 MiB"));
        let note = Element::new("note", COMMANDS).with_text("You use 3 MiB.\n");
        let command = Element::new("command", COMMANDS).with_child(form).with_child(note);
        let reply = Element::new("iq", ns::CLIENT).with("type", "result").with_child(command);
        let told = |name: &str, label: &str, value: &str| Told {
            name: name.into(),
            label: label.into(),
            value: value.into(),
        };
        assert_eq!(
            read(&reply),
            Some(vec![told("note", "", "You use 3 MiB."), told("used", "Used", "3 MiB")])
        );
        assert_eq!(read(&reply.with("type", "error")), None);
    }
}
