// Reads an entry: its bytes, and what the node says of it.

import { keyPath, request } from "./api.js";

/** Clocks that differ by less are taken for the same: the node tells its own in whole seconds. */
const CLOCK_SKEW_MS_MIN = 2000;

/** An entry, with no more of its value than `most` bytes. */
export async function read(key, most, signal) {
  const response = await request("GET", `${keyPath(key)}?raw`, { signal });
  const size = Number(response.headers.get("Content-Length"));
  const value = size > most ? await beginning(response, most) : new Uint8Array(await response.arrayBuffer());
  const expires = response.headers.get("Pykv-Expires-At");
  const skew = Date.parse(response.headers.get("Date")) - Date.now();
  return {
    key,
    value,
    size,
    cut: value.length < size,
    version: Number(response.headers.get("ETag").replaceAll('"', "")),
    deadline: expires ? Date.parse(expires) : null,
    skew: Math.abs(skew) >= CLOCK_SKEW_MS_MIN ? skew : 0,
  };
}

async function beginning(response, most) {
  const value = new Uint8Array(most);
  const reader = response.body.getReader();
  let filled = 0;
  while (filled < most) {
    const { done, value: piece } = await reader.read();
    if (done) break;
    const part = piece.subarray(0, most - filled);
    value.set(part, filled);
    filled += part.length;
  }
  reader.cancel().catch(() => {});
  return value.subarray(0, filled);
}
