"""The Python SDK as a client: list, propose, commit, replay. Fails loudly.

python_client.py http URL KEY MODE        MODE: a protocol version, `auto` or `legacy`
python_client.py stdio MODE COMMAND...
"""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

ARGUMENTS = {"amount": 125050, "to": "acct_123"}


async def story(client):
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert {"transfer_funds_propose", "transfer_funds_commit", "get_proposal"} <= tools.keys()
    assert "transfer_funds" not in tools
    assert tools["transfer_funds_propose"].annotations.read_only_hint is True
    assert tools["transfer_funds_commit"].annotations.destructive_hint is True

    proposed = await client.call_tool("transfer_funds_propose", {"arguments": ARGUMENTS})
    allowed = proposed.structured_content
    assert allowed["status"] == "allowed", allowed
    commit = {
        "proposal_id": allowed["proposal_id"],
        "commit_token": allowed["commit_token"],
        "arguments": ARGUMENTS,
    }
    changed = {**commit, "arguments": {**ARGUMENTS, "amount": 125051}}
    refused = await client.call_tool("transfer_funds_commit", changed)
    assert refused.structured_content["reason"] == "args_hash_mismatch", refused
    committed = (await client.call_tool("transfer_funds_commit", commit)).structured_content
    assert committed["status"] == "committed", committed
    replayed = (await client.call_tool("transfer_funds_commit", commit)).structured_content
    assert replayed["reason"] == "nonce_replay", replayed
    assert replayed["original"]["commit_id"] == committed["commit_id"], replayed
    wrong = await client.call_tool("transfer_funds_propose", {"arguments": {"amount": "1"}})
    assert wrong.is_error and wrong.structured_content["code"] == "invalid_arguments", wrong


async def main(kind, *rest):
    if kind == "http":
        url, key, mode = rest
        http = create_mcp_http_client(headers={"Authorization": f"Bearer {key}"})
        server = streamable_http_client(url, http_client=http)
    else:
        mode, command, *args = rest
        server = StdioServerParameters(command=command, args=args, env=dict(os.environ))
    async with Client(server, mode=mode) as client:
        await story(client)
        print("ok", kind, mode, "as", client.protocol_version)


asyncio.run(main(*sys.argv[1:]))
