// What a trial measured and how each figure is known; and where its energy went.

import { Card } from "./chart.js";
import { fill, make, table, tiles } from "./dom.js";
import { amount, figure, kindMark, seconds, significant, title } from "./format.js";

const FLAGS = {
  short_window: "the window was short", degraded: "part of it was lost", source_disagreement: "two ways of measuring disagree", counter_reset: "the counter was reset", gpu_lost: "the GPU was lost",
  shared_gpu: "another process was on the GPU", mig: "a part of a GPU", no_counter: "there is no counter", ci_fallback: "the carbon intensity is a fallback", codecarbon_failed: "CodeCarbon failed",
  stale_idle: "idle power was measured long ago", process_died: "the process died",
};

export class Provenance {
  constructor(parent, objectives) {
    this.objectives = objectives;
    this.figures = new Card(parent, "Figures, and how each is known", { wide: true });
    this.energy = new Card(parent, "Where its energy went");
  }

  /** `isOpen` where the trial may still bring what is not there. */
  show(trial, points, isOpen) {
    this.#figures(trial, points, isOpen);
    this.#energy(trial.result, isOpen);
  }

  #figures(trial, points, isOpen) {
    const found = Object.entries(trial.result?.objectives ?? {});
    if (found.length === 0) return this.figures.say(isOpen ? "Nothing has been measured yet: figures come when the trial ends." : "Nothing was measured.");
    const rows = found.sort(([a], [b]) => this.#rank(a) - this.#rank(b)).map(([name, measured]) => {
      const spread = points?.figures[name];
      const around = (value) => (value === null || value === undefined ? "unknown" : `± ${amount(value, measured.unit)}`);
      return [title(name), amount(measured.value, measured.unit), kindMark(measured.quality), measured.method, around(spread?.uncertainty[0]), around(spread?.deviation[0])];
    });
    this.figures.say("Deployment energy is computed for shift-and-add hardware; shifts are simulated here, so measured energy cannot show what that would save.");
    fill(this.figures.body, table("Figures of the trial", ["figure", "value", "known as", "method", "uncertainty (k = 2)", "deviation over seeds"].map((title) => ({ title })), rows));
  }

  #rank(name) {
    const place = this.objectives.indexOf(name);
    return place < 0 ? this.objectives.length : place;
  }

  #energy(result, isOpen) {
    const report = result?.energy;
    if (!report) return this.energy.say(isOpen ? "What the trial spends is known when it ends." : "Nothing is known of the energy of this trial.");
    const facts = [["energy of this attempt alone", figure(report.joules, "J", report.quality, report.method)], ["device", report.device || "unknown"], ["window", seconds(report.duration_seconds)]];
    const gpu = report.gpu;
    if (gpu?.uncertainty_joules != null) facts.push(["uncertainty of the meter (k = 2)", `± ${amount(gpu.uncertainty_joules, "J")}`]);
    if (gpu?.net_joules != null) facts.push(["above idle power", amount(gpu.net_joules, "J")]);
    if (report.emissions_grams != null) facts.push(["emissions", figure(report.emissions_grams, "g", "estimated")]);
    if (report.carbon) facts.push(["carbon intensity", `${significant(report.carbon.grams_per_kwh)} g / kWh, ${report.carbon.source}`]);
    for (const leg of result.earlier_legs) facts.push([`spent before, by ${leg.trial_id === result.trial_id ? "an earlier attempt" : `trial ${leg.trial_id}`}`, figure(leg.joules, "J", quality(leg.method), leg.method)]);
    const flags = report.flags.map((flag) => make("li", {}, FLAGS[flag] ?? flag));
    fill(this.energy.body, tiles(facts), flags.length ? make("div", {}, make("h3", {}, "What to know of it"), make("ul", {}, flags)) : null);
  }
}

/** How well a leg is known, of which only the method was kept. */
const quality = (method) => ({ none: "none", codecarbon: "estimated", analytic: "estimated", nvml_power_integral: "integrated" })[method] ?? "measured";
