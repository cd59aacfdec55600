// What a page says where it has nothing to show yet: what passes is asked again, what does not is called by its name.

import { ApiError } from "./api.js";
import { fill, make } from "./dom.js";
import { withToken } from "./login.js";

// Seconds, where the service does not say how long.
const WAIT = 5;
const TITLES = { 0: "The service does not answer", 403: "Not let in", 429: "Too many requests at once", 503: "The service cannot answer yet" };
const REASONS = {
  0: "It may be starting, or have ended.",
  429: "The service takes only so many requests a second from each caller.",
  503: "It is starting, or its store cannot be used for now.",
};

/** What `work` gives in the end: while the service is busy or away, `place` says so and counts down to the next try. */
export async function patiently(work, place) {
  for (;;) {
    try {
      const found = await withToken(work);
      place.querySelector(":scope > .trouble")?.remove();
      return found;
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isPassing) throw error;
      await countdown(error, place);
    }
  }
}

/** Says for good why there is nothing to see; only what is unknown is called so. */
export function tell(error, place, what) {
  const isUnknown = [404, 422].includes(error.status);
  const title = isUnknown ? `No ${what} here` : TITLES[error.status] ?? "Something went wrong";
  fill(place, heading(place, title), make("p", { className: "note bad", role: "alert" }, error.message), make("p", {}, make("a", { href: "/" }, "All studies")));
}

async function countdown(error, place) {
  const status = error.status in REASONS ? error.status : 0;
  const left = make("span");
  const said = error.status === 0 ? null : make("p", { className: "soft" }, error.message);
  fill(place, make("div", { className: "trouble" }, heading(place, TITLES[status]), make("p", { className: "note", role: "alert" }, `${REASONS[status]} This page asks again by itself.`), said, make("p", {}, "Next try in ", left, ".")));
  for (let n = Math.ceil(error.wait ?? WAIT); n > 0; n--) {
    left.textContent = `${n} s`;
    await new Promise((done) => setTimeout(done, 1000));
  }
}

/** One heading of a page is the first. */
const heading = (place, text) => make(document.querySelector("h1") === null || place.querySelector("h1") ? "h1" : "h2", {}, text);
