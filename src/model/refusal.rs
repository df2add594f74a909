//! The registry of refusals: all error responses, as data.

use std::fmt;

use crate::error::{Error, Kind};
use crate::remote::NotFetched;

/// Declares [`Refusal`] and its rows: name, status, title, detail, seconds for `Retry-After`.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:literal $title:literal, $detail:literal $(, retry $retry:literal)?;)*) => {
        /// Why a request is refused. Clients read no other error texts than those in this file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[$doc])* #[doc = $detail] $name,)*
        }

        impl Refusal {
            /// Every refusal.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The row of this refusal.
            pub fn row(self) -> RefusalRow {
                match self {
                    $(Self::$name => RefusalRow {
                        name: stringify!($name),
                        status: $status,
                        title: $title,
                        detail: $detail,
                        retry_after: [$($retry,)? 0_u32].first().copied().filter(|seconds| *seconds > 0),
                    },)*
                }
            }
        }
    };
}

/// A row of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalRow {
    /// The refusal's name, for the log.
    pub name: &'static str,
    /// The HTTP status (RFC 9110 section 15).
    pub status: u16,
    /// The `title` of the problem (RFC 9457): the same for every refusal of the kind.
    pub title: &'static str,
    /// The `detail`: what to do about it. `{component}` in it stands for the component's address.
    pub detail: &'static str,
    /// Seconds for `Retry-After`, where trying again may help.
    pub retry_after: Option<u32>,
}

