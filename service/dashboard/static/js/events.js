// The events of a study as they come, read by fetch so that a token can be sent; a lost connection is made again.

import { ApiError, ask, ofStudy } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 5000;

/**
 * Follows a study for ever, while its page is seen: a browser has few connections for all its tabs.
 *
 * `onEvents` is given the kinds and trials of what came, `onLink` whether the service answers.
 */
export async function follow(study, after, { onEvents, onLink }) {
  let seq = after;
  let wait = FIRST_WAIT;
  for (;;) {
    await seen();
    let asked = 0;
    const leaving = new AbortController();
    const leave = () => document.hidden && leaving.abort();
    document.addEventListener("visibilitychange", leave);
    try {
      const answer = await ask(ofStudy(study, `/events?after=${seq}`), { headers: { Accept: "text/event-stream" }, signal: leaving.signal });
      onLink(true);
      for await (const messages of read(answer.body)) {
        wait = FIRST_WAIT;
        for (const message of messages) seq = Math.max(seq, message.seq);
        onEvents(messages);
      }
    } catch (error) {
      if (error instanceof ApiError && [401, 403, 404].includes(error.status)) throw error;
      asked = 1000 * (error.wait ?? 0);
    } finally {
      document.removeEventListener("visibilitychange", leave);
    }
    if (leaving.signal.aborted) continue;
    onLink(false);
    await new Promise((done) => setTimeout(done, Math.max(wait, asked)));
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
}

/** Waits until the page is seen. */
function seen() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((done) => document.addEventListener("visibilitychange", done, { once: true })).then(seen);
}

/** The messages of a stream, those together that came together. */
async function* read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    const messages = parts.map(parse).filter((message) => message !== null);
    if (messages.length > 0) yield messages;
  }
}

function parse(text) {
  const data = text.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
  if (!data) return null;
  try {
    const event = JSON.parse(data);
    return event.seq === undefined ? null : { seq: event.seq, kind: event.kind, trial: event.trial_id };
  } catch {
    return null;
  }
}
