// What the console can send: for each operation its request, and the fields that it needs.

import { keyPath, withQuery } from "./api.js";

/** Fields: "key", "value", "ttl", "condition", "by", "batch". Values are sent as bytes. */
export const OPERATIONS = {
  GET: { fields: ["key"], says: "Reads a key.", ask: ({ key }) => ({ method: "GET", path: keyPath(key) }) },
  SET: { isWrite: true, fields: ["key", "value", "ttl", "condition"], says: "Adds a key, or gives it a new value.", ask: (given) => put(given, true) },
  UPDATE: { isWrite: true, fields: ["key", "value", "ttl", "condition"], says: "Gives a key that exists a new value.", ask: (given) => put(given, null) },
  DELETE: { isWrite: true, fields: ["key", "condition"], says: "Deletes a key.", ask: ({ key, headers }) => ({ method: "DELETE", path: keyPath(key), headers }) },
  INCREMENT: {
    isWrite: true, fields: ["key", "by", "condition"], says: "Adds to a number; a missing key begins at 0.",
    ask: ({ key, by, headers }) => json("PATCH", keyPath(key), `{"increment":${whole(by)},"initial":${whole(by)}}`, headers),
  },
  EXPIRE: { isWrite: true, fields: ["key", "ttl", "condition"], says: "Gives a key a deadline; none for never.", ask: ({ key, ttl, headers }) => json("PATCH", keyPath(key), JSON.stringify({ ttl }), headers) },
  LIST: { fields: ["key"], says: "Lists keys that begin with the text in Key.", ask: ({ key }) => ({ method: "GET", path: withQuery("kv/", { prefix: key || null }) }), isOpen: true },
  BATCH: { fields: ["batch"], says: "Does all operations or none.", ask: ({ batch }) => json("POST", "batch", batch), isOpen: true },
  WATCH: {
    fields: ["key"], says: "Shows changes of keys that begin with the text in Key, until it is stopped.",
    ask: ({ key }) => ({ method: "GET", path: withQuery("watch", { prefix: key || null }) }), isOpen: true, isWatch: true,
  },
};

export const BATCH_EXAMPLE = `{"operations":[
  {"op":"set","key":"a","value":"1"},
  {"op":"get","key":"a"}
]}`;

const json = (method, path, body, headers = {}) => ({ method, path, body, type: "application/json", headers });

const put = ({ key, value, ttl, headers }, upsert) => ({ method: "PUT", path: withQuery(keyPath(key), { upsert, ttl }), body: value, type: "application/octet-stream", headers });

function whole(text) {
  if (!/^[+-]?\d{1,19}$/.test(text.trim())) throw new Error("Enter a whole number to add.");
  return text.trim().replace("+", "");
}
