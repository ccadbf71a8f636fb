-- Webhooks of the bank are a queue inside the audit: found without reading what lies between.
CREATE INDEX records_webhooks ON records (seq) WHERE kind = 'webhook';
