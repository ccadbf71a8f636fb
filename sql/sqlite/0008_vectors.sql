-- A vector for each passage, as a model made it; '' until one has. Under a model, '' is what it could not.
CREATE TABLE passage_vectors (
    org      TEXT NOT NULL,
    document TEXT NOT NULL,
    place    INTEGER NOT NULL,
    model    TEXT NOT NULL,
    vector   TEXT NOT NULL,
    PRIMARY KEY (org, document, place)
) STRICT;
CREATE INDEX passage_vectors_of ON passage_vectors (model);
INSERT INTO passage_vectors SELECT org, document, place, '', '' FROM passages;

PRAGMA user_version = 8;
