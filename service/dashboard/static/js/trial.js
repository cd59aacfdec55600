// The page of one trial: its config, figures, learning curve, weights, and what became of it.

import { trialButtons } from "./actions.js";
import { get, ofStudy, ofTrial } from "./api.js";
import { Card, library } from "./chart.js";
import { Curve } from "./curve.js";
import { badge, fill, make, path, tiles } from "./dom.js";
import { follow } from "./events.js";
import { plain, seconds, significant } from "./format.js";
import { Layers } from "./layers.js";
import { showLink } from "./link.js";
import { withToken } from "./login.js";
import { Notice } from "./notice.js";
import { Provenance } from "./provenance.js";
import { Scheduled } from "./scheduled.js";
import { isPending, standing } from "./standing.js";
import { patiently, tell } from "./trouble.js";

const ENDED = ["COMPLETED", "FAILED", "STOPPED"];
const OFTEN = 1000;
const [, , study, , trialId] = location.pathname.split("/").map(decodeURIComponent);
const summary = document.getElementById("summary");
const cards = document.getElementById("cards");

class Page {
  constructor(found, trial) {
    this.study = found;
    this.head = make("div");
    summary.append(this.head);
    this.notice = new Notice(summary);
    this.provenance = new Provenance(cards, Object.keys(found.spec.objectives));
    this.curve = new Curve(cards);
    this.layers = new Layers(cards);
    this.config = new Card(cards, "Configuration", { wide: true });
    this.trial = trial;
    this.epochs = [];
    this.news = new Scheduled(() => this.update(), OFTEN);
  }

  /** What is known already; all else comes when it comes. */
  first() {
    this.#head();
    this.news.ask();
  }

  async update() {
    const [found, trial, epochs] = await Promise.all([get(ofStudy(study)), get(ofTrial(study, trialId)), get(ofTrial(study, trialId, "/epochs"))]);
    Object.assign(this, { study: found, trial, epochs });
    this.#head();
    const [page, layers] = await Promise.all([
      get(ofStudy(study, `/points?after=${trial.seq - 1}&limit=1`)),
      get(ofTrial(study, trialId, "/layers")),
    ]);
    const isOpen = isPending(trial, found.state);
    this.provenance.show(trial, page.trial_id[0] === trialId ? page : null, isOpen);
    this.curve.show(epochs, trial, isOpen);
    this.layers.show(layers, isOpen);
    this.#config();
  }

  #head() {
    const { trial } = this;
    const hasEnded = ENDED.includes(this.study.state);
    const buttons = trialButtons(study, trialId, trial.state, (text, isGood) => this.notice.say(text, isGood), hasEnded);
    const heading = make("div", { className: "card-head" }, make("h1", {}, `Trial ${trialId} `, badge(trial.state)), make("div", { className: "row", id: "actions" }, buttons));
    const now = standing(trial, this.study.state, this.epochs, this.study.spec.n_seeds ?? 1);
    const facts = [["fidelity", trial.fidelity === null ? "full" : `${significant(trial.fidelity)}${trial.is_full ? ", the full one" : ""}`], ["shift depth", trial.shift_depth ?? "–"], ["epochs", trial.epochs ?? "–"], ["seed", trial.seed], ["attempt", trial.attempt || "none yet"]];
    if (trial.promoted_from) facts.push(["promoted from", make("a", { href: `/studies/${study}/trials/${encodeURIComponent(trial.promoted_from)}` }, trial.promoted_from)]);
    if (trial.result) facts.push(["took", took(trial.result)], ["worker", trial.result.worker || "unknown"]);
    const lines = facts.map(([name, value]) => [name, typeof value === "object" ? value : String(value)]);
    fill(this.head, heading, trial.is_default ? make("p", { className: "soft" }, "What the search is compared with; never counted in the front.") : null, tiles(lines), now === null ? null : make("p", { className: "note" }, now), failure(trial.result?.failure));
    showLink(this.isThere, hasEnded);
  }

  #config() {
    const entries = Object.entries(this.trial.config);
    fill(this.config.body, make("dl", { className: "config" }, entries.map(([name, value]) => make("div", {}, make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, plain(value))))));
  }

  onEvents(messages) {
    if (messages.some((message) => message.trial === trialId || message.trial === null)) this.news.ask();
  }

  onLink(isThere) {
    this.isThere = isThere;
    showLink(isThere, ENDED.includes(this.study.state));
    if (isThere) this.news.ask();
  }

  /** Epochs are no events, so a trial that trains is looked at again and again. */
  watch() {
    setInterval(() => this.trial.state === "RUNNING" && !document.hidden && this.news.ask(), 2 * OFTEN);
  }
}

/** With the attempts that it went on from; a worker that was lost told nothing. */
function took({ seconds_before, duration_seconds }) {
  const all = (seconds_before ?? 0) + duration_seconds;
  return all > 0 ? seconds(all) : "unknown";
}

function failure(found) {
  if (!found) return null;
  const trace = found.traceback ? make("details", {}, make("summary", {}, "Traceback"), make("pre", { tabIndex: 0 }, found.traceback)) : null;
  return make("div", { className: "note bad" }, make("strong", {}, found.kind.replaceAll("_", " ")), `: ${found.message}`, trace);
}

async function begin() {
  const [found, trial] = await Promise.all([get(ofStudy(study)), get(ofTrial(study, trialId)), library]);
  document.title = `Trial ${trialId} of ${found.spec.name} · greenshift`;
  path(["Studies", "/"], [found.spec.name, `/studies/${encodeURIComponent(study)}`], [`Trial ${trialId}`]);
  const page = new Page(found, trial);
  page.first();
  page.watch();
  return page;
}

try {
  const page = await patiently(begin, summary);
  await withToken(() => follow(study, page.trial.seq, { onEvents: (messages) => page.onEvents(messages), onLink: (isThere) => page.onLink(isThere) }));
} catch (error) {
  tell(error, summary, "trial");
  cards.replaceChildren();
}
