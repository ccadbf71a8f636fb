-- Documents in passages, who may find them, and the index of their words. What a document says of
-- itself is a row of `docs`.
CREATE TABLE passages (
    org      text NOT NULL,
    document text NOT NULL,
    place    bigint NOT NULL,
    text     text NOT NULL,
    words    text NOT NULL,
    length   bigint NOT NULL CHECK (length >= 0),
    found    tsvector GENERATED ALWAYS AS (array_to_tsvector(string_to_array(words, ' '))) STORED,
    PRIMARY KEY (org, document, place)
);
CREATE INDEX passages_found ON passages USING gin (found);

CREATE TABLE passage_readers (
    org      text NOT NULL,
    document text NOT NULL,
    reader   text NOT NULL,
    PRIMARY KEY (org, document, reader)
);

CREATE TABLE passage_labels (
    org      text NOT NULL,
    document text NOT NULL,
    label    text NOT NULL,
    PRIMARY KEY (org, document, label)
);
