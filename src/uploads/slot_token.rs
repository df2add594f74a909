//! The token in the URL of a slot's PUT. It holds the whole slot; nothing else is stored about the slot before its PUT.

use crate::clock::Timestamp;
use crate::error::Result;
use crate::limits;
use crate::model::{BareJid, Purpose, UploadId};
use crate::tokens::{self, Fields, Key, Keys, TokenError, TokenKind};

/// The tokens of slots.
pub(super) const SLOTS: TokenKind = TokenKind { name: "slot", life: limits::SLOT_TIME };

/// The fields of a slot besides its id and its file name, to which its token is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotTerms {
    /// When the PUT must have begun.
    pub ends: Timestamp,
    /// The size of the file in bytes.
    pub size: u64,
    /// The user who may send the file.
    pub owner: BareJid,
    /// Its purpose.
    pub purpose: Purpose,
    /// From when on it is gone.
    pub expires: Option<Timestamp>,
    /// Its type, as it was sent.
    pub mime_type: Option<String>,
}

impl SlotTerms {
    /// The token for the PUT of this id and name; `None` if it would be too long.
    pub(super) fn sign(&self, key: &Key, id: &UploadId, name: &str) -> Option<String> {
        let size = i64::try_from(self.size).unwrap_or(i64::MAX).to_be_bytes();
        let ends = self.ends.as_micros().to_be_bytes();
        let expires = self.expires.map(|expires| expires.as_micros().to_be_bytes());
        let fields: [&[u8]; 6] = [
            &ends,
            &size,
            self.owner.as_str().as_bytes(),
            self.purpose.name().as_bytes(),
            expires.as_ref().map_or(&[], |bytes| bytes),
            self.mime_type.as_deref().unwrap_or_default().as_bytes(),
        ];
        tokens::sign(SLOTS, key, &[id.as_str().as_bytes(), name.as_bytes()], &fields)
    }

    /// The slot of a token, for the PUT of this id and name. An error means that the token can't be checked now.
    pub(super) fn verify(
        token: &str,
        keys: &Keys,
        id: &UploadId,
        name: &str,
    ) -> Result<std::result::Result<Self, TokenError>> {
        let fields = keys.verify(token, &[id.as_str().as_bytes(), name.as_bytes()])?;
        Ok(fields.and_then(Self::read))
    }

    fn read(mut fields: Fields) -> std::result::Result<Self, TokenError> {
        let ends = Timestamp::from_micros(fields.next_number()?);
        let size = u64::try_from(fields.next_number()?).map_err(|_| TokenError)?;
        let owner = fields.next_text()?.parse().map_err(|_| TokenError)?;
        let purpose = Purpose::from_name(fields.next_text()?).ok_or(TokenError)?;
        let expires = fields.next_bytes()?;
        let expires = match expires.is_empty() {
            true => None,
            false => Some(expires.try_into().map(i64::from_be_bytes).map_err(|_| TokenError)?),
        };
        let mime_type = Some(fields.next_text()?.to_owned()).filter(|text| !text.is_empty());
        fields.end()?;
        let expires = expires.map(Timestamp::from_micros);
        Ok(Self { ends, size, owner, purpose, expires, mime_type })
    }
}
