//! Settings of the client.

use std::time::Duration;

use crate::secret::Secret;

/// The bucket and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The store's http or https URL. The bucket's name follows in the path.
    pub endpoint: String,
    /// The bucket's name.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The name of the key.
    pub access_key: String,
    /// The key that signs.
    pub secret_key: Secret,
    /// How long a request may make no progress.
    pub timeout: Duration,
}
