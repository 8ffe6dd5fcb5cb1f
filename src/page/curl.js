// A request as a line for a shell.

import { token } from "./api.js";

/** The token stays out of it: lines are copied into places that others read. */
export function curl(method, path, { body, type, headers = {} } = {}) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const words = ["curl", "-i"];
  if (method !== "GET") words.push("-X", method);
  if (token()) words.push("-H", '"Authorization: Bearer $PYKV_TOKEN"');
  if (type) words.push("-H", quote(`Content-Type: ${type}`));
  for (const [name, value] of Object.entries(headers)) words.push("-H", quote(`${name}: ${value}`));
  if (body !== undefined) words.push("--data-raw", quote(body));
  words.push(quote(new URL(path, location.href).href));
  return words.join(" ");
}
