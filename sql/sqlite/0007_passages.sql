-- Documents in passages, who may find them, and the index of their words. What a document says of
-- itself is a row of `docs`.
CREATE TABLE passages (
    n        INTEGER PRIMARY KEY,
    org      TEXT NOT NULL,
    document TEXT NOT NULL,
    place    INTEGER NOT NULL,
    text     TEXT NOT NULL,
    words    TEXT NOT NULL,
    length   INTEGER NOT NULL CHECK (length >= 0),
    UNIQUE (org, document, place)
) STRICT;

CREATE TABLE passage_readers (
    org      TEXT NOT NULL,
    document TEXT NOT NULL,
    reader   TEXT NOT NULL,
    PRIMARY KEY (org, document, reader)
) STRICT, WITHOUT ROWID;

CREATE TABLE passage_labels (
    org      TEXT NOT NULL,
    document TEXT NOT NULL,
    label    TEXT NOT NULL,
    PRIMARY KEY (org, document, label)
) STRICT, WITHOUT ROWID;

CREATE VIRTUAL TABLE passage_words USING fts5(
    words, content='', contentless_delete=1, tokenize="unicode61 remove_diacritics 0"
);
CREATE TRIGGER passages_written AFTER INSERT ON passages BEGIN
    INSERT INTO passage_words (rowid, words) VALUES (new.n, new.words);
END;
CREATE TRIGGER passages_deleted AFTER DELETE ON passages BEGIN
    DELETE FROM passage_words WHERE rowid = old.n;
END;

PRAGMA user_version = 7;
