-- What an agent may read of the audit is found without reading everybody else's.
CREATE INDEX records_of_agent ON records (org, agent, seq) WHERE agent IS NOT NULL;
-- Refused proposals, oldest first, for whoever drops them.
CREATE INDEX proposals_refused ON proposals (id) WHERE state = 'blocked';
-- Who waits for an answer is told before who only wants to know: lower goes first.
ALTER TABLE outbox ADD COLUMN urgency INTEGER NOT NULL DEFAULT 1;

PRAGMA user_version = 4;
