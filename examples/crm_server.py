#!/usr/bin/env python3
"""A small MCP server on standard input and output, to put hundi in front of: two tools of a shop.

It knows nothing of hundi and is as careless as tools are: asked twice, it refunds twice.
"""

import json
import sys

CUSTOMERS = {"cus_1": "Asha", "cus_2": "Ravi"}
REFUNDS = []

TOOLS = [
    {
        "name": "find_customer",
        "description": "Look a customer up by id.",
        "inputSchema": {
            "type": "object",
            "properties": {"customer": {"type": "string"}},
            "required": ["customer"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True},
    },
    {
        "name": "refund",
        "description": "Pay money back to a customer, in minor units.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "customer": {"type": "string"},
                "amount": {"type": "integer"},
                "currency": {"type": "string"},
            },
            "required": ["customer", "amount", "currency"],
            "additionalProperties": False,
        },
    },
]


def call(name, arguments):
    if name == "find_customer":
        known = CUSTOMERS.get(arguments["customer"])
        return {"customer": arguments["customer"], "name": known}
    REFUNDS.append(arguments)
    return {"refund": f"ref_{len(REFUNDS)}", **arguments}


def answer(method, params):
    if method == "initialize":
        return {
            "protocolVersion": params.get("protocolVersion", "2025-11-25"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "crm", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        told = call(params["name"], params.get("arguments", {}))
        return {"content": [{"type": "text", "text": json.dumps(told)}], "structuredContent": told}
    return {} if method == "ping" else None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result = answer(message["method"], message.get("params") or {})
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    if result is None:
        reply["error"] = {"code": -32601, "message": "there is no such method"}
    else:
        reply["result"] = result
    print(json.dumps(reply), flush=True)
