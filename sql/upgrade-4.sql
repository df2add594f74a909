-- Version 4: the table usage, kept by triggers, says how many files and bytes a channel, a user and all of them have.
BEGIN;

-- First, so that a second run fails before it changes anything.
INSERT INTO schema_version (version, "when", description)
VALUES (4, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'table usage');

CREATE TABLE usage (
    kind TEXT NOT NULL,                                  -- channel, total or user
    name TEXT NOT NULL,                                  -- the channel, the user's JID, or nothing
    part SMALLINT NOT NULL,                              -- 0 to 15
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL,                               -- of files and texts
    PRIMARY KEY (kind, name, part)
);

-- What the sums must be, by the rows. No file has more than a PiB, so a number that can't be breaks no sum. A sum has
-- sixteen parts, chosen by the last character of the id, so that uploads at the same time seldom wait for one another.
CREATE VIEW usage_counted (kind, name, part, files, bytes) AS
    SELECT sums.kind, sums.name, ascii(right(id, 1)) % 16, COUNT(*),
        CAST(SUM(textSize + LEAST(GREATEST(fileSize, 0), 1125899906842624)) AS BIGINT)
    FROM medias, LATERAL (VALUES ('channel', entityId), ('total', ''), ('user', author)) AS sums (kind, name)
    GROUP BY 1, 2, 3;

-- Adds what the rows of a statement count to the sums, or takes it from them. All sums of a statement change in the order
-- of kind, name and part: no two statements wait for each other.
CREATE FUNCTION usage_of_inserted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO usage AS kept (kind, name, part, files, bytes)
    SELECT sums.kind, sums.name, ascii(right(id, 1)) % 16, COUNT(*), SUM(textSize + LEAST(GREATEST(fileSize, 0), 1125899906842624))
    FROM inserted, LATERAL (VALUES ('channel', entityId), ('total', ''), ('user', author)) AS sums (kind, name)
    GROUP BY 1, 2, 3 ORDER BY sums.kind COLLATE "C", sums.name COLLATE "C", 3
    ON CONFLICT (kind, name, part) DO UPDATE SET files = kept.files + EXCLUDED.files, bytes = kept.bytes + EXCLUDED.bytes;
    RETURN NULL;
END $$;

CREATE FUNCTION usage_of_deleted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO usage AS kept (kind, name, part, files, bytes)
    SELECT sums.kind, sums.name, ascii(right(id, 1)) % 16, -COUNT(*), -SUM(textSize + LEAST(GREATEST(fileSize, 0), 1125899906842624))
    FROM deleted, LATERAL (VALUES ('channel', entityId), ('total', ''), ('user', author)) AS sums (kind, name)
    GROUP BY 1, 2, 3 ORDER BY sums.kind COLLATE "C", sums.name COLLATE "C", 3
    ON CONFLICT (kind, name, part) DO UPDATE SET files = kept.files + EXCLUDED.files, bytes = kept.bytes + EXCLUDED.bytes;
    -- The name of a user without media is not kept.
    DELETE FROM usage WHERE files = 0 AND bytes = 0 AND (kind, name) IN (
        SELECT 'channel', entityId FROM deleted UNION ALL SELECT 'user', author FROM deleted);
    RETURN NULL;
END $$;

CREATE FUNCTION usage_of_updated() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO usage AS kept (kind, name, part, files, bytes)
    SELECT sums.kind, sums.name, ascii(right(id, 1)) % 16, SUM(files),
        SUM(files * (textSize + LEAST(GREATEST(fileSize, 0), 1125899906842624)))
    FROM (SELECT 1 AS files, id, entityId, author, textSize, fileSize FROM after_update
        UNION ALL SELECT -1, id, entityId, author, textSize, fileSize FROM before_update) AS changes,
    LATERAL (VALUES ('channel', entityId), ('total', ''), ('user', author)) AS sums (kind, name)
    GROUP BY 1, 2, 3
    HAVING SUM(files) <> 0
        OR SUM(files * (textSize + LEAST(GREATEST(fileSize, 0), 1125899906842624))) <> 0
    ORDER BY sums.kind COLLATE "C", sums.name COLLATE "C", 3
    ON CONFLICT (kind, name, part) DO UPDATE SET files = kept.files + EXCLUDED.files, bytes = kept.bytes + EXCLUDED.bytes;
    RETURN NULL;
END $$;

CREATE FUNCTION usage_of_nothing() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM usage;
    RETURN NULL;
END $$;

-- From here on no other transaction writes to the table before this one ends.
CREATE TRIGGER usage_insert AFTER INSERT ON medias REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_inserted();
CREATE TRIGGER usage_delete AFTER DELETE ON medias REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_deleted();
CREATE TRIGGER usage_update AFTER UPDATE ON medias REFERENCING OLD TABLE AS before_update NEW TABLE AS after_update
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_updated();
CREATE TRIGGER usage_truncate AFTER TRUNCATE ON medias
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_nothing();

INSERT INTO usage (kind, name, part, files, bytes) SELECT kind, name, part, files, bytes FROM usage_counted;

-- Quotas read the sums.
DROP INDEX medias_channel_size_idx;
DROP INDEX medias_author_size_idx;

-- An avatar's row is written before its media's, so that a transaction changes the sums last.
DO $$
DECLARE
    reference NAME;
BEGIN
    FOR reference IN SELECT conname FROM pg_constraint WHERE conrelid = 'avatars'::regclass AND contype = 'f' LOOP
        EXECUTE format('ALTER TABLE avatars ALTER CONSTRAINT %I DEFERRABLE INITIALLY DEFERRED', reference);
    END LOOP;
END $$;

COMMIT;
