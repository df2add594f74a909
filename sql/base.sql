-- Version 0: the tables as the first releases of the media server had them.
BEGIN;

CREATE TABLE medias (
    id TEXT PRIMARY KEY,
    fileName TEXT,
    entityId TEXT NOT NULL,                              -- the channel
    author TEXT NOT NULL,                                -- the uploader's bare JID
    title TEXT,
    description TEXT,
    mimeType TEXT NOT NULL,
    uploadedDate TIMESTAMP DEFAULT CURRENT_TIMESTAMP,    -- UTC
    lastUpdatedDate TIMESTAMP DEFAULT CURRENT_TIMESTAMP, -- UTC
    fileExtension TEXT NOT NULL,
    shaChecksum TEXT NOT NULL,                           -- SHA-1, lower-case hexadecimal
    fileSize BIGINT NOT NULL,                            -- bytes
    length BIGINT,                                       -- milliseconds
    height INTEGER,                                      -- pixels
    width INTEGER                                        -- pixels
);
CREATE INDEX entityUpdated_idx ON medias (lastUpdatedDate, entityId);

CREATE TABLE previews (
    id TEXT PRIMARY KEY,
    shaChecksum TEXT,
    mediaId TEXT REFERENCES medias (id),
    fileSize BIGINT,
    height INTEGER,
    width INTEGER,
    mimeType TEXT NOT NULL
);

CREATE TABLE avatars (
    id SERIAL PRIMARY KEY,
    mediaId TEXT REFERENCES medias (id),
    entityId TEXT NOT NULL
);
CREATE UNIQUE INDEX entity_idx ON avatars (entityId);

COMMIT;
