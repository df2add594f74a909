//! Lists of objects and of folders, page by page.

use std::collections::VecDeque;
use std::time::SystemTime;

use rusty_s3::Method;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::client::{Client, Object};
use super::failure::Failure;
use super::reply::Fields;
use super::request::{Payload, Request};
use crate::error::Result;

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An object.
    Object(Object),
    /// The prefix that several keys share, up to and including a slash.
    Folder(String),
}

/// The objects whose keys begin with a prefix, in no order. After an error the list has ended.
pub struct List {
    client: Client,
    prefix: String,
    /// Whether keys with a further slash are listed as folders.
    folders: bool,
    page: VecDeque<Entry>,
    next: Next,
}

enum Next {
    Page(Option<String>),
    End,
}

impl Client {
    /// Every object whose key begins with this prefix.
    pub fn list(&self, prefix: &str) -> List {
        self.listed(prefix, false)
    }

    /// The objects and folders in this folder. `folder` ends with a slash, or is empty for the whole bucket.
    pub fn list_folder(&self, folder: &str) -> List {
        self.listed(folder, true)
    }

    fn listed(&self, prefix: &str, folders: bool) -> List {
        let next = Next::Page(None);
        List { client: self.clone(), prefix: prefix.to_owned(), folders, page: VecDeque::new(), next }
    }
}

impl List {
    fn read(&mut self, token: Option<&str>) -> Result<()> {
        let doing = match self.prefix.as_str() {
            "" => "can't list the objects".to_owned(),
            prefix => format!("can't list the objects below {prefix}"),
        };
        let (client, prefix, folders) = (self.client.clone(), self.prefix.clone(), self.folders);
        (self.page, self.next) = client.repeat(&doing, |_| page(&client, &prefix, folders, token))?;
        Ok(())
    }
}

impl Iterator for List {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.pop_front() {
                return Some(Ok(entry));
            }
            let Next::Page(token) = std::mem::replace(&mut self.next, Next::End) else { return None };
            if let Err(error) = self.read(token.as_deref()) {
                return Some(Err(error));
            }
        }
    }
}

fn page(
    client: &Client,
    prefix: &str,
    folders: bool,
    token: Option<&str>,
) -> std::result::Result<(VecDeque<Entry>, Next), Failure> {
    let mut request = Request::new(Method::Get, "").query("list-type", "2").query("prefix", prefix);
    if folders {
        request = request.query("delimiter", "/");
    }
    if let Some(token) = token {
        request = request.query("continuation-token", token);
    }
    let reply = client.0.ask(&request, Payload::Nothing, "ListBucketResult")?;
    let mut entries = VecDeque::new();
    for (name, fields) in &reply.records {
        match name.as_str() {
            "Contents" => entries.push_back(Entry::Object(object(fields)?)),
            "CommonPrefixes" => entries.push_back(Entry::Folder(fields.get("Prefix").to_owned())),
            _ => {}
        }
    }
    let token = reply.fields.get("NextContinuationToken");
    let next = match reply.fields.get("IsTruncated") {
        "true" if token.is_empty() => return Err(Failure::Wrong("its list breaks off".to_owned())),
        "true" => Next::Page(Some(token.to_owned())),
        _ => Next::End,
    };
    Ok((entries, next))
}

fn object(fields: &Fields) -> std::result::Result<Object, Failure> {
    let wrong = || Failure::Wrong("its list has an entry without size or date".to_owned());
    Ok(Object {
        key: fields.get("Key").to_owned(),
        size: fields.get("Size").parse().map_err(|_| wrong())?,
        modified: date(fields.get("LastModified")).ok_or_else(wrong)?,
    })
}

/// Reads a date of a document of the store (RFC 3339).
pub(super) fn date(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}
