-- Version 10: one index for the uploads of a user instead of three.
BEGIN;

-- First, so that a second run fails before it changes anything.
INSERT INTO schema_version (version, "when", description)
VALUES (10, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'one index for the uploads of a user');

-- Each upload and each sweep wrote to all of them. What they were for is read from uploads_owner_newest_idx.
DROP INDEX uploads_owner_idx;
DROP INDEX uploads_owner_expires_idx;

COMMIT;
