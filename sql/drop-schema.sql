-- Removes the schema of any version, with everything in it; the table configuration stays.
BEGIN;

DROP TABLE IF EXISTS previews;
DROP TABLE IF EXISTS avatars;
DROP TABLE IF EXISTS medias;
DROP TABLE IF EXISTS schema_version;

COMMIT;
