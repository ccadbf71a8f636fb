// The TypeScript SDK, version 2 (`@modelcontextprotocol/client`), as a client.
//
//   node typescript_v2.mjs http URL KEY MODE      MODE: `legacy`, `auto` or a version to insist on
//   node typescript_v2.mjs stdio MODE COMMAND...
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { story } from "./story.mjs";

// Installed elsewhere, so that nothing of it lies in the repository.
const from = createRequire(`${process.env.INTEROP_MODULES}/`);
const load = (name) => import(pathToFileURL(from.resolve(name)));
const { Client, StreamableHTTPClientTransport } = await load("@modelcontextprotocol/client");
const { StdioClientTransport } = await load("@modelcontextprotocol/client/stdio");

const [kind, ...rest] = process.argv.slice(2);
let transport;
let mode;
if (kind === "http") {
  const [url, key] = rest;
  mode = rest[2];
  const requestInit = { headers: { Authorization: `Bearer ${key}` } };
  transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
} else {
  const [command, ...args] = rest.slice(1);
  mode = rest[0];
  transport = new StdioClientTransport({ command, args, env: process.env });
}
const versionNegotiation = { mode: /^\d/.test(mode) ? { pin: mode } : mode };
const client = new Client({ name: "interop", version: "2" }, { versionNegotiation });
await client.connect(transport);
await story(client);
await client.close();
console.log("ok", kind, mode);
