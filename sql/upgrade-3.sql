-- Version 3: indexes for listing a channel, for quotas and for the foreign keys; every media has its dates,
-- and each preview of it its own size.
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

-- Bytes of the texts that a client may make long, for quotas. The table is written anew for it, once.
ALTER TABLE medias ADD COLUMN textSize BIGINT NOT NULL GENERATED ALWAYS AS (
    CAST(COALESCE(octet_length(fileName), 0) AS BIGINT) + COALESCE(octet_length(title), 0)
    + COALESCE(octet_length(description), 0)
) STORED;

-- In the order of a list. The collation makes ties fall the same way in every database.
CREATE INDEX medias_listing_idx ON medias (entityId, lastUpdatedDate DESC, id COLLATE "C" DESC);
-- It began with the date, so it served no query.
DROP INDEX IF EXISTS entityUpdated_idx;

-- For quotas: all that a sum reads is in the index.
CREATE INDEX medias_channel_size_idx ON medias (entityId, fileSize, textSize);
CREATE INDEX medias_author_size_idx ON medias (author, fileSize, textSize);

-- One preview for each size of a media: two that were made at once are one too many. The files of those
-- that go are found by fsck.
DELETE FROM previews WHERE EXISTS (
    SELECT 1 FROM previews AS other
    WHERE other.mediaId = previews.mediaId AND other.height = previews.height
        AND other.width = previews.width AND other.id < previews.id
);
ALTER TABLE previews ADD COLUMN lastUsed TIMESTAMP NOT NULL DEFAULT TIMESTAMP 'epoch'; -- UTC
CREATE UNIQUE INDEX previews_size_idx ON previews (mediaId, height, width);
CREATE INDEX avatars_media_idx ON avatars (mediaId);

COMMIT;
