// Passes every request on to hundi with a key added and nothing else changed. The conformance
// suite cannot send keys, and hundi answers nobody without one.
//
//   node keyed_proxy.mjs http://127.0.0.1:8787/mcp hk_...     prints the URL to test
import http from "node:http";

const [target, key] = process.argv.slice(2);
const { hostname, port, pathname } = new URL(target);

const proxy = http.createServer((asked, answer) => {
  const headers = { ...asked.headers, authorization: `Bearer ${key}` };
  const to = { hostname, port, path: pathname, method: asked.method, headers };
  const passed = http.request(to, (heard) => {
    answer.writeHead(heard.statusCode, heard.headers);
    heard.pipe(answer);
  });
  passed.on("error", () => answer.destroy());
  answer.on("close", () => passed.destroy());
  asked.pipe(passed);
});
proxy.listen(0, "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${proxy.address().port}/mcp`);
});
