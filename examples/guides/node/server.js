import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { greeting } from "./lib/greeting.js";

const file = process.env.ORCH_STATE_FILE;                 // with `state`: carried over every restart
let { visits } = existsSync(file ?? "") ? JSON.parse(readFileSync(file, "utf8")) : { visits: 0 };

const server = createServer((request, response) => {
  if (request.url !== "/health") visits += 1;
  response.end(`${greeting}, visit ${visits}\n`);
});
server.listen(Number(process.env.PORT), "127.0.0.1");

process.on("SIGTERM", () => {
  server.close(() => {                                    // takes no more; ends what it has begun
    if (file) writeFileSync(file, JSON.stringify({ visits }));
    process.exit(0);
  });
});
