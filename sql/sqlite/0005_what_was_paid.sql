-- History is what was carried out; asking teaches nobody anything.
DROP INDEX proposals_paid;
CREATE INDEX proposals_paid ON proposals (org, agent, id)
    WHERE amount IS NOT NULL AND state = 'executed';
-- Who was asked to be paid lately, whichever agent asked.
CREATE INDEX proposals_to_payee ON proposals (org, payee, id)
    WHERE amount IS NOT NULL AND payee IS NOT NULL;

-- A list of tools becomes a white list. No entry used to mean "what moves money, and nothing
-- else", which is now said by leaving the list out.
UPDATE docs SET body_json = json_remove(body_json, '$.allowed_tools')
    WHERE kind = 'policy' AND json_array_length(body_json, '$.allowed_tools') = 0;
UPDATE docs SET body_json = json_remove(body_json, '$.policy.allowed_tools')
    WHERE kind = 'policy_version' AND json_array_length(body_json, '$.policy.allowed_tools') = 0;

PRAGMA user_version = 5;
