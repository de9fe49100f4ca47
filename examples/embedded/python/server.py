"""An MCP server with a destructive tool that asks for approval by itself. Streamable HTTP, one JSON answer to each request.

    CONTROL_PLANE=… CLIENT_ID=… CLIENT_SECRET=… python3 server.py
"""

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from calls import read_arguments
from controlplane import ControlPlane
from guard import Guard, NotExecuted, log
from strict import Refused, read, write

SERVER = os.environ.get("SERVER", "com.example/shop")
LISTEN = os.environ.get("LISTEN", "127.0.0.1:9092")
MAX_BODY = 1 << 20
VERSIONS = ("2025-06-18", "2025-11-25", "2025-03-26")

TOOLS = {
    "list_orders": {
        "name": "list_orders",
        "description": "Lists the orders of the shop.",
        "inputSchema": {"type": "object", "additionalProperties": False},
        "annotations": {"readOnlyHint": True},
    },
    "delete_order": {
        "name": "delete_order",
        "description": "Deletes one order, for good. A person has to approve each call: the first answer says where. After the "
                       "approval call again with exactly the same arguments. Leave confirmation_token out, unless your user gives "
                       "you one: then add it, and change nothing else.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "order_id": {"type": "string", "description": "Which order, such as o-1001."},
                "confirmation_token": {"type": "string", "description": "What the person who called was shown, cst_…"},
            },
            "required": ["order_id"],
            "additionalProperties": False,
        },
        "annotations": {"destructiveHint": True},
    },
}


class Shop:
    """Orders, in a file that outlives the process."""

    def __init__(self, path):
        self.path, self.lock = path, threading.Lock()
        if not os.path.exists(path):
            self._write(["o-1001", "o-1002", "o-1003", "o-1004", "o-1005"])

    def list_orders(self, _):
        return json.dumps(self._read())

    def delete_order(self, arguments):
        with self.lock:
            orders = self._read()
            if arguments["order_id"] not in orders:
                raise LookupError("there is no such order; nothing was deleted")
            self._write([order for order in orders if order != arguments["order_id"]])
        return f"Deleted {arguments['order_id']}."

    def _read(self):
        with open(self.path, encoding="utf-8") as file:
            return json.load(file)

    def _write(self, orders):
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(orders, file)
        os.replace(self.path + ".new", self.path)


def check(tool, arguments):
    """What a JSON Schema library does for you: arguments that no tool takes are not worth a person's time."""
    schema = TOOLS[tool]["inputSchema"]
    known = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in arguments:
            raise Refused("invalid_arguments", f"{name} is missing")
    for name, value in arguments.items():
        if name not in known or not isinstance(value, str):
            raise Refused("invalid_arguments", f"{name} is not known, or no string")


class Failure(Exception):
    """A JSON-RPC error."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Handler(BaseHTTPRequestHandler):
    guard = shop = None
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if "Origin" in self.headers:
            return self.answer(403)  # no browser has business here
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            return self.answer(401)
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            return self.answer(413)
        number, known = "null", False
        try:
            message = read(self.rfile.read(int(length)), depth=70, folded=True)
            if not isinstance(message, dict) or not isinstance(message.get("method"), str):
                raise Failure(-32600, "this is no request")
            if "id" not in message:
                return self.answer(202)
            number = write(message["id"], lambda numeral: numeral.text)
            known = True
            result = {"result": self.result(message["method"], message.get("params") or {}, token.strip())}
        except Refused as refused:
            result = {"error": {"code": -32602 if known else -32700, "message": str(refused)}}
        except Failure as failure:
            result = {"error": {"code": failure.code, "message": str(failure)}}
        rest = json.dumps(result)[1:]
        self.answer(200, f'{{"jsonrpc":"2.0","id":{number},{rest}'.encode())

    def do_GET(self):
        self.answer(405)

    do_DELETE = do_GET

    def result(self, method, params, token):
        if not isinstance(params, dict):
            raise Failure(-32602, "params are no object")
        if method == "initialize":
            asked = params.get("protocolVersion")
            return {"protocolVersion": asked if asked in VERSIONS else VERSIONS[0], "capabilities": {"tools": {}},
                    "serverInfo": {"name": "shop", "version": "1"}}
        if method == "ping":
            return {}
        if method == "tools/list":
            return {"tools": list(TOOLS.values())}
        if method == "tools/call":
            return self.call(params, token)
        raise Failure(-32601, "this method is not known")

    def call(self, params, token):
        tool = params.get("name")
        if not isinstance(tool, str) or tool not in TOOLS:
            raise Failure(-32602, "there is no such tool")
        arguments = read_arguments(write(params.get("arguments", {}), lambda numeral: numeral.text).encode())
        try:
            check(tool, arguments)
            text = self.guard.call(token, tool, arguments, getattr(self.shop, tool))
            return {"content": [{"type": "text", "text": text}]}
        except NotExecuted as no:
            return {"content": [{"type": "text", "text": str(no)}], "isError": True, "_meta": no.meta}
        except (Refused, LookupError) as wrong:
            return {"content": [{"type": "text", "text": f"NOT EXECUTED: {wrong}."}], "isError": True}

    def answer(self, status, body=b""):
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if body:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    plane = ControlPlane(os.environ["CONTROL_PLANE"], os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"],
                         f"{socket.gethostname()}/{os.getpid()}")
    Handler.guard = Guard(plane, SERVER, TOOLS, wait=float(os.environ.get("WAIT", "0")))
    Handler.shop = Shop(os.environ.get("ORDERS", "orders.json"))
    host, _, port = LISTEN.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = True
    Handler.guard.start()
    log(f"listening on http://{host}:{server.server_address[1]}/mcp/{SERVER}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
