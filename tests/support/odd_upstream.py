"""An MCP server that answers as oddly as real ones do, over stdio or streamable HTTP.

`odd_upstream.py stdio`, or `odd_upstream.py http`, which prints its port. What it does with a call
is the name of the tool. Over HTTP the first part of the path says how answers travel: `json` or
`sse`. Each call that has its effect is a line in ODD_LOG. ODD_SLOW is how many seconds it takes to
begin, and each beginning is a line in ODD_STARTS.
"""

import gzip
import json
import os
import sys
import threading
import time
import uuid
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()
# Our questions that wait for the client's answers, by their ids.
QUESTIONS = {}
SESSIONS = set()
REFUSED = set()
# How servers say that they have forgotten a session: status, content type, body.
FORGOTTEN = {
    "404": (404, "application/json", '{"jsonrpc":"2.0","id":%d,"error":{"code":-32001,"message":"Session not found"}}'),
    "404_text_id": (404, "application/json", '{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}'),
    "404_no_id": (404, "application/json", '{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}'),
    "400_no_id": (400, "application/json", '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}'),
    "400_text_id": (400, "application/json", '{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}'),
    "400_words": (400, "text/plain", "Bad Request: No valid session ID provided"),
    "404_words": (404, "text/plain", "Not Found"),
    "404_empty": (404, "text/plain", ""),
    "410": (410, "text/plain", "Gone"),
}


def note(variable, text):
    path = os.environ.get(variable)
    if path:
        with LOCK, open(path, "a") as file:
            file.write(text + "\n")


def text(words):
    return {"type": "text", "text": words}


def message(number, **members):
    return json.dumps({"jsonrpc": "2.0", "id": number, **members})


def result(number, *blocks, **members):
    return message(number, result={"content": list(blocks), **members})


def ask(say, method, params):
    """Asks the client in the middle of a call, and waits for what it says."""
    number = f"ask-{uuid.uuid4().hex}"
    event, said = QUESTIONS.setdefault(number, (threading.Event(), []))
    say(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
    event.wait(10)
    return said[0] if said else None


def call(name, number, arguments, say):
    """The effect happens, and then the answer is whatever the tool's name says."""
    note("ODD_LOG", name)
    amount = arguments.get("amount", 0)
    receipt = json.dumps({"id": "x1", "amount": amount})
    plain = result(number, text(receipt))
    image = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
    if name.startswith("code_"):
        code = int(name.removeprefix("code_").replace("m", "-"))
        say(message(number, error={"code": code, "message": "Output validation error"}))
    elif name == "two_texts":
        say(result(number, text("Payment sent."), text(receipt)))
    elif name == "two_objects":
        say(result(number, text('{"id":"x1"}'), text('{"id":"x2"}')))
    elif name == "mixed":
        say(result(number, text("see"), image, text("and more")))
    elif name == "unknown_block":
        say(result(number, {"type": "widget", "foo": 1}))
    elif name == "structured_and_text":
        say(result(number, text("ok"), structuredContent={"id": "x1"}))
    elif name == "structured_only":
        say(message(number, result={"structuredContent": {"id": "x1"}}))
    elif name == "content_null":
        say(message(number, result={"content": None, "structuredContent": {"id": "x1"}}))
    elif name == "is_error":
        say(result(number, text("boom"), isError=True))
    elif name == "id_as_text":
        say(result(str(number), text(receipt)))
    elif name == "id_as_float":
        say(plain.replace(f'"id": {number}', f'"id": {number}.0'))
    elif name == "error_null":
        say(message(number, result={"content": [text(receipt)]}, error=None))
    elif name == "result_null":
        say(message(number, error={"code": -32000, "message": "no"}, result=None))
    elif name == "result_and_error":
        say(message(number, result={"content": [text(receipt)]}, error={"code": -32603, "message": "charge failed"}))
    elif name == "neither":
        say(message(number))
    elif name == "no_content":
        say(message(number, result={}))
    elif name == "asks_first":
        say(message(number, result={"resultType": "input_required", "requestState": "x"}))
    elif name == "extra_member":
        say(message(number, result={"content": [text(receipt)]}, trace="abc"))
    elif name == "no_jsonrpc":
        say(json.dumps({"id": number, "result": {"content": [text(receipt)]}}))
    elif name == "half_surrogate":
        say('{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"bad \\ud800 end"}]}}' % number)
    elif name == "long_integer":
        say('{"jsonrpc":"2.0","id":%d,"result":{"structuredContent":{"id":12345678901234567890123,"n":9007199254740993}}}' % number)
    elif name == "not_a_number":
        say('{"jsonrpc":"2.0","id":%d,"result":{"structuredContent":{"p":NaN}}}' % number)
    elif name == "huge_number":
        say('{"jsonrpc":"2.0","id":%d,"result":{"structuredContent":{"p":1e400}}}' % number)
    elif name == "error_without_id":
        say(message(None, error={"code": -32603, "message": "custom error"}))
    elif name == "error_of_nobody":
        say(message("server-error", error={"code": -32600, "message": "nope"}))
    elif name == "worded_code":
        say(message(number, error={"code": "E_FAIL", "message": "failed badly"}))
    elif name == "no_words":
        say(message(number, error={"code": -32000}))
    elif name == "batch":
        say("[" + plain + "]")
    elif name == "byte_order_mark":
        say("\ufeff" + plain)
    elif name == "several_lines":
        say(json.dumps(json.loads(plain), indent=2))
    elif name == "noise":
        say(json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "WARN", "data": None}}))
        say(json.dumps({"jsonrpc": "2.0", "method": "$/foo"}))
        say(plain)
    elif name == "large":
        say(result(number, text("x" * 200_000)))
    elif name == "too_large":
        say(result(number, text("x" * 1_000_000)))
    elif name == "too_large_id_last":
        say('{"result":{"content":[{"type":"text","text":"%s"}]},"jsonrpc":"2.0","id":%d}' % ("x" * 1_000_000, number))
    elif name == "question_passed_on":
        said = ask(say, "sampling/createMessage", {"messages": [], "maxTokens": 5})
        say(message(number, error=said["error"]) if said and "error" in said else plain)
    elif name == "late":
        time.sleep(arguments.get("seconds", 1))
        say(plain)
    elif name == "late_no":
        time.sleep(arguments.get("seconds", 1))
        say(result(number, text("no such account"), isError=True))
    else:
        say(plain)


