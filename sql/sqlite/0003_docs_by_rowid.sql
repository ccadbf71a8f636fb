-- Documents get a rowid. As rows of a tree without one, a large body was part of the key: every
-- search that passed it read all of it. Now searches see names only.
CREATE TABLE docs_by_rowid (
    kind      TEXT NOT NULL,
    org       TEXT NOT NULL,
    id        TEXT NOT NULL,
    version   INTEGER NOT NULL CHECK (version > 0),
    body_json TEXT,
    UNIQUE (kind, org, id)
) STRICT;
INSERT INTO docs_by_rowid (kind, org, id, version, body_json)
    SELECT kind, org, id, version, body_json FROM docs;
DROP TABLE docs;
ALTER TABLE docs_by_rowid RENAME TO docs;

PRAGMA user_version = 3;
