-- Requests to models. What moves of one is a document; these are the lists over them, what was said
-- (sealed), and the ledger of what it cost.
CREATE TABLE requests (
    id         uuid PRIMARY KEY,
    org        text NOT NULL,
    owner      text NOT NULL,
    name       text NOT NULL,
    state      text NOT NULL,
    priority   bigint NOT NULL,
    rank       bigint NOT NULL,
    due_at     timestamptz,
    created_at timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE INDEX requests_of_owner ON requests (org, owner, id);
-- The queue, the first first; and what somebody has in hand, by the end of his lease.
CREATE INDEX requests_waiting ON requests (org, rank, id) WHERE state = 'pending';
CREATE INDEX requests_due ON requests (due_at, id) WHERE due_at IS NOT NULL AND state <> 'pending';
CREATE INDEX requests_ended ON requests (ended_at, id) WHERE ended_at IS NOT NULL;

-- The question at place 0, events from the number of the first.
CREATE TABLE request_parts (
    request uuid NOT NULL,
    place   bigint NOT NULL,
    sealed  text NOT NULL,
    PRIMARY KEY (request, place)
);

-- One row for each attempt; totals are sums of rows.
CREATE TABLE llm_attempts (
    id           uuid PRIMARY KEY,
    request      uuid NOT NULL,
    org          text NOT NULL,
    agent        text NOT NULL,
    provider     text NOT NULL,
    model        text NOT NULL,
    task         text NOT NULL,
    day          bigint NOT NULL,
    at           timestamptz NOT NULL,
    input        bigint NOT NULL CHECK (input >= 0),
    cached_input bigint NOT NULL CHECK (cached_input >= 0),
    cache_write  bigint NOT NULL CHECK (cache_write >= 0),
    output       bigint NOT NULL CHECK (output >= 0),
    reasoning    bigint NOT NULL CHECK (reasoning >= 0),
    nanos        bigint NOT NULL CHECK (nanos >= 0),
    settled      bigint NOT NULL,
    estimated    bigint NOT NULL,
    why          text NOT NULL,
    took_ms      bigint NOT NULL
);
CREATE INDEX llm_attempts_at ON llm_attempts (org, at);
CREATE INDEX llm_attempts_of_request ON llm_attempts (request);
