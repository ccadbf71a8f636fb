"""An MCP server over stdio that misbehaves on request.

It speaks just enough of the protocol (2025-11-25) by hand, so that it can also break it. What it
does with a call is the name of the tool; what it does at its start is in NASTY_START. Every
tools/call that reaches it is appended to NASTY_LOG, so that a test can count what arrived. Its
list of tools is read from NASTY_TOOLS (a JSON file) each time it is asked.
"""

import json
import os
import sys
import time

out = sys.stdout.buffer


def say(message):
    raw(json.dumps(message) + "\n")


def raw(text):
    out.write(text.encode())
    out.flush()


def answer(request, text):
    result = {"content": [{"type": "text", "text": text}]}
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})


def echo(request):
    answer(request, json.dumps(request["params"].get("arguments", {})))


def log(request):
    path = os.environ.get("NASTY_LOG")
    if path:
        with open(path, "a") as file:
            file.write(json.dumps(request["params"]) + "\n")


def tools():
    path = os.environ.get("NASTY_TOOLS")
    if path:
        with open(path) as file:
            return json.load(file)
    return [{"name": "echo", "inputSchema": {"type": "object"}}]


def call(request):
    """Returns False to leave for good."""
    log(request)
    name = request["params"]["name"]
    arguments = request["params"].get("arguments", {})
    if name == "echo":
        echo(request)
    elif name == "hang":
        time.sleep(3600)
    elif name == "no_answer":
        pass
    elif name == "die":
        return False
    elif name == "answer_and_die":
        echo(request)
        return False
    elif name == "half_and_die":
        raw('{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"te' % request["id"])
        return False
    elif name == "garbage":
        raw("2026-11-20 INFO payout created id=pout_x\n")
        raw("\n\n\x00\x01 not json {\n")
        raw('{"jsonrpc":"2.0","id":%d,"resu\n' % request["id"])
        raw("[]\n42\nnull\n{}\n" + '{"jsonrpc":"2.0"}\n{"id":true,"result":{}}\n')
        out.write(b"\xff\xfe\xfd\n")
        echo(request)
    elif name == "wrong_id":
        for other in [request["id"] + 1000, -1, "x", str(request["id"]) + "0", None]:
            say({"jsonrpc": "2.0", "id": other, "result": {"content": [
                {"type": "text", "text": "\"of another\""}]}})
        say({"jsonrpc": "2.0", "id": request["id"] + 1000,
             "error": {"code": -32602, "message": "of another"}})
        echo(request)
    elif name == "only_wrong_id":
        say({"jsonrpc": "2.0", "id": request["id"] + 1000, "result": {"content": []}})
    elif name == "twice":
        echo(request)
        answer(request, "\"the second answer\"")
    elif name == "late":
        time.sleep(arguments["seconds"])
        answer(request, "\"late\"")
    elif name == "flood":
        chunk = b"x" * (1024 * 1024)
        for _ in range(arguments["mebibytes"]):
            out.write(chunk)
        out.write(b"\n")
        echo(request)
    elif name == "long_answer":
        answer(request, "x" * (2 * 1024 * 1024))
    elif name == "stop_reading":
        echo(request)
        time.sleep(3600)
    elif name == "structured":
        say({"jsonrpc": "2.0", "id": request["id"], "result": {
            "content": [{"type": "text", "text": "not this"}],
            "structuredContent": {"id": "x_1"}}})
    elif name == "is_error":
        say({"jsonrpc": "2.0", "id": request["id"], "result": {
            "content": [{"type": "text", "text": "refused"}], "isError": True}})
    elif name == "rpc_error":
        say({"jsonrpc": "2.0", "id": request["id"],
             "error": {"code": -32602, "message": "unknown tool"}})
    elif name == "no_result":
        say({"jsonrpc": "2.0", "id": request["id"], "result": {}})
    elif name == "environment":
        answer(request, json.dumps(dict(os.environ)))
    elif name == "changed":
        say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        echo(request)
    elif name == "ask_back":
        for method in ["ping", "roots/list", "sampling/createMessage", "elicitation/create"]:
            for number in range(500):
                say({"jsonrpc": "2.0", "id": f"{method}{number}", "method": method, "params": {
                    "messages": [], "maxTokens": 1, "message": "?",
                    "requestedSchema": {"type": "object", "properties": {}}}})
        echo(request)
    elif name == "shout":
        sys.stderr.write("e" * 1_000_000 + "\nmore\n")
        sys.stderr.flush()
        echo(request)
    else:
        echo(request)
    return True


def page(request):
    """Three tools a page."""
    everything = tools()
    start = int(request.get("params", {}).get("cursor", "0"))
    result = {"tools": everything[start:start + 3]}
    if start + 3 < len(everything):
        result["nextCursor"] = str(start + 3)
    if os.environ.get("NASTY_START") == "endless_list":
        result["nextCursor"] = str(start)
        result["tools"] = []
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})


def handle(request):
    method = request.get("method")
    if "id" not in request or method is None:
        return True
    if method == "initialize":
        if os.environ.get("NASTY_START") == "no_handshake":
            return True
        say({"jsonrpc": "2.0", "id": request["id"], "result": {
            "protocolVersion": "2025-06-18", "serverInfo": {"name": "nasty", "version": "1"},
            "capabilities": {"tools": {"listChanged": True}}}})
    elif method == "tools/list":
        page(request)
    elif method == "tools/call":
        return call(request)
    elif method == "ping":
        say({"jsonrpc": "2.0", "id": request["id"], "result": {}})
    else:
        say({"jsonrpc": "2.0", "id": request["id"],
             "error": {"code": -32601, "message": "no such method"}})
    return True


def begin():
    start = os.environ.get("NASTY_START", "")
    if start == "die":
        sys.exit(3)
    if start == "banner":
        raw("logs are stored in: ./logs\n")
    if start.startswith("die_times:"):
        # Dies at its start until the file has so many lines.
        _, times, path = start.split(":", 2)
        with open(path, "a+") as file:
            file.write(f"{time.time()}\n")
            file.flush()
            file.seek(0)
            if len(file.readlines()) <= int(times):
                sys.exit(3)


begin()
for line in sys.stdin:
    if not handle(json.loads(line)):
        sys.exit(2)
