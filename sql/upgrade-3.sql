-- Version 3: indexes for listing a channel and for the foreign keys; every media has its dates.
BEGIN;

-- First, so that a second run fails before it changes anything.
INSERT INTO schema_version (version, "when", description)
VALUES (3, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'indexes for listing and for the foreign keys; dates are never missing');

UPDATE medias SET
    uploadedDate = COALESCE(uploadedDate, lastUpdatedDate, TIMESTAMP 'epoch'),
    lastUpdatedDate = COALESCE(lastUpdatedDate, uploadedDate, TIMESTAMP 'epoch')
WHERE uploadedDate IS NULL OR lastUpdatedDate IS NULL;
ALTER TABLE medias ALTER COLUMN uploadedDate SET NOT NULL;
ALTER TABLE medias ALTER COLUMN lastUpdatedDate SET NOT NULL;

-- In the order of a list. The collation makes ties fall the same way in every database.
CREATE INDEX medias_listing_idx ON medias (entityId, lastUpdatedDate DESC, id COLLATE "C" DESC);
-- It began with the date, so it served no query.
DROP INDEX IF EXISTS entityUpdated_idx;

CREATE INDEX previews_media_idx ON previews (mediaId);
CREATE INDEX avatars_media_idx ON avatars (mediaId);

COMMIT;
