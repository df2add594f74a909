-- Version 7: the table blocks: users who may send no files; indexes for the files of a user, newest first.
-- The server runs it in a transaction of its own.

INSERT INTO schema_version (version, "when", description)
VALUES (7, unixepoch() * 1000000, 'table blocks; indexes for the files of a user');

CREATE TABLE blocks (
    jid TEXT PRIMARY KEY NOT NULL,     -- the user's bare JID, prepared (RFC 7622)
    since INTEGER NOT NULL,
    "by" TEXT NOT NULL                 -- the bare JID of the administrator who blocked the user
) STRICT, WITHOUT ROWID;

CREATE INDEX medias_author_newest_idx ON medias (author, uploadedDate DESC, id DESC);
CREATE INDEX uploads_owner_newest_idx ON uploads (owner, created DESC, id DESC)
    WHERE file IS NOT NULL AND owner IS NOT NULL;
