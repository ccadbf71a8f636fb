// The TypeScript SDK, version 1 (`@modelcontextprotocol/sdk`), as a client.
//
//   node typescript_v1.mjs http URL KEY
//   node typescript_v1.mjs stdio COMMAND...
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { story } from "./story.mjs";

// Installed elsewhere, so that nothing of it lies in the repository.
const from = createRequire(`${process.env.INTEROP_MODULES}/`);
const load = (name) => import(pathToFileURL(from.resolve(name)));
const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = await load(
  "@modelcontextprotocol/sdk/client/streamableHttp.js",
);
const { StdioClientTransport } = await load("@modelcontextprotocol/sdk/client/stdio.js");

const [kind, ...rest] = process.argv.slice(2);
let transport;
if (kind === "http") {
  const [url, key] = rest;
  const requestInit = { headers: { Authorization: `Bearer ${key}` } };
  transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
} else {
  const [command, ...args] = rest;
  transport = new StdioClientTransport({ command, args, env: process.env });
}
const client = new Client({ name: "interop", version: "1" });
await client.connect(transport);
await story(client);
await client.close();
console.log("ok", kind);
