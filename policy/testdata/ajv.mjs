// Validates documents by the published schema with ajv, which gateway authors use: a line {schema} first, then a line
// {document} each.
import { createInterface } from "node:readline";

import Ajv from "ajv/dist/2020.js";

let valid;
for await (const line of createInterface({ input: process.stdin })) {
  const { schema, document } = JSON.parse(line);
  if (schema) valid = new Ajv({ strict: true, strictTypes: false, strictRequired: false }).compile(JSON.parse(schema));
  else valid(JSON.parse(document));
  console.log(JSON.stringify(valid.errors ?? []));
}
