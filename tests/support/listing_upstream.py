"""An MCP server on stdio whose list of tools is whatever the files in its folder say.

pages.json  {"": {result of the first page}, "CURSOR": {...}}, read at each listing
late        seconds to wait before the first word
down        while it exists, the server ends at once
storm       while it exists, the server says a thousand times a second that its list changed
lists       gets a line for each listing
effects     gets a line for each call
"""
import json, os, sys, threading, time

FOLDER = os.environ["FOLDER"]
OUT = threading.Lock()


def path(name):
    return os.path.join(FOLDER, name)


def note(name, what):
    with open(path(name), "a") as file:
        file.write(json.dumps(what) + "\n")


def say(message):
    with OUT:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def storm():
    while os.path.exists(path("storm")):
        say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        time.sleep(0.001)


if os.path.exists(path("down")):
    sys.exit(7)
if os.path.exists(path("late")):
    time.sleep(float(open(path("late")).read()))
for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params") or {}
    if "id" not in message or method is None:
        if method == "notifications/initialized" and os.path.exists(path("storm")):
            threading.Thread(target=storm, daemon=True).start()
        continue
    if method == "initialize":
        result = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "listing", "version": "1"},
        }
    elif method == "tools/list":
        note("lists", params)
        with open(path("pages.json")) as file:
            result = json.load(file)[params.get("cursor") or ""]
    elif method == "tools/call":
        note("effects", params)
        result = {"content": [{"type": "text", "text": '{"id": "done_1"}'}]}
    elif method == "ping":
        result = {}
    else:
        error = {"code": -32601, "message": "no such method"}
        say({"jsonrpc": "2.0", "id": message["id"], "error": error})
        continue
    say({"jsonrpc": "2.0", "id": message["id"], "result": result})