TOOLS = [{"name": name, "description": "pays", "inputSchema": {"type": "object", "properties": {"amount": {"type": "integer"}, "seconds": {"type": "number"}}}}
         for name in os.environ.get("ODD_TOOLS", "plain").split(",")]


def answer(request, say):
    method, number = request.get("method"), request.get("id")
    if method is None:
        waiting = QUESTIONS.pop(number, None)
        if waiting:
            waiting[1].append(request)
            waiting[0].set()
    elif method == "initialize":
        say(message(number, result={"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "1"}}))
    elif method == "ping":
        say(message(number, result={}))
    elif method == "tools/list":
        say(message(number, result={"tools": TOOLS, "nextCursor": ""}))
    elif method == "tools/call":
        call(request["params"]["name"], number, request["params"].get("arguments") or {}, say)
    elif number is not None:
        say(message(number, error={"code": -32601, "message": "Method not found"}))


def stdio():
    def say(line):
        with LOCK:
            sys.stdout.buffer.write(line.encode("utf-8") + b"\n")
            sys.stdout.buffer.flush()

    for line in sys.stdin:
        request = json.loads(line)
        threading.Thread(target=answer, args=(request, say), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, kind, body, **headers):
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send(405, None, b"")

    do_DELETE = do_GET

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        method, number = request.get("method"), request.get("id")
        session = self.headers.get("Mcp-Session-Id")
        name = request["params"]["name"] if method == "tools/call" else ""
        if "headers" in self.path and self.headers.get("X-Tenant") != "t1":
            return self.send(401, "text/plain", b"which tenant?")
        if "query" in self.path and not self.path.endswith("?key=k1"):
            return self.send(401, "text/plain", b"which key?")
        if method == "initialize":
            fresh = uuid.uuid4().hex
            SESSIONS.add(fresh)
            said = []
            answer(request, said.append)
            return self.send(200, "application/json", said[0].encode(), Mcp_Session_Id=fresh)
        if name.startswith("forgotten_") and name not in REFUSED and session in SESSIONS:
            # The session is forgotten; the next one works.
            REFUSED.add(name)
            SESSIONS.discard(session)
            status, kind, body = FORGOTTEN[name.removeprefix("forgotten_")]
            return self.send(status, kind, (body % number if "%d" in body else body).encode())
        if name.startswith("status_"):
            status = int(name.removeprefix("status_"))
            return self.send(status, "text/html", b"<html>sorry</html>")
        if number is None or method is None:
            answer(request, lambda _: None)
            return self.send(202, None, b"")
        if name in ("empty", "no_content_204", "accepted"):
            note("ODD_LOG", name)
            return self.send({"empty": 200, "no_content_204": 204, "accepted": 202}[name], None, b"")
        if name == "page":
            note("ODD_LOG", name)
            return self.send(200, "text/html", b"<html>sorry</html>")
        if name == "broken_off":
            note("ODD_LOG", name)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"jsonrpc":"2.0",')
            self.close_connection = True
            return None
        several = name in ("noise", "question_passed_on")
        if self.path.startswith("/sse") or several:
            return self.stream(request)
        said = []
        answer(request, said.append)
        body = said[0].encode()
        if name == "gzip":
            return self.send(200, "application/json", gzip.compress(body), Content_Encoding="gzip")
        if name == "deflate":
            return self.send(200, "application/json", zlib.compress(body), Content_Encoding="deflate")
        kinds = {"upper_case": "Application/JSON; Charset=UTF-8", "as_text": "text/plain", "no_type": None}
        return self.send(200, kinds.get(name, "application/json"), body)

    def stream(self, request):
        self.send_response(200)
        self.send_header("Content-Type", "Text/Event-Stream")
        self.send_header("Connection", "close")
        self.end_headers()

        def say(text):
            lines = "".join(f"data: {line}\r\n" for line in text.split("\n"))
            self.wfile.write((": comment\r\n" + lines + "\r\n").encode())
            self.wfile.flush()

        try:
            answer(request, say)
        except OSError:
            pass  # The client has seen enough.
        self.close_connection = True


note("ODD_STARTS", "start")
time.sleep(float(os.environ.get("ODD_SLOW", "0")))
if sys.argv[1] == "stdio":
    stdio()
else:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    print(server.server_address[1], flush=True)
    server.serve_forever()
