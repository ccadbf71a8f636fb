-- Everything hundi remembers. Amounts are minor units. Names compare byte by byte. JSON columns are `json` and not `jsonb`:
-- they must read back exactly as they were written (jsonb rewrites numbers and refuses \u0000),
-- and nothing searches inside them.

-- Small numbers that every node moves: the audit's last sequence number, the epoch of documents.
CREATE TABLE counters (
    name  text PRIMARY KEY,
    value bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO counters (name, value) VALUES ('last_seq', 0), ('docs_epoch', 0), ('ping', 0);

-- `fixed` is never written again; the rest moves, one version at a time. `due_at` is set while
-- time can change something: when a held or allowed proposal lapses, when the lease of an
-- unsettled one ends.
CREATE TABLE proposals (
    id         uuid PRIMARY KEY,
    org        text COLLATE "C" NOT NULL,
    agent      text COLLATE "C" NOT NULL,
    tool       text NOT NULL,
    caller_key text COLLATE "C",
    amount     bigint,
    payee      text,
    vendor     text,
    created_at timestamptz NOT NULL,
    fixed      json NOT NULL,
    state      text NOT NULL,
    version    bigint NOT NULL,
    due_at     timestamptz,
    moving     json NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX proposals_of_agent ON proposals (org, agent, id);
-- An idempotency key names one proposal for ever.
CREATE UNIQUE INDEX proposals_caller_key ON proposals (org, agent, caller_key)
    WHERE caller_key IS NOT NULL;
-- Only live work, so that workers look at a short list however long the history is.
CREATE INDEX proposals_due ON proposals (state, due_at, id) WHERE due_at IS NOT NULL;
-- What an agent really pays, for its risk profile.
CREATE INDEX proposals_paid ON proposals (org, agent, id)
    WHERE amount IS NOT NULL AND state IN ('allowed', 'committing', 'in_doubt', 'executed');

-- The one attempt to carry a proposal out: there is no second row to write it into.
CREATE TABLE executions (
    proposal        uuid PRIMARY KEY,
    commit_id       uuid NOT NULL,
    idempotency_key text NOT NULL UNIQUE,
    claimed_at      timestamptz NOT NULL,
    execution       json NOT NULL
) WITH (fillfactor = 70);

-- Burned nonces, unique whatever their expiry (epoch seconds).
CREATE TABLE nonces (
    nonce      bytea PRIMARY KEY CHECK (length(nonce) = 16),
    kept_until bigint NOT NULL
);
CREATE INDEX nonces_kept_until ON nonces (kept_until);

-- One row per day, agent and currency, and one per proposal that says what of it is whose.
CREATE TABLE pots (
    org      text COLLATE "C" NOT NULL,
    agent    text COLLATE "C" NOT NULL,
    day      integer NOT NULL,
    currency text NOT NULL,
    pending  bigint NOT NULL CHECK (pending >= 0),
    posted   bigint NOT NULL CHECK (posted >= 0),
    PRIMARY KEY (org, agent, day, currency)
) WITH (fillfactor = 50);

CREATE TABLE reservations (
    proposal uuid PRIMARY KEY,
    org      text COLLATE "C" NOT NULL,
    agent    text COLLATE "C" NOT NULL,
    day      integer NOT NULL,
    currency text NOT NULL,
    amount   bigint NOT NULL CHECK (amount >= 0),
    posted   bigint NOT NULL CHECK (posted >= 0),
    standing text NOT NULL CHECK (standing IN ('pending', 'posted', 'void'))
) WITH (fillfactor = 80);

-- Policies, freezes, keys, pins, baselines, seen events. A deleted document keeps its row without
-- a body, so that its version never comes back. A row of version 0 never existed as a document:
-- it is there to be locked by a change that relies on the absence.
CREATE TABLE docs (
    kind    text COLLATE "C" NOT NULL,
    org     text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    version bigint NOT NULL CHECK (version >= 0),
    body    json,
    PRIMARY KEY (kind, org, id)
);

-- The audit, numbered under a lock that is held until the commit: a reader that has seen a number
-- never finds a lower one later.
CREATE TABLE records (
    seq      bigint PRIMARY KEY,
    at       timestamptz NOT NULL,
    org      text COLLATE "C" NOT NULL,
    kind     text NOT NULL,
    decision text NOT NULL,
    reason   text NOT NULL,
    actor    text NOT NULL,
    agent    text,
    proposal uuid,
    tool     text,
    payout   text,
    amount   bigint,
    currency text,
    detail   json
);

CREATE INDEX records_proposal ON records (proposal) WHERE proposal IS NOT NULL;
CREATE INDEX records_payout ON records (payout) WHERE payout IS NOT NULL;

-- Messages not yet delivered.
CREATE TABLE outbox (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due_at   timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    notice   json NOT NULL
);
CREATE INDEX outbox_due ON outbox (due_at);
