// Many operations of keys that need not change together.

import { sendJson } from "./api.js";

/** Sends them in one batch, and gives their results. A cluster behind a gateway takes no keys of several slots at once: there, each is sent alone. */
export async function sendEach(operations, given = {}) {
  try {
    return (await (await sendJson("POST", "batch", { operations }, given)).json()).results;
  } catch (error) {
    if (error.kind !== "cross-slot") throw error;
    return (await Promise.all(operations.map((one) => sendEach([one], given)))).flat();
  }
}
