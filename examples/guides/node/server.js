import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { greet } from "./app.js";

const file = process.env.ORCH_STATE_FILE; // with `state`: carried over every restart
let { visits } = existsSync(file ?? "") ? JSON.parse(readFileSync(file, "utf8")) : { visits: 0 };

const server = createServer((request, response) => {
  if (request.url !== "/health") visits += 1;
  response.end(greet(visits));
});
server.listen(process.env.LISTEN_FDS ? { fd: 3 } : 3000); // with `sockets`: the first of them

process.on("SIGTERM", () => {
  // It takes no more, and ends what it has begun.
  server.close(() => {
    if (file) writeFileSync(file, JSON.stringify({ visits }));
    process.exit(0);
  });
});
