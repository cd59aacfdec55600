// The page of one study: everything at once, then only what is new.

import { report, studyButtons, trialButtons } from "./actions.js";
import { ask, get, ofStudy } from "./api.js";
import { library } from "./chart.js";
import { Correlation } from "./correlation.js";
import { Trials } from "./data.js";
import { badge, fill, make, path, tiles } from "./dom.js";
import { Energy } from "./energy.js";
import { follow } from "./events.js";
import { moment, significant } from "./format.js";
import { Front } from "./front.js";
import { History } from "./history.js";
import { Importance } from "./importance.js";
import { figures } from "./joules.js";
import { showLink } from "./link.js";
import { withToken } from "./login.js";
import { Notice } from "./notice.js";
import { Parallel } from "./parallel.js";
import { Rungs } from "./rungs.js";
import { Scheduled } from "./scheduled.js";
import { Selection } from "./selection.js";
import { MOST, Timeline } from "./timeline.js";
import { TrialsTable } from "./trials.js";
import { patiently, tell } from "./trouble.js";

const ENDED = ["COMPLETED", "FAILED", "STOPPED"];
// News come in bursts; views that the server works out from all trials are asked for less often.
const SOON = 200;
const LATER = 2500;
const study = decodeURIComponent(location.pathname.split("/")[2]);
const summary = document.getElementById("summary");
const cards = document.getElementById("cards");
const of = (rest) => get(ofStudy(study, rest));

async function begin() {
  const trials = new Trials(study);
  const [document_] = await Promise.all([of(""), trials.page(), library]);
  document.title = `${document_.spec.name} · greenshift`;
  path(["Studies", "/"], [document_.spec.name]);
  const page = new Page(document_, trials);
  page.first();
  return page;
}

class Page {
  constructor(document_, trials) {
    this.document = document_;
    this.trials = trials;
    const selection = new Selection();
    this.front = new Front(cards, document_, this.trials, selection);
    const say = (text, isGood) => this.notice.say(text, isGood);
    const buttons = (id, state) => make("span", { className: "row" }, trialButtons(study, id, state, say, this.hasEnded));
    this.parts = [
      this.#later(new History(cards, document_, this.trials), (view) => of("/history").then((found) => view.show(found))),
      this.#later(new Rungs(cards, document_), (view) => of("/rungs").then((found) => view.show(found, this.hasEnded))),
      this.#later(new Parallel(cards, document_, this.trials, selection), async (view) => view.show()),
      this.#later(new Energy(cards, document_), async (view) => view.show(...(await Promise.all([of("/ledger"), this.#payback()])))),
      this.#later(new Importance(cards), (view) => of("/importance").then((found) => view.show(found))),
      this.#later(new Correlation(cards), (view) => of("/rungs").then((found) => view.show(found))),
      this.#later(new Timeline(cards, this.trials), (view) => this.#timeline(view)),
      this.#later(new TrialsTable(cards, document_, this.trials, buttons), async (view) => view.show(this.hasEnded)),
    ];
    this.heading = make("div", { className: "card-head" });
    this.facts = make("div");
    summary.append(this.heading, this.facts);
    this.notice = new Notice(summary);
    this.news = new Scheduled(() => this.#update(), SOON);
  }

  /** A view that is asked for when it is seen, and again when something is new. */
  #later(view, show) {
    const ask = () => show(view).catch((error) => {
      view.card.fail(error.message);
      throw error;
    });
    return new Scheduled(ask, LATER, view.card.element);
  }

  /** The moment is the service's: the clock of who looks may differ. */
  async #timeline(view) {
    const [answer, crew] = await Promise.all([ask(ofStudy(study, `/timeline?last=${MOST}`)), get("/workers")]);
    view.show(await answer.json(), this.hasEnded, Date.parse(answer.headers.get("Date")), crew);
  }

  async #payback() {
    return this.document.spec.task ? null : of("/payback");
  }

  /** What is known already; all else comes when it comes. */
  first() {
    const { state, n_trials, reason } = this.document;
    this.#head({ state, n_trials, reason });
    this.#shown();
    this.parts.forEach((part) => part.ask());
    this.news.ask();
  }

  /** Draws the front; how long that took is told to whoever measures. */
  #shown() {
    const begin = performance.now();
    this.front.show();
    performance.measure("greenshift-front", { start: begin });
    cards.dataset.trials = this.trials.size;
    cards.dataset.front = this.trials.front.length;
  }

  async #update() {
    await Promise.all([this.#status(), this.trials.update(() => this.#shown())]);
    this.parts.forEach((part) => part.ask());
  }

  async #status() {
    const status = await of("/status");
    if (JSON.stringify(status) === this.said) return;
    this.said = JSON.stringify(status);
    this.#head(status);
  }

  #head({ state, n_trials: n, reason, hypervolume, energy_joules_by_quality: joules }) {
    this.hasEnded = ENDED.includes(state);
    const { spec, created_at } = this.document;
    const limit = spec.budget.n_trials ? ` of ${spec.budget.n_trials}` : "";
    const subject = spec.task ? `task ${spec.task}` : `${spec.network} on ${spec.dataset}`;
    this.#heading(state, spec.name);
    const counts = [[`completed${this.trials.withDefault}`, `${n.completed}${limit}`], [this.hasEnded && n.running > 0 ? "cut off" : "running", n.running], ["waiting", n.waiting], ["failed", n.failed], ["stopped", n.stopped]];
    const said = (value, words, none) => (value === undefined ? "…" : value === null ? none : words(value));
    const volume = [`hypervolume, ${this.trials.volumeUnit(Object.keys(spec.objectives))}`, said(hypervolume, (value) => significant(value, 4), "no front yet")];
    const hasBegun = n.running + n.completed + n.failed + n.stopped > 0;
    const spent = joules === undefined ? "…" : figures(joules, hasBegun ? "unknown so far" : "nothing yet");
    const ended = this.hasEnded && report() ? make("p", { className: "note good" }, `The run has ended. Its report: ${report()}`) : null;
    fill(this.facts, make("p", { className: "soft" }, `${subject}, study ${study}, begun ${moment(created_at)}`), reason ? make("p", { className: `note ${{ COMPLETED: "good", FAILED: "bad" }[state] ?? ""}` }, `${state}: ${reason}`) : null, ended, tiles([...[...counts, volume].map(([name, value]) => [name, String(value)]), ["energy spent, as far as known", spent]]));
    showLink(this.isThere, this.hasEnded);
  }

  /** Name, state and buttons, kept as they are while the state is: somebody may be about to press one. */
  #heading(state, name) {
    if (this.heading.dataset.state === state) return;
    this.heading.dataset.state = state;
    const buttons = studyButtons(study, name, state, (text, isGood) => this.notice.say(text, isGood));
    fill(this.heading, make("h1", {}, name, " ", badge(state)), make("div", { className: "row", id: "actions" }, buttons));
  }

  onEvents() {
    this.news.ask();
  }

  onLink(isThere) {
    this.isThere = isThere;
    showLink(isThere, this.hasEnded);
    if (isThere) this.news.ask();
  }
}

try {
  const page = await patiently(begin, summary);
  await withToken(() => follow(study, page.trials.seq, { onEvents: (messages) => page.onEvents(messages), onLink: (isThere) => page.onLink(isThere) }));
} catch (error) {
  tell(error, summary, "study");
  cards.replaceChildren();
}
