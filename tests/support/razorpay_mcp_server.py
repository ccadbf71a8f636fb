"""A stand-in for Razorpay's MCP server, with the faults that were observed in it.

It offers exactly the 42 tools of FAKE_TOOLS, checks only what the true one checks (required
arguments and their JSON types), drops what it does not know, cuts fractions off, pastes ids into
URLs, and answers in the true one's words. What it would send to Razorpay is appended to FAKE_BANK
as `METHOD path body`; what Razorpay answers is said by the file FAKE_MODE:

  ok              as ordered
  refused         400 with a reason
  false_success   a failure that it answers with the result {}
  empty_error     a gateway's HTML, which leaves its error without words
  eof             the connection breaks after the request
  die             it dies after the request
"""

import json
import os
import sys
import time

TOOLS = json.load(open(os.environ["FAKE_TOOLS"]))
TYPES = {"string": str, "number": (int, float), "boolean": bool, "object": dict, "array": list}
VERBS = {"create_refund": "creating refund", "create_order": "creating order",
         "create_instant_settlement": "creating instant settlement"}
made = os.environ["FAKE_BANK"] + ".made"


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def result(request, text, is_error=False):
    body = {"content": [{"type": "text", "text": text}]}
    if is_error:
        body["isError"] = True
    say({"jsonrpc": "2.0", "id": request["id"], "result": body})


def to_bank(method, path, body):
    with open(os.environ["FAKE_BANK"], "a") as file:
        file.write(f"{method} {path} {json.dumps(body, sort_keys=True)}\n")


def mode():
    return open(os.environ["FAKE_MODE"]).read().strip()


def problems(tool, given):
    schema = tool["inputSchema"]
    found = [f"- missing required parameter: {name}"
             for name in schema.get("required", []) if name not in given]
    for name, value in given.items():
        wanted = schema["properties"].get(name, {}).get("type")
        wrong = wanted and (not isinstance(value, TYPES[wanted])
                            or (wanted == "number" and isinstance(value, bool)))
        if wrong:
            found.append(f"- invalid parameter type: {name}")
    return found


def whole(value):
    return int(value) if isinstance(value, float) else value


def remember(entity):
    with open(made, "a") as file:
        file.write(json.dumps(entity) + "\n")


def remembered():
    return [json.loads(line) for line in open(made)] if os.path.exists(made) else []


def write(request, name, body, path, entity):
    to_bank("POST", path, body)
    verb = VERBS.get(name, name)
    answer = mode()
    if answer == "refused":
        return result(request, f"{verb} failed: The id provided does not exist", True)
    if answer == "false_success":
        return result(request, "{}")
    if answer == "empty_error":
        return result(request, f"{verb} failed: ", True)
    remember(entity)
    if answer == "eof":
        return result(request, f'{verb} failed: Post "https://api.razorpay.com": EOF', True)
    if answer == "die":
        os._exit(2)
    result(request, json.dumps(entity, sort_keys=True))


def call(request):
    name, given = request["params"]["name"], request["params"].get("arguments", {})
    tool = next((tool for tool in TOOLS if tool["name"] == name), None)
    if tool is None:
        return say({"jsonrpc": "2.0", "id": request["id"],
                    "error": {"code": -32602, "message": f"tool '{name}' not found"}})
    known = {key: whole(value) for key, value in given.items()
             if key in tool["inputSchema"]["properties"]}
    found = problems(tool, given)
    if found:
        return result(request, "Validation errors:\n" + "\n".join(found), True)
    if name == "create_refund":
        path = f"/v1/payments/{known['payment_id']}/refund"
        return write(request, name, known, path, {**known, "id": "rfnd_00000000000001"})
    if name == "create_order":
        return write(request, name, known, "/v1/orders", {**known, "id": "order_00000000000001"})
    if name == "create_instant_settlement":
        path = "/v1/settlements/ondemand"
        return write(request, name, known, path, {**known, "id": "setlod_00000000000001"})
    if name == "fetch_multiple_refunds_for_payment":
        items = [entity for entity in remembered() if entity["id"].startswith("rfnd_")]
        return result(request, json.dumps({"entity": "collection", "items": items}))
    if name == "fetch_payout_with_id":
        to_bank("GET", f"/v1/payouts/{known['payout_id']}", {})
        return result(request, json.dumps({"id": known["payout_id"], "entity": "payout"}))
    result(request, json.dumps({"id": "x", "tool": name, "arguments": known}))


sys.stderr.write("logs are stored in: ./logs\n")
for line in sys.stdin:
    request = json.loads(line)
    method = request.get("method")
    if "id" not in request:
        continue
    if method == "initialize":
        say({"jsonrpc": "2.0", "id": request["id"], "result": {
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "razorpay-mcp-server", "version": "1.0.0"}}})
    elif method == "tools/list":
        say({"jsonrpc": "2.0", "id": request["id"], "result": {"tools": TOOLS}})
    elif method == "tools/call":
        call(request)
    else:
        say({"jsonrpc": "2.0", "id": request["id"], "result": {}})
