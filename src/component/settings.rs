//! The settings of the component.

use super::shown;
use crate::model::BareJid;
use crate::store::FileRow;

/// See the keys `admin.jids` and `http.endpoint`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The administrators.
    pub admins: Vec<BareJid>,
    /// The public URL of the HTTP interface, without a slash at its end.
    pub endpoint: Option<String>,
}

impl Settings {
    /// Whether this user is an administrator.
    pub(super) fn is_admin(&self, user: &BareJid) -> bool {
        self.admins.contains(user)
    }

    /// Where a file is found: a URL, or a path where the endpoint is not known.
    pub(super) fn link(&self, row: &FileRow) -> String {
        let path = shown::path(row);
        match &self.endpoint {
            Some(endpoint) => format!("{endpoint}{path}"),
            None => {
                log::warn!("lists of files have paths instead of links: set http.endpoint");
                path
            }
        }
    }
}
