-- Everything hundi remembers. Ids and nonces are 16-byte blobs, instants are milliseconds since
-- the epoch, amounts are minor units, and *_json columns hold what only the broker reads.

-- Facts about this database itself: `instance`, `docs_epoch`, `ping`.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- `fixed_json` is never written again; the rest moves, one version at a time. `due_at` is set
-- while time can change something: when a held or allowed proposal lapses, when the lease of an
-- unsettled one ends.
CREATE TABLE proposals (
    id          BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    org         TEXT NOT NULL,
    agent       TEXT NOT NULL,
    tool        TEXT NOT NULL,
    caller_key  TEXT,
    amount      INTEGER,
    payee       TEXT,
    vendor      TEXT,
    created_at  INTEGER NOT NULL,
    fixed_json  TEXT NOT NULL,
    state       TEXT NOT NULL,
    version     INTEGER NOT NULL,
    due_at      INTEGER,
    moving_json TEXT NOT NULL
) STRICT;

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
    proposal        BLOB NOT NULL UNIQUE CHECK (length(proposal) = 16),
    commit_id       BLOB NOT NULL,
    idempotency_key TEXT NOT NULL UNIQUE,
    claimed_at      INTEGER NOT NULL,
    execution_json  TEXT NOT NULL
) STRICT;

-- Burned nonces, unique whatever their expiry: a key that began with `kept_until` would append
-- neatly and let one nonce in twice under two expiries. The rows are as small as they get, so
-- that a million of them are a tree three pages deep.
CREATE TABLE nonces (
    nonce      BLOB PRIMARY KEY CHECK (length(nonce) = 16),
    kept_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_kept_until ON nonces (kept_until);

-- One row per day, agent and currency, and one per proposal that says what of it is whose.
CREATE TABLE pots (
    org      TEXT NOT NULL,
    agent    TEXT NOT NULL,
    day      INTEGER NOT NULL,
    currency TEXT NOT NULL,
    pending  INTEGER NOT NULL CHECK (pending >= 0),
    posted   INTEGER NOT NULL CHECK (posted >= 0),
    PRIMARY KEY (org, agent, day, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE reservations (
    proposal BLOB PRIMARY KEY CHECK (length(proposal) = 16),
    org      TEXT NOT NULL,
    agent    TEXT NOT NULL,
    day      INTEGER NOT NULL,
    currency TEXT NOT NULL,
    amount   INTEGER NOT NULL CHECK (amount >= 0),
    posted   INTEGER NOT NULL CHECK (posted >= 0),
    standing TEXT NOT NULL CHECK (standing IN ('pending', 'posted', 'void'))
) STRICT, WITHOUT ROWID;

-- Policies, freezes, keys, pins, baselines, seen events. A deleted document keeps its row without
-- a body, so that its version never comes back.
CREATE TABLE docs (
    kind      TEXT NOT NULL,
    org       TEXT NOT NULL,
    id        TEXT NOT NULL,
    version   INTEGER NOT NULL CHECK (version > 0),
    body_json TEXT,
    PRIMARY KEY (kind, org, id)
) STRICT, WITHOUT ROWID;

-- The audit. AUTOINCREMENT: a number is never given twice, not even after a row was cut off.
CREATE TABLE records (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    org         TEXT NOT NULL,
    kind        TEXT NOT NULL,
    decision    TEXT NOT NULL,
    reason      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    agent       TEXT,
    proposal    BLOB,
    tool        TEXT,
    payout      TEXT,
    amount      INTEGER,
    currency    TEXT,
    detail_json TEXT
) STRICT;

CREATE INDEX records_proposal ON records (proposal) WHERE proposal IS NOT NULL;
CREATE INDEX records_payout ON records (payout) WHERE payout IS NOT NULL;

-- Messages not yet delivered.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    due_at      INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    notice_json TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_due ON outbox (due_at);

-- `hund`: whose file this is.
PRAGMA application_id = 1752526436;
PRAGMA user_version = 1;
