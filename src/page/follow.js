// Follows the changes of keys by long polls of `/watch`, while somebody looks.
//
// Only the explorer follows, one request at a time, and none of a page that is hidden: a browser opens few connections
// to a node, and other tabs want some too.

import { getJson, token, withQuery } from "./api.js";

const WAIT_SECONDS = 20;
const CHANGES_MAX = 500;
const REST_MS = 400;
const FAILED_REST_MS = 3000;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Follower {
  /** `changed` is called with changes, or with null where there were too many to tell. */
  constructor(changed) {
    this.changed = changed;
    this.stopper = null;
    this.prefix = null;
    document.addEventListener("visibilitychange", () => this.prefix !== null && (document.hidden ? this.pause() : this.run()));
  }

  start(prefix) {
    if (this.prefix === prefix && this.stopper) return;
    this.pause();
    this.prefix = prefix;
    if (!document.hidden) this.run();
  }

  stop() {
    this.pause();
    this.prefix = null;
  }

  pause() {
    this.stopper?.abort();
    this.stopper = null;
  }

  async run() {
    if (this.stopper) return;
    const { signal } = (this.stopper = new AbortController());
    const prefix = this.prefix || null;
    let after = null;
    while (!signal.aborted) {
      try {
        const used = token();
        const answer = await getJson(withQuery("watch", { prefix, after, wait: after === null ? 0 : WAIT_SECONDS, limit: CHANGES_MAX, values: false }), { signal, quiet: true });
        if (signal.aborted) return;
        const isFirst = after === null;
        const isFull = answer.changes.length === CHANGES_MAX || used !== token();
        after = isFull ? null : `${answer.log}-${answer.next}`;
        if (isFull) this.changed(null);
        else if (!isFirst && answer.changes.length) this.changed(answer.changes);
        await sleep(REST_MS);
      } catch (error) {
        if (signal.aborted) return;
        // The log no longer reaches back that far: what is shown is asked for anew.
        if (error.status === 410 && after !== null) this.changed(null);
        after = null;
        await sleep(FAILED_REST_MS);
      }
    }
  }
}
