-- One row per writing connection of a node: the number of its last committed batch. It is written
-- in the same transaction as the batch, so that a node whose COMMIT was not answered can find out
-- what became of it. (A transaction's own number cannot tell: after a crash of the server it may be
-- given out again.)
CREATE TABLE writers (
    writer uuid PRIMARY KEY,
    batch  bigint NOT NULL,
    at     timestamptz NOT NULL
) WITH (fillfactor = 50);
