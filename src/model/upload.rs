//! Files that are sent by slot (XEP-0363).

use std::fmt;
use std::str::FromStr;

use super::Refusal;
use crate::clock::Timestamp;
use crate::limits;

/// The purpose of a file, which decides how long it is kept (XEP-0363 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Part of a message.
    Message,
    /// A picture of a profile, such as an avatar.
    Profile,
    /// To be gone at a given date.
    Ephemeral,
    /// Part of something that is published.
    Permanent,
}

impl Purpose {
    /// Every purpose, in the order of the XEP.
    pub const ALL: [Self; 4] = [Self::Message, Self::Profile, Self::Ephemeral, Self::Permanent];

    /// Its name: in `urn:xmpp:http:upload:purpose:0#...`, in the database, and in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Profile => "profile",
            Self::Ephemeral => "ephemeral",
            Self::Permanent => "permanent",
        }
    }

    /// The purpose of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

/// The id of an upload: of our slots letters and digits, which stand in the URL; of the slots of others a hash of their path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(String);

/// Characters of a file's name that are the name of its directory.
const FOLDER_CHARS: usize = 2;
/// Digits of the time in a file's name: enough until the year 2286, when they begin again.
const TIME_DIGITS: usize = 10;
const TIMES: i64 = 10_i64.pow(TIME_DIGITS as u32);

/// The name of an upload's file: [`limits::UPLOAD_ID_CHARS`] letters and digits, made anew for each attempt. The first two
/// are random, and name its directory. In a name that this version makes the time follows, so that the database has uploads of
/// one time close to each other: one upload after the other, and those that expire together. Names of older builds are random
/// throughout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadFile(String);

/// The text is not an id or file name of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadIdError;

impl UploadId {
    /// A new id for a slot.
    ///
    /// # Panics
    /// If the kernel gives no random numbers.
    pub fn random() -> Self {
        Self(super::media::letters(limits::UPLOAD_ID_CHARS))
    }

    /// The id of an external slot, by the hash of its path in hexadecimal. It is longer than an id of ours, so that no path
    /// has the id of another slot.
    pub fn external(hash: String) -> Self {
        debug_assert!(hash.len() > limits::UPLOAD_ID_CHARS);
        Self(hash)
    }

    /// An id of either kind, as the database holds it.
    pub fn stored(text: &str) -> Result<Self, UploadIdError> {
        let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash || is_made_here(text) { Ok(Self(text.to_owned())) } else { Err(UploadIdError) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Parses the id of a slot of ours.
impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        if is_made_here(text) { Ok(Self(text.to_owned())) } else { Err(UploadIdError) }
    }
}

/// The first six characters: the whole id gives access to the file.
impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}...", &self.0[..limits::UPLOAD_ID_SHOWN])
    }
}

impl UploadFile {
    /// A new name: two random characters, ten digits of the seconds since 1970, and random characters.
    ///
    /// # Panics
    /// If the kernel gives no random numbers.
    pub fn made_at(now: Timestamp) -> Self {
        let random = super::media::letters(limits::UPLOAD_ID_CHARS - TIME_DIGITS);
        let (folder, rest) = random.split_at(FOLDER_CHARS);
        let seconds = now.as_micros().div_euclid(1_000_000).rem_euclid(TIMES);
        Self(format!("{folder}{seconds:0TIME_DIGITS$}{rest}"))
    }

    /// A new name, in tests where the time does not matter.
    #[cfg(test)]
    pub fn random() -> Self {
        Self::made_at(Timestamp::from_micros(0))
    }

