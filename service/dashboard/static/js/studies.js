// The page of all studies: one line each, asked again every few seconds while it is seen.

import { get } from "./api.js";
import { badge, fill, make, table } from "./dom.js";
import { moment } from "./format.js";
import { withToken } from "./login.js";
import { showLink } from "./link.js";
import { patiently, tell } from "./trouble.js";

const EVERY = 3000;
const PAGE = 50;
const ENDED = ["COMPLETED", "FAILED", "STOPPED"];
const place = document.getElementById("studies");
const ids = [null];

async function show() {
  const after = ids.at(-1);
  const page = await get(`/studies?limit=${PAGE}${after ? `&after=${encodeURIComponent(after)}` : ""}`);
  const said = JSON.stringify(page);
  showLink(true);
  if (said === place.dataset.shown) return;
  place.dataset.shown = said;
  if (page.items.length === 0) {
    fill(place, make("p", { className: "note" }, "There is no study yet. Submit one: greenshift submit digits"));
    return;
  }
  const heads = ["study", "state", "completed", "running", "waiting", "failed", "begun", "id"].map((title, i) => ({ title, number: i > 1 && i < 6 }));
  const more = make("p", { className: "row" }, turn("Newer", ids.length === 1, () => ids.pop()), turn("Older", page.next === null, () => ids.push(page.next)));
  fill(place, table("All studies, the newest first", heads, page.items.map(row)), more);
}

function row(study) {
  const n = study.n_trials;
  const link = make("a", { href: `/studies/${encodeURIComponent(study.study_id)}` }, study.name);
  return [link, badge(study.state), n.completed, n.running > 0 && ENDED.includes(study.state) ? `${n.running} cut off` : n.running, n.waiting, n.failed, moment(study.created_at), make("span", { className: "soft" }, study.study_id)];
}

function turn(word, disabled, change) {
  return make("button", { className: "small", type: "button", disabled, onclick: () => { change(); show(); } }, word);
}

async function keepShowing() {
  let wait = 0;
  try {
    if (!document.hidden) await withToken(show);
  } catch (error) {
    showLink(false);
    wait = 1000 * (error.wait ?? 0);
  }
  setTimeout(keepShowing, Math.max(EVERY, wait));
}

try {
  await patiently(show, place);
  setTimeout(keepShowing, EVERY);
} catch (error) {
  tell(error, place, "study");
}
