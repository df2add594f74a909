-- The schema of the embedded database, version 3, the first of them. Dates are microseconds since 1970 in UTC.
-- The server runs it in a transaction of its own.

CREATE TABLE medias (
    id TEXT PRIMARY KEY NOT NULL,
    fileName TEXT,
    entityId TEXT NOT NULL,            -- the channel
    author TEXT NOT NULL,              -- the uploader's bare JID
    title TEXT,
    description TEXT,
    mimeType TEXT NOT NULL,
    uploadedDate INTEGER NOT NULL,
    lastUpdatedDate INTEGER NOT NULL,
    fileExtension TEXT,
    shaChecksum TEXT NOT NULL,         -- SHA-1, lower-case hexadecimal
    fileSize INTEGER NOT NULL,         -- bytes
    length INTEGER,                    -- milliseconds
    height INTEGER,                    -- pixels
    width INTEGER,                     -- pixels
    textSize INTEGER NOT NULL          -- bytes of the texts that a client may make long
        GENERATED ALWAYS AS (
            COALESCE(length(CAST(fileName AS BLOB)), 0) + COALESCE(length(CAST(title AS BLOB)), 0)
            + COALESCE(length(CAST(description AS BLOB)), 0)
        ) STORED
) STRICT;
CREATE INDEX medias_listing_idx ON medias (entityId, lastUpdatedDate DESC, id DESC);

-- For quotas: all that a sum reads is in the index.
CREATE INDEX medias_channel_size_idx ON medias (entityId, fileSize, textSize);
CREATE INDEX medias_author_size_idx ON medias (author, fileSize, textSize);

CREATE TABLE previews (
    id TEXT PRIMARY KEY NOT NULL,
    shaChecksum TEXT,
    mediaId TEXT REFERENCES medias (id),
    fileSize INTEGER,
    height INTEGER,
    width INTEGER,
    mimeType TEXT NOT NULL,
    lastUsed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX previews_size_idx ON previews (mediaId, height, width);

CREATE TABLE avatars (
    id INTEGER PRIMARY KEY,
    mediaId TEXT REFERENCES medias (id),
    entityId TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX entity_idx ON avatars (entityId);
CREATE INDEX avatars_media_idx ON avatars (mediaId);

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    "when" INTEGER,
    description TEXT
) STRICT;
INSERT INTO schema_version (version, "when", description)
VALUES (3, unixepoch() * 1000000, 'the embedded database begins here');
