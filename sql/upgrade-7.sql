-- Version 7: the table blocks: users who may send no files; indexes for the files of a user, newest first.
BEGIN;

-- First, so that a second run fails before it changes anything.
INSERT INTO schema_version (version, "when", description)
VALUES (7, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'table blocks; indexes for the files of a user');

CREATE TABLE blocks (
    jid TEXT PRIMARY KEY,                                -- the user's bare JID, prepared (RFC 7622)
    since TIMESTAMP NOT NULL,
    "by" TEXT NOT NULL                                   -- the bare JID of the administrator who blocked the user
);

CREATE INDEX medias_author_newest_idx ON medias (author, uploadedDate DESC, id COLLATE "C" DESC);
CREATE INDEX uploads_owner_newest_idx ON uploads (owner, created DESC, id COLLATE "C" DESC)
    WHERE file IS NOT NULL AND owner IS NOT NULL;

COMMIT;