refusals! {
    MalformedRequest = 400 "Malformed request", "The request head is not valid HTTP/1.1.";
    AmbiguousFraming = 400 "Malformed request", "Content-Length or Transfer-Encoding is repeated, contradictory or not valid.";
    MissingHost = 400 "Malformed request", "An HTTP/1.1 request needs exactly one valid Host field.";
    BodyCut = 400 "Incomplete body", "The connection ended before the body did; nothing was stored.";
    MalformedBody = 400 "Malformed body", "The chunked body is not valid.";
    BadPath = 400 "Bad address", "The path has a percent-encoding that is not valid UTF-8.";
    BadChannel = 400 "Bad channel", "A channel is the address of a user, local@domain, of at most 255 bytes.";
    BadMax = 400 "Bad query", "max must be 0 or more.";
    BadSeconds = 400 "Bad query", "seconds must be a number of at least 1.";
    NoCookie = 400 "No cookie", "A ticket can be a cookie only if the endpoint of the server is https and the path is short and plain.";
    TicketTooLong = 400 "No ticket", "The address of the user is too long for a ticket.";
    BadPreviewSize = 400 "Bad query", "maxheight and maxwidth must be 1 or more.";
    OtherSize = 400 "Other size", "The file does not have the size that was announced.";
    PartOfFile = 400 "Part of a file", "Send the whole file; parts of it can't be sent.";
    EmptyBody = 400 "Empty body", "The request needs a form as its body.";
    BadForm = 400 "Bad form", "The form is not valid: its boundary, a part's head, or a percent-encoding is wrong, or its end is missing.";
    TooManyParts = 400 "Bad form", "The form has too many parts.";
    FieldTooLong = 400 "Bad form", "A text field or its name is too long.";
    NotUtf8 = 400 "Bad form", "A text field is not valid UTF-8.";
    HoldsNul = 400 "Bad form", "A text field holds U+0000, which can't be stored.";
    MissingData = 400 "Bad form", "The file must be in the form's field data; a field of another name, such as file, is not accepted.";
    SecondData = 400 "Bad form", "The form has more than one field data; upload each file by a request of its own.";
    BadBase64 = 400 "Bad form", "The field data of an url-encoded form must be base64.";
    BadDeclaredLength = 400 "Bad form", "The field content-length must be the number of bytes of the data.";
    BadMimeType = 400 "Bad form", "The content type must look like type/subtype.";
    NoCredentials = 401 "Credentials needed", "Send base64(JID:transaction-id) as Basic credentials or as the parameter auth, and confirm the request in your XMPP client.";
    BadCredentials = 401 "Credentials not understood", "Credentials are base64(JID:transaction-id).";
    TicketInvalid = 401 "Ticket not valid", "The ticket was changed or revoked; ask for a new one.";
    TicketExpired = 401 "Ticket expired", "The time of the ticket is over; ask for a new one.";
    TicketElsewhere = 403 "Not by this ticket", "The ticket is for another channel.";
    TicketForbids = 403 "Not by this ticket", "A ticket of scope read, in the query or in a cookie can only read; avatars and tickets need a confirmation.";
    NotYours = 403 "Not by this ticket", "With a ticket you can change and delete only your own media.";
    OriginRefused = 403 "Not for this page", "Web pages of this origin get no tickets.";
    NotConfirmed = 403 "Not confirmed", "The request was not confirmed over XMPP in time, or it is not allowed.";
    BadSlot = 403 "Upload not allowed", "This upload address is not valid; ask for a new one.";
    SlotEnded = 403 "Upload not allowed", "The time to send this file is over; ask for a new upload address.";
    SenderRefused = 403 "Upload not allowed", "You may not send files to this server.";
    Denied = 403 "Denied", "The request was denied over XMPP, or could not be delivered to its sender.";
    Forbidden = 403 "Not allowed", "Your affiliation with the channel does not allow this.";
    NoServiceWorker = 403 "Not allowed", "No file of this server may be a service worker.";
    NoSuchRoute = 404 "Not found", "There is nothing at this address.";
    NotServed = 404 "Not found", "This server does not keep the media of this domain.";
    NoSuchMedia = 404 "Not found", "The channel has no such media.";
    NoSuchUpload = 404 "Not found", "There is no such file, or it is not kept any more.";
    MethodNotAllowed = 405 "Method not allowed", "This address does not support this method; see Allow.";
    OnlyAvatars = 405 "Method not allowed", "PUT is for avatars only; upload other media by POST to the channel.";
    TooSlow = 408 "Too slow", "The request did not arrive in time.";
    SlotUsed = 409 "Already sent", "Another file was already sent to this address; ask for a new one.";
    LengthRequired = 411 "Length required", "Send the file with its size as Content-Length.";
    PreconditionFailed = 412 "Precondition failed", "The media is not in the state that the request demands.";
    NoPreview = 412 "No preview", "This media has no preview.";
    NoFilmPreviews = 412 "No preview", "This server makes no previews of films.";
    Undecodable = 412 "No preview", "The media is damaged or of an unusual kind, and can't be decoded.";
    TooManyPixels = 412 "No preview", "The media has more pixels or bytes than this server makes previews of.";
    TooLarge = 413 "Too large", "The data is larger than this server accepts.";
    TextTooLong = 413 "Too large", "A title has at most 1024 bytes, a description 16384.";
    UriTooLong = 414 "Address too long", "The request line is too long.";
    UnsupportedMediaType = 415 "Form not understood", "Send multipart/form-data or application/x-www-form-urlencoded.";
    NoAvatar = 415 "Not an avatar", "An avatar must be a JPEG, PNG, GIF, WebP, BMP, TIFF, HEIC or AVIF picture that this server can decode.";
    UnsupportedCoding = 415 "Coding not understood", "Send the body without Content-Encoding.";
    RangeNotSatisfiable = 416 "Range not satisfiable", "The range begins beyond the end of the media.";
    ExpectationFailed = 417 "Expectation failed", "The only supported expectation is 100-continue.";
    Untranslatable = 422 "Text not storable", "The database of this server can't hold a character of this text, such as an emoji.";
    TooManyForUser = 429 "Too many requests", "Too many requests of this address wait to be confirmed.", retry 30;
    UserSilent = 429 "Too many requests", "Earlier requests of this address were not answered. Write to {component} from your XMPP client, then try again.", retry 600;
    TooManyForAddress = 429 "Too many requests", "Too many requests from this network address wait to be confirmed.", retry 30;
    TooManyLookups = 429 "Too many requests", "Too many channel lookups are pending for this network address.", retry 10;
    TooManyConnections = 429 "Too many connections", "Too many connections from this network address.", retry 10;
    TooFast = 429 "Too many requests", "Requests from this network address come faster than this server allows.", retry 1;
    HeadTooLarge = 431 "Head too large", "The request head is too large or has too many fields.";
    Internal = 500 "Internal error", "The server failed; its log says why.";
    XmppDown = 503 "XMPP unavailable", "The XMPP server can't be reached now.", retry 10;
    ChannelServiceDown = 503 "Channel service unavailable", "The channel's service did not answer.", retry 10;
    RightsUntold = 503 "Rights unknown", "The channel service does not give this server the affiliations of the channel; ask its operator.", retry 300;
    StoreDown = 503 "Storage unavailable", "The file can't be read now.", retry 10;
    DatabaseDown = 503 "Store unavailable", "The database or the store of the files can't be reached now.", retry 10;
    TooManyPending = 503 "Overloaded", "Too many requests wait to be confirmed.", retry 10;
    TooManyUploads = 503 "Overloaded", "Too many uploads are under way.", retry 5;
    TooManyDownloads = 503 "Overloaded", "Too many downloads are under way.", retry 5;
    TooManyPreviews = 503 "Overloaded", "Too many previews are being made.", retry 5;
    PreviewTooSlow = 503 "Overloaded", "Making the preview took too long.", retry 30;
    NoSandbox = 503 "No previews", "This server decodes no pictures at the moment; its log says why.", retry 300;
    Overloaded = 503 "Overloaded", "The server is overloaded.", retry 5;
    Stopping = 503 "Stopping", "The server is being stopped.", retry 5;
    VersionNotSupported = 505 "Version not supported", "This server speaks HTTP/1.1 and HTTP/1.0.";
    ChannelFull = 507 "Quota reached", "The data does not fit into what the channel's media may take together; deleting some of them gives room.";
    UserFull = 507 "Quota reached", "The data does not fit into what your media, of all channels, may take together; deleting some of them gives room.";
    UploadsFull = 507 "Quota reached", "The file does not fit into the space for your uploads; deleting some of them gives room.";
    DayFull = 507 "Quota reached", "The file does not fit into what you may send within 24 hours; try again later.";
    PurposeFull = 507 "Quota reached", "The file does not fit into the space for your uploads of this purpose; deleting some of them gives room.";
    AllFull = 507 "Quota reached", "The file does not fit into the space for all uploads of this server; try again later.";
    StorageFull = 507 "Storage full", "The server has no space left for this.";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RefusalRow { name, status, .. } = self.row();
        write!(f, "{status} {name}")
    }
}

