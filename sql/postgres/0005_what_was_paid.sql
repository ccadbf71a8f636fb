-- History is what was carried out; asking teaches nobody anything.
DROP INDEX proposals_paid;
CREATE INDEX proposals_paid ON proposals (org, agent, id)
    WHERE amount IS NOT NULL AND state = 'executed';
-- Who was asked to be paid lately, whichever agent asked.
CREATE INDEX proposals_to_payee ON proposals (org, payee, id)
    WHERE amount IS NOT NULL AND payee IS NOT NULL;

-- A list of tools becomes a white list. No entry used to mean "what moves money, and nothing
-- else", which is now said by leaving the list out.
UPDATE docs SET body = (body::jsonb - 'allowed_tools')::json
    WHERE kind = 'policy' AND body::jsonb -> 'allowed_tools' = '[]';
UPDATE docs SET body = (body::jsonb #- '{policy,allowed_tools}')::json
    WHERE kind = 'policy_version' AND body::jsonb #> '{policy,allowed_tools}' = '[]';
