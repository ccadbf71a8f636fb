// The story that every JavaScript client plays: list, propose, commit, replay. Fails loudly.
import assert from "node:assert/strict";

const ARGUMENTS = { amount: 125050, to: "acct_123" };

export async function story(client) {
  const { tools } = await client.listTools();
  const tool = (name) => tools.find((tool) => tool.name === name);
  assert.equal(tool("transfer_funds"), undefined);
  assert.equal(tool("transfer_funds_propose").annotations.readOnlyHint, true);
  assert.equal(tool("transfer_funds_commit").annotations.destructiveHint, true);

  // The client validates every answer below against the tool's output schema.
  const call = async (name, given) => client.callTool({ name, arguments: given });
  const proposed = await call("transfer_funds_propose", { arguments: ARGUMENTS });
  const allowed = proposed.structuredContent;
  assert.equal(allowed.status, "allowed", JSON.stringify(allowed));
  assert.deepEqual(JSON.parse(proposed.content[0].text), allowed);
  const { proposal_id, commit_token } = allowed;
  const commit = { proposal_id, commit_token, arguments: ARGUMENTS };
  const changed = { ...commit, arguments: { ...ARGUMENTS, amount: 125051 } };
  const refused = await call("transfer_funds_commit", changed);
  assert.equal(refused.structuredContent.reason, "args_hash_mismatch");
  const committed = (await call("transfer_funds_commit", commit)).structuredContent;
  assert.equal(committed.status, "committed", JSON.stringify(committed));
  const replayed = (await call("transfer_funds_commit", commit)).structuredContent;
  assert.equal(replayed.reason, "nonce_replay");
  assert.equal(replayed.original.commit_id, committed.commit_id);
  const wrong = await call("transfer_funds_propose", { arguments: { amount: "1" } });
  assert.equal(wrong.isError, true);
  assert.equal(wrong.structuredContent.code, "invalid_arguments");
}
