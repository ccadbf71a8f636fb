-- A vector for each passage, as a model made it; '' until one has. Under a model, '' is what it could not.
CREATE TABLE passage_vectors (
    org      text NOT NULL,
    document text NOT NULL,
    place    bigint NOT NULL,
    model    text NOT NULL,
    vector   text NOT NULL,
    PRIMARY KEY (org, document, place)
);
CREATE INDEX passage_vectors_of ON passage_vectors (model);
INSERT INTO passage_vectors SELECT org, document, place, '', '' FROM passages;
