-- Version 8: the table epochs, by which the tickets of a user are revoked; the SHA-256 of media.
BEGIN;

-- First, so that a second run fails before it changes anything.
INSERT INTO schema_version (version, "when", description)
VALUES (8, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'table epochs; the SHA-256 of media');

-- A ticket holds the epoch that its user had when it was made, and counts as long as the user has the same.
CREATE TABLE epochs (
    jid TEXT PRIMARY KEY,                                -- the user's bare JID, prepared (RFC 7622)
    epoch BIGINT NOT NULL                                -- how often the tickets were revoked; without a row 0
);

ALTER TABLE medias ADD COLUMN sha256 TEXT;               -- lower-case hexadecimal; NULL: uploaded before this version

COMMIT;