/// So that a refusal can travel through an `io::Read` or `io::Write`.
impl std::error::Error for Refusal {}

impl From<Refusal> for std::io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal)
    }
}

/// The refusal for an error. Its text stays in the log.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.kind() {
            Kind::Unavailable => {
                log::warn!("{error}");
                Self::DatabaseDown
            }
            Kind::Exhausted => {
                log::warn!("{error}");
                Self::Overloaded
            }
            Kind::Untranslatable => {
                log::warn!("{error}");
                Self::Untranslatable
            }
            Kind::Full => {
                log::error!("{error}");
                Self::StorageFull
            }
            Kind::Config | Kind::Corrupt | Kind::Failure => {
                log::error!("{error}");
                Self::Internal
            }
        }
    }
}

/// The refusal for a remote file that can't be fetched. A caller may know a more exact one for a missing file.
impl From<NotFetched> for Refusal {
    fn from(error: NotFetched) -> Self {
        match error {
            NotFetched::Missing => Self::NoSuchMedia,
            NotFetched::Failed => Self::StoreDown,
            NotFetched::Busy => Self::Overloaded,
            NotFetched::TooLarge => Self::TooManyPixels,
        }
    }
}

impl Refusal {
    /// The refusal that travelled in this I/O error, if one did.
    pub fn in_io(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_fit_to_be_read() {
        for refusal in Refusal::ALL {
            let row = refusal.row();
            assert!((400..=599).contains(&row.status), "{refusal}");
            assert!(row.detail.ends_with('.') && !row.title.ends_with('.'), "{refusal}");
            assert_eq!(row.retry_after.is_some(), matches!(row.status, 429 | 503), "{refusal}");
        }
    }

    #[test]
    fn a_refusal_travels_through_io_errors() {
        let error = std::io::Error::from(Refusal::TooLarge);
        assert_eq!(Refusal::in_io(&error), Some(Refusal::TooLarge));
        assert_eq!(Refusal::in_io(&std::io::Error::other("else")), None);
    }

    #[test]
    fn errors_become_refusals_without_their_text() {
        for (kind, refusal) in [
            (Kind::Unavailable, Refusal::DatabaseDown),
            (Kind::Full, Refusal::StorageFull),
            (Kind::Exhausted, Refusal::Overloaded),
            (Kind::Corrupt, Refusal::Internal),
            (Kind::Untranslatable, Refusal::Untranslatable),
        ] {
            assert_eq!(Refusal::from(Error::new(kind, "secret")), refusal);
        }
    }
}
