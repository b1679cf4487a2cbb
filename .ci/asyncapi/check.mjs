// Parses AsyncAPI documents with the official parser. Anything it reports is an error, even a hint.
//
// usage: node check.mjs FILE...

import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const SEVERITIES = ["error", "warning", "information", "hint"];
const parser = new Parser();

for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(await readFile(file, "utf8"));
  // Version 3.0.0 is intended: see bridge/contract/asyncapi.py.
  const told = diagnostics.filter(({ code }) => code !== "asyncapi-latest-version");
  for (const { severity, code, message, path } of told) {
    console.error(`${file}: ${SEVERITIES[severity]} ${code} at ${path.join("/")}: ${message}`);
  }
  if (!document || told.length > 0) {
    process.exitCode = 1;
    continue;
  }
  const [channels, messages] = [document.allChannels(), document.allMessages()];
  console.log(`${file}: ${channels.length} channels, ${messages.length} messages, no complaints`);
}
