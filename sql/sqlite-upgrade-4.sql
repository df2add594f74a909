-- Version 4: the table usage, kept by triggers, says how many files and bytes a channel, a user and all of them have.
-- The server runs it in a transaction of its own.

INSERT INTO schema_version (version, "when", description) VALUES (4, unixepoch() * 1000000, 'table usage');

CREATE TABLE usage (
    kind TEXT NOT NULL,                -- channel, total or user
    name TEXT NOT NULL,                -- the channel, the user's JID, or nothing
    part INTEGER NOT NULL,             -- 0: one write runs at a time, so no other would be of use
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,            -- of files and texts
    PRIMARY KEY (kind, name, part)
) STRICT, WITHOUT ROWID;

-- What the sums must be, by the rows. No file has more than a PiB, so a number that can't be breaks no sum.
CREATE VIEW usage_counted (kind, name, part, files, bytes) AS
    SELECT 'channel', entityId, 0, COUNT(*), SUM(textSize + MIN(MAX(fileSize, 0), 1125899906842624)) FROM medias GROUP BY entityId
    UNION ALL
    SELECT 'total', '', 0, COUNT(*), SUM(textSize + MIN(MAX(fileSize, 0), 1125899906842624)) FROM medias HAVING COUNT(*) > 0
    UNION ALL
    SELECT 'user', author, 0, COUNT(*), SUM(textSize + MIN(MAX(fileSize, 0), 1125899906842624)) FROM medias GROUP BY author;

CREATE TRIGGER usage_insert AFTER INSERT ON medias BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) VALUES
        ('channel', NEW.entityId, 0, 1, (NEW.textSize + MIN(MAX(NEW.fileSize, 0), 1125899906842624))),
        ('total', '', 0, 1, (NEW.textSize + MIN(MAX(NEW.fileSize, 0), 1125899906842624))),
        ('user', NEW.author, 0, 1, (NEW.textSize + MIN(MAX(NEW.fileSize, 0), 1125899906842624)))
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER usage_delete AFTER DELETE ON medias BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) VALUES
        ('channel', OLD.entityId, 0, -1, -(OLD.textSize + MIN(MAX(OLD.fileSize, 0), 1125899906842624))),
        ('total', '', 0, -1, -(OLD.textSize + MIN(MAX(OLD.fileSize, 0), 1125899906842624))),
        ('user', OLD.author, 0, -1, -(OLD.textSize + MIN(MAX(OLD.fileSize, 0), 1125899906842624)))
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
    -- The name of a user without media is not kept.
    DELETE FROM usage WHERE files = 0 AND bytes = 0
        AND (kind = 'channel' AND name = OLD.entityId OR kind = 'user' AND name = OLD.author);
END;
CREATE TRIGGER usage_update AFTER UPDATE OF id, entityId, author, fileName, title, description, fileSize ON medias BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) VALUES
        ('channel', OLD.entityId, 0, -1, -(OLD.textSize + MIN(MAX(OLD.fileSize, 0), 1125899906842624))),
        ('total', '', 0, -1, -(OLD.textSize + MIN(MAX(OLD.fileSize, 0), 1125899906842624))),
        ('user', OLD.author, 0, -1, -(OLD.textSize + MIN(MAX(OLD.fileSize, 0), 1125899906842624))),
        ('channel', NEW.entityId, 0, 1, (NEW.textSize + MIN(MAX(NEW.fileSize, 0), 1125899906842624))),
        ('total', '', 0, 1, (NEW.textSize + MIN(MAX(NEW.fileSize, 0), 1125899906842624))),
        ('user', NEW.author, 0, 1, (NEW.textSize + MIN(MAX(NEW.fileSize, 0), 1125899906842624)))
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
    DELETE FROM usage WHERE files = 0 AND bytes = 0
        AND (kind = 'channel' AND name = OLD.entityId OR kind = 'user' AND name = OLD.author);
END;

INSERT INTO usage (kind, name, part, files, bytes) SELECT kind, name, part, files, bytes FROM usage_counted;

-- Quotas read the sums.
DROP INDEX medias_channel_size_idx;
DROP INDEX medias_author_size_idx;

-- An avatar's row is written before its media's.
DROP INDEX entity_idx;
DROP INDEX avatars_media_idx;
ALTER TABLE avatars RENAME TO avatars_3;
CREATE TABLE avatars (
    id INTEGER PRIMARY KEY,
    mediaId TEXT REFERENCES medias (id) DEFERRABLE INITIALLY DEFERRED,
    entityId TEXT NOT NULL
) STRICT;
INSERT INTO avatars (id, mediaId, entityId) SELECT id, mediaId, entityId FROM avatars_3;
DROP TABLE avatars_3;
CREATE UNIQUE INDEX entity_idx ON avatars (entityId);
CREATE INDEX avatars_media_idx ON avatars (mediaId);