    /// The name of the directory that it is in.
    pub fn folder(&self) -> &str {
        &self.0[..FOLDER_CHARS]
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadFile {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        if is_made_here(text) { Ok(Self(text.to_owned())) } else { Err(UploadIdError) }
    }
}

impl fmt::Display for UploadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_made_here(text: &str) -> bool {
    text.len() == limits::UPLOAD_ID_CHARS && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An upload with its file: a row of table `uploads` that is not emptied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Its id.
    pub id: UploadId,
    /// The path of an external slot, below `/external/`.
    pub path: Option<String>,
    /// The name of its file.
    pub file: UploadFile,
    /// The uploader's bare JID, if it is known.
    pub owner: Option<String>,
    /// The file name.
    pub file_name: String,
    /// Its media type, as served.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Its purpose.
    pub purpose: Purpose,
    /// When it was stored.
    pub created: Timestamp,
    /// From when on it is gone; `None`: never.
    pub expires: Option<Timestamp>,
    /// When its slot can't be used any more; `None`: never.
    pub slot_ends: Option<Timestamp>,
}

impl Uploaded {
    /// Whether it is gone by this time.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Which uploads are counted together, in bytes of their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UploadQuota {
    /// Those of a user: `upload.quota.user`.
    User,
    /// Those that a user stored within a day: `upload.quota.day`.
    Day,
    /// Those of a user with the upload's purpose, such as `upload.quota.message`.
    Purpose,
    /// All of all users: `upload.quota.all`.
    All,
}

impl From<UploadQuota> for Refusal {
    fn from(quota: UploadQuota) -> Self {
        match quota {
            UploadQuota::User => Self::UploadsFull,
            UploadQuota::Day => Self::DayFull,
            UploadQuota::Purpose => Self::PurposeFull,
            UploadQuota::All => Self::AllFull,
        }
    }
}

/// The quotas of one upload in bytes; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadLimits {
    /// The quota of the user's uploads.
    pub user: Option<u64>,
    /// The quota of the user's uploads within a day.
    pub day: Option<u64>,
    /// The quota of the user's uploads of its purpose.
    pub purpose: Option<u64>,
    /// The quota of all uploads.
    pub all: Option<u64>,
}

impl UploadLimits {
    /// The quota of this kind.
    pub fn of(&self, quota: UploadQuota) -> Option<u64> {
        match quota {
            UploadQuota::User => self.user,
            UploadQuota::Day => self.day,
            UploadQuota::Purpose => self.purpose,
            UploadQuota::All => self.all,
        }
    }

    /// The quotas that are set, in the order in which they are checked.
    pub fn each(self) -> impl Iterator<Item = (UploadQuota, u64)> {
        let all = [UploadQuota::User, UploadQuota::Day, UploadQuota::Purpose, UploadQuota::All];
        all.into_iter().filter_map(move |quota| Some((quota, self.of(quota)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_letters_and_digits_and_shown_by_six_of_them() {
        let (one, other) = (UploadId::random(), UploadId::random());
        assert_ne!(one, other);
        assert_eq!(one.as_str().parse(), Ok(one.clone()));
        assert_eq!(one.to_string(), format!("{}...", &one.as_str()[..6]));
        for text in
            ["", "a", &"a".repeat(23), &"a".repeat(25), &format!("{}/", "a".repeat(23)), &"é".repeat(12)]
        {
            assert!(text.parse::<UploadId>().is_err() && text.parse::<UploadFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_named_by_its_time_after_two_random_characters() {
        let names = |micros| {
            let now = Timestamp::from_micros(micros);
            [(); 2].map(|()| UploadFile::made_at(now))
        };
        for (micros, digits) in [
            (1_700_000_000_999_999, "1700000000"),
            (0, "0000000000"),
            (-1, "9999999999"),
            (10_000_000_001_000_000, "0000000001"),
            (i64::MIN, "6627963145"),
            (i64::MAX, "3372036854"),
        ] {
            let [one, other] = names(micros);
            assert_eq!([&one.as_str()[2..12], &other.as_str()[2..12]], [digits; 2]);
            assert_ne!(one.as_str()[12..], other.as_str()[12..]);
            assert_eq!((one.as_str().parse(), one.folder()), (Ok(one.clone()), &one.as_str()[..2]));
        }
    }

    #[test]
    fn purposes_have_names() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::from_name(purpose.name()), Some(purpose));
        }
        assert_eq!(Purpose::from_name("Message"), None);
    }
}
