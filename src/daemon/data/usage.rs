//! The command `usage`: who stores how much. It reads the sums of table `usage`, so it takes as long on a site of a million
//! files.

use std::io::Write;

use serde::Serialize;

use super::OutputForm;
use super::output::{Output, shown, size};
use crate::config::Config;
use crate::daemon::open;
use crate::error::Result;
use crate::model::{BareJid, Channel};
use crate::store::{NamedSums, UsageKind};

/// The user or channel whose files are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageOf {
    /// Those of each user, of each channel, and all.
    Everybody,
    /// A user's.
    User(BareJid),
    /// A channel's.
    Channel(Channel),
}

/// A result as JSON.
#[derive(Serialize)]
struct UsageJson<'a> {
    id: &'a str,
    kind: &'a str,
    media_files: u64,
    media_bytes: u64,
    upload_files: u64,
    upload_bytes: u64,
}

/// The kinds of sums that are shown: of media and of uploads, and the word for what they are kept of.
type Kinds = (UsageKind, UsageKind, &'static str);

const USERS: Kinds = (UsageKind::User, UsageKind::UploadUser, "user");
// A channel has no uploads.
const CHANNELS: Kinds = (UsageKind::Channel, UsageKind::Channel, "channel");
const TOTAL: Kinds = (UsageKind::Total, UsageKind::UploadTotal, "total");

/// Prints how many files and bytes are stored.
pub fn usage(config: &Config, of: &UsageOf, form: OutputForm, out: &mut dyn Write) -> Result<()> {
    let mut console = open::console(config)?;
    let mut output = Output::new(out, form);
    match of {
        UsageOf::User(user) => {
            let sums = console.sums_of(USERS.0, USERS.1, user.as_str())?;
            tell_all(&mut output, USERS, &[sums]);
        }
        UsageOf::Channel(channel) => {
            let sums = console.sums_of(CHANNELS.0, CHANNELS.1, channel.as_str())?;
            tell_all(&mut output, CHANNELS, &[sums]);
        }
        UsageOf::Everybody => {
            let mut is_first_table = true;
            for kinds in [USERS, CHANNELS] {
                let mut is_first = true;
                console.each_sum(kinds.0, kinds.1, &mut |sums| {
                    if std::mem::take(&mut is_first) {
                        if !std::mem::take(&mut is_first_table) {
                            output.text("");
                        }
                        output.text(&heading(kinds.2));
                    }
                    tell(&mut output, kinds.2, &sums);
                    Ok(())
                })?;
            }
            let sums = console.sums_of(TOTAL.0, TOTAL.1, "")?;
            if !is_first_table {
                output.text("");
            }
            tell_all(&mut output, TOTAL, &[NamedSums { name: "total".to_owned(), ..sums }]);
        }
    }
    output.end();
    Ok(())
}

fn tell_all(output: &mut Output<'_>, kinds: Kinds, sums: &[NamedSums]) {
    output.text(&heading(kinds.2));
    sums.iter().for_each(|sums| tell(output, kinds.2, sums));
}

fn heading(kind: &str) -> String {
    format!("{:>9} {:>10} {:>9} {:>10}  {}", "MEDIA", "SIZE", "UPLOADS", "SIZE", kind.to_uppercase())
}

fn tell(output: &mut Output<'_>, kind: &str, NamedSums { name, media, uploads }: &NamedSums) {
    // For a channel, both kinds of sums are those of its media.
    let uploads = if kind == CHANNELS.2 { Default::default() } else { *uploads };
    let json = UsageJson {
        id: name,
        kind,
        media_files: media.files,
        media_bytes: media.bytes,
        upload_files: uploads.files,
        upload_bytes: uploads.bytes,
    };
    output.result(&json, || {
        let (media_size, uploads_size) = (size(media.bytes), size(uploads.bytes));
        format!("{:>9} {media_size} {:>9} {uploads_size}  {}", media.files, uploads.files, shown(name))
    });
}
