-- Version 10: one index for the uploads of a user instead of three.
-- The server runs it in a transaction of its own.

INSERT INTO schema_version (version, "when", description)
VALUES (10, unixepoch() * 1000000, 'one index for the uploads of a user');

-- Each upload and each sweep wrote to all of them. What they were for is read from uploads_owner_newest_idx.
DROP INDEX uploads_owner_idx;
DROP INDEX uploads_owner_expires_idx;
