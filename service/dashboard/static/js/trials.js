// The trials of a study as a table in pages, the latest first, by state.

import { Card } from "./chart.js";
import { badge, fill, make, table } from "./dom.js";
import { amount, kind, seconds, significant, title } from "./format.js";

const PAGE = 25;
const STATES = ["all", "WAITING", "RUNNING", "COMPLETED", "FAILED", "STOPPED"];

export class TrialsTable {
  constructor(parent, study, trials, act) {
    Object.assign(this, { study, trials, act });
    this.objectives = Object.keys(study.spec.objectives);
    this.card = new Card(parent, "Trials", { wide: true });
    this.from = 0;
    const select = make("select", { onchange: () => { this.state = select.value; this.from = 0; this.show(); } }, STATES.map((state) => make("option", { value: state }, state)));
    this.state = "all";
    this.older = make("button", { className: "small", type: "button", onclick: () => this.#turn(PAGE) }, "Older");
    this.newer = make("button", { className: "small", type: "button", onclick: () => this.#turn(-PAGE) }, "Newer");
    this.card.controls.append(make("label", {}, "state ", select), this.newer, this.older);
  }

  #turn(n) {
    this.from = Math.max(0, this.from + n);
    this.show();
  }

  show(hasEnded = this.hasEnded) {
    this.hasEnded = hasEnded;
    const { columns } = this.trials;
    const found = [];
    for (let i = this.trials.size - 1; i >= 0; i--) if (this.state === "all" || columns.state[i] === this.state) found.push(i);
    const shown = found.slice(this.from, this.from + PAGE);
    this.newer.disabled = this.from === 0;
    this.older.disabled = this.from + PAGE >= found.length;
    this.card.say(found.length === 0 ? (this.trials.size ? "No such trial." : "No trial is there yet: each will be a line here.") : `${this.from + 1} to ${this.from + shown.length} of ${found.length}, the latest first.`);
    const heads = ["trial", "state", "fidelity", ...this.objectives.map(title), "took", "worker", ""].map((name) => ({ title: name }));
    fill(this.card.body, found.length === 0 ? null : table("Trials", heads, shown.map((i) => this.#row(i))));
  }

  #row(i) {
    const { columns } = this.trials;
    const id = columns.trial_id[i];
    const objectives = this.objectives.map((name) => {
      const figure = this.trials.figure(name, i);
      return figure === null ? "–" : `${amount(figure.value, figure.unit)} (${kind(figure.quality)})`;
    });
    const isCutOff = this.hasEnded && columns.state[i] === "RUNNING";
    const state = make("span", {}, badge(columns.state[i]), columns.failure[i] ? ` ${columns.failure[i]}` : isCutOff ? " cut off when its study ended" : "");
    return [
      make("a", { href: `/studies/${this.study.study_id}/trials/${encodeURIComponent(id)}` }, id), state,
      columns.fidelity[i] === null ? "full" : significant(columns.fidelity[i]), ...objectives,
      columns.duration_seconds[i] === null ? "–" : seconds(columns.duration_seconds[i]), columns.worker[i] ?? "–", this.act(id, columns.state[i]),
    ];
  }
}
