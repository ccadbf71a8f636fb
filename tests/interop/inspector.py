"""The Inspector's command line as a client: list, propose, commit, replay. Fails loudly.

inspector.py INSPECTOR URL KEY
inspector.py INSPECTOR COMMAND mcp        each step starts a server of its own on the same data
"""

import json
import subprocess
import sys

ARGUMENTS = {"amount": 125050, "to": "acct_123"}

inspector, target, other = sys.argv[1:]
if target.startswith("http"):
    server = [target, "--transport", "http", "--header", f"Authorization: Bearer {other}"]
else:
    server = [target, other, "--transport", "stdio"]


def ask(*method):
    command = [inspector, "--cli", *server, "--method", *method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    start = done.stdout.find("{")
    assert start >= 0, (done.stdout, done.stderr)
    return json.loads(done.stdout[start:])


def call(name, **given):
    pairs = [f"{key}={json.dumps(value) if isinstance(value, dict) else value}"
             for key, value in given.items()]
    result = ask("tools/call", "--tool-name", name, "--tool-arg", *pairs)
    return result["structuredContent"]


tools = {tool["name"] for tool in ask("tools/list")["tools"]}
assert {"transfer_funds_propose", "transfer_funds_commit"} <= tools and "transfer_funds" not in tools
allowed = call("transfer_funds_propose", arguments=ARGUMENTS)
assert allowed["status"] == "allowed", allowed
given = {"proposal_id": allowed["proposal_id"], "commit_token": allowed["commit_token"]}
refused = call("transfer_funds_commit", **given, arguments={**ARGUMENTS, "amount": 125051})
assert refused["reason"] == "args_hash_mismatch", refused
committed = call("transfer_funds_commit", **given, arguments=ARGUMENTS)
assert committed["status"] == "committed", committed
replayed = call("transfer_funds_commit", **given, arguments=ARGUMENTS)
assert replayed["reason"] == "nonce_replay", replayed
assert replayed["original"]["commit_id"] == committed["commit_id"], replayed
print("ok")
