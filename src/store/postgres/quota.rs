//! Quotas: what media take together, and the locks that keep it true until a commit.

use postgres::{GenericClient, Statement, Transaction};
use sha1::{Digest, Sha1};

use super::session::Link;
use super::{PgResult, metadata, queries};
use crate::model::{Channel, Media, Quota, Quotas};

/// Waits until no other transaction holds the lock, which lasts until the end of ours. $1 kind, $2 hash.
const LOCK: &str = "SELECT pg_advisory_xact_lock($1, $2)";

/// The statements for the quotas in force.
pub(super) struct Sums {
    lock: Statement,
    each: Vec<(Quota, u64, Statement)>,
}

impl Sums {
    pub(super) fn prepare(link: &mut Link, quotas: Quotas) -> PgResult<Self> {
        let lock = link.prepare(LOCK)?;
        let each = quotas.each().map(|(quota, most)| Ok((quota, most, link.prepare(&queries::used(quota))?)));
        Ok(Self { each: each.collect::<PgResult<_>>()?, lock })
    }

    /// Lets nobody else add to what is counted with this media before the transaction ends. All take the lock of a
    /// channel before that of a user, and both before that of a row, so none waits for one that waits for it.
    pub(super) fn lock(&self, transaction: &mut Transaction<'_>, media: &Media) -> PgResult<()> {
        for (quota, ..) in &self.each {
            let name = quota.counted(&media.channel, &media.author);
            transaction.execute(&self.lock, &[&kind(*quota), &hash(name)])?;
        }
        Ok(())
    }

    /// The quota that so many bytes more would exceed now.
    pub(super) fn exceeded(
        &self,
        client: &mut impl GenericClient,
        channel: &Channel,
        author: &str,
        cost: u64,
    ) -> PgResult<Option<Quota>> {
        for (quota, most, used) in &self.each {
            let used = client.query_one(used, &[&quota.counted(channel, author)])?.try_get(0)?;
            if Quota::is_exceeded(metadata::used(used), cost, *most) {
                return Ok(Some(*quota));
            }
        }
        Ok(None)
    }
}

/// Tells our locks from one another, and from those of other programs in the same database.
fn kind(quota: Quota) -> i32 {
    match quota {
        Quota::Channel => 0x6d_65_64_63,
        Quota::User => 0x6d_65_64_75,
    }
}

/// The same on every server that shares the database. Two names of one hash only wait for one another.
fn hash(name: &str) -> i32 {
    let digest: [u8; 20] = Sha1::digest(name).into();
    i32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
