-- Requests to models. What moves of one is a document; these are the lists over them, what was said
-- (sealed), and the ledger of what it cost.
CREATE TABLE requests (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    org        TEXT NOT NULL,
    owner      TEXT NOT NULL,
    name       TEXT NOT NULL,
    state      TEXT NOT NULL,
    priority   INTEGER NOT NULL,
    rank       INTEGER NOT NULL,
    due_at     INTEGER,
    created_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_of_owner ON requests (org, owner, id);
-- The queue, the first first; and what somebody has in hand, by the end of his lease.
CREATE INDEX requests_waiting ON requests (org, rank, id) WHERE state = 'pending';
CREATE INDEX requests_due ON requests (due_at, id) WHERE due_at IS NOT NULL AND state <> 'pending';
CREATE INDEX requests_ended ON requests (ended_at, id) WHERE ended_at IS NOT NULL;

-- The question at place 0, events from the number of the first.
CREATE TABLE request_parts (
    request BLOB NOT NULL CHECK (length(request) = 16),
    place   INTEGER NOT NULL,
    sealed  TEXT NOT NULL,
    PRIMARY KEY (request, place)
) STRICT, WITHOUT ROWID;

-- One row for each attempt; totals are sums of rows.
CREATE TABLE llm_attempts (
    id           BLOB PRIMARY KEY CHECK (length(id) = 16),
    request      BLOB NOT NULL CHECK (length(request) = 16),
    org          TEXT NOT NULL,
    agent        TEXT NOT NULL,
    provider     TEXT NOT NULL,
    model        TEXT NOT NULL,
    task         TEXT NOT NULL,
    day          INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    input        INTEGER NOT NULL CHECK (input >= 0),
    cached_input INTEGER NOT NULL CHECK (cached_input >= 0),
    cache_write  INTEGER NOT NULL CHECK (cache_write >= 0),
    output       INTEGER NOT NULL CHECK (output >= 0),
    reasoning    INTEGER NOT NULL CHECK (reasoning >= 0),
    nanos        INTEGER NOT NULL CHECK (nanos >= 0),
    settled      INTEGER NOT NULL,
    estimated    INTEGER NOT NULL,
    why          TEXT NOT NULL,
    took_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX llm_attempts_at ON llm_attempts (org, at);
CREATE INDEX llm_attempts_of_request ON llm_attempts (request);

PRAGMA user_version = 6;
