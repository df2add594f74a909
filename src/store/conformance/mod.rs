//! The cases that every metadata store must pass, on each engine.

pub(super) mod changes;
pub(super) mod pages;
pub(super) mod previews;
pub(super) mod quotas;
pub(super) mod removals;
pub(super) mod state;
pub(super) mod sums;

use super::{MediaInsert, MediaUpdate, Metadata};
use crate::clock::Timestamp;
use crate::limits::MEDIA_COST;
use crate::model::{Channel, Description, Media, MediaId, Page, Preview, Quota, Quotas};

/// A store with an empty database.
pub(super) trait Bench {
    fn store(&self) -> &dyn Metadata;
    /// Runs SQL behind the store's back.
    fn execute(&self, sql: &str);
}

/// A test for each case, on a bench made by the expression.
macro_rules! suite {
    ($bench:expr) => {
        crate::store::conformance::suite!($bench;
            changes {
                a_media_comes_back_as_it_was_stored
                a_media_exists_in_its_channel_only
                storing_twice_succeeds_and_a_taken_id_fails
                a_failed_insert_leaves_nothing
                the_avatar_is_the_last_one_stored
                first_avatars_may_race
                an_update_changes_what_it_names_and_the_date
                a_delete_takes_everything_with_it
                a_second_deletion_finds_nothing
                many_threads_may_insert
                no_text_is_taken_for_sql
            }
            pages {
                lists_are_newest_first_and_ties_by_id
                pages_end_where_their_texts_are_too_long
                pages_lead_through_everything_once
                a_page_after_or_before_a_missing_id_is_empty
                an_unreadable_row_is_left_out
                rows_are_read_in_pages
            }
            previews {
                previews_are_found_by_their_size
                the_previews_used_longest_ago_are_evicted
            }
            removals {
                a_deletion_notes_which_files_must_go
                a_deletion_that_fails_notes_nothing
                a_preview_that_is_evicted_must_go
                a_file_that_a_row_names_is_told_among_the_removals
                each_file_is_known_by_its_row
            }
            quotas {
                a_quota_is_kept_and_a_deletion_gives_room
                a_user_has_one_quota_in_all_channels
                concurrent_inserts_keep_a_quota
                storing_twice_within_a_quota_succeeds
                texts_count_in_a_quota
                impossible_sizes_break_no_sum
                an_update_grows_as_far_as_a_quota_has_room
                an_update_that_does_not_grow_is_never_over_a_quota
                concurrent_updates_keep_a_quota
            }
            sums {
                sums_follow_every_change_of_a_row
                sums_follow_concurrent_changes
                sums_are_counted_for_every_writer
                a_wrong_sum_is_found_and_corrected
            }
            state {
                the_version_of_the_schema_is_told
                a_store_gets_one_id_once
            }
        );
    };
    ($bench:expr; $($topic:ident { $($case:ident)* })*) => {
        $($(#[test]
        fn $case() {
            crate::store::conformance::$topic::$case(&$bench);
        })*)*
    };
}
pub(super) use suite;

/// A media with all its fields set, uploaded at this many microseconds.
pub(super) fn media(channel: &str, id: &str, micros: i64) -> Media {
    Media {
        id: id.parse().unwrap(),
        channel: channel.parse().unwrap(),
        author: "alice@example.org".into(),
        description: Description {
            file_name: Some("a.jpg".into()),
            title: Some("Ein schöner Titel".into()),
            description: Some(String::new()),
        },
        mime_type: "image/jpeg".into(),
        uploaded: Timestamp::from_micros(micros),
        last_updated: Timestamp::from_micros(micros),
        extension: Some("jpg".into()),
        sha1: "bc46e5fac2f1cbb607c8b253a5af33181f161562".into(),
        sha256: Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into()),
        size: 5_000_000_000,
        length: Some(60_000),
        height: Some(312),
        width: Some(400),
    }
}

fn id(text: &str) -> MediaId {
    text.parse().unwrap()
}

fn channel(text: &str) -> Channel {
    text.parse().unwrap()
}

const ROOM: &str = "room@example.org";

fn page(max: usize) -> Page {
    Page { max, after: None, before: None }
}

fn preview(name: &str, side: u32, micros: i64) -> Preview {
    Preview {
        id: id(name),
        height: side,
        width: side + 1,
        mime_type: "image/png".into(),
        size: 5_000_000_000,
        sha1: "bc46".into(),
        last_used: Timestamp::from_micros(micros),
    }
}

/// A media without texts.
fn sized(channel: &str, id: &str, size: u64) -> Media {
    Media { size, description: Description::default(), ..media(channel, id, 1) }
}

/// A description of this many bytes.
fn texts(bytes: usize) -> Description {
    Description { description: Some("x".repeat(bytes)), ..Description::default() }
}

fn update(store: &dyn Metadata, media: &Media, new: &Description, quotas: Quotas) -> MediaUpdate {
    store.update(media, new, Timestamp::from_micros(2), quotas).unwrap()
}

/// Room for this many media, and this many bytes in them.
fn room(media: u64, bytes: u64) -> Option<u64> {
    Some(media * MEDIA_COST + bytes)
}

const OVER_CHANNEL: MediaInsert = MediaInsert::OverQuota(Quota::Channel);
const OVER_USER: MediaInsert = MediaInsert::OverQuota(Quota::User);
