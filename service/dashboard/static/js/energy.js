// What the search has spent and by which cause, and after how many inferences it has paid for itself.

import { axis, ChartCard, legend, tip } from "./chart.js";
import { fill, make, table, tiles } from "./dom.js";
import { amount, compact, figure, kind } from "./format.js";
import { figures, inWords, sums } from "./joules.js";

const CAUSES = {
  completed: "finished trials", continued: "continued trials", failed: "failed trials", stopped: "cancelled trials", retried: "retried attempts",
  abandoned: "lost attempts", late: "late results", inference: "passes to measure inference", final: "final trainings",
};
const MOST_NETWORKS = 8;

export class Energy {
  constructor(parent, study) {
    this.study = study;
    this.card = new ChartCard(parent, "Energy ledger", { wide: true, size: "low" });
    this.facts = make("div");
    this.payback = make("div");
    this.card.body.prepend(this.facts);
    this.card.body.append(this.payback);
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => ({
      caption: "What attempts have spent, by cause, worker and the way in which it is known",
      columns: ["cause", "worker", "device", "known by", "attempts", "of unknown energy", "energy"].map((title, i) => ({ title, number: i > 3 })),
      rows: this.ledger.entries.map((entry) => [CAUSES[entry.cause] ?? entry.cause, entry.worker, entry.device, kind(entry.quality, entry.method), entry.n_attempts, entry.n_unknown, amount(entry.joules, "J")]),
    });
  }

  show(ledger, payback) {
    Object.assign(this, { ledger, document: payback });
    this.card.show();
    this.#facts();
    this.#payback();
  }

  #options(colours) {
    const entries = (this.ledger?.entries ?? []).filter((entry) => entry.joules !== null);
    if (entries.length === 0) return this.ledger?.entries.length ? "Nothing is known of what was spent." : "No attempt has ended yet: what attempts spend will be a bar for each cause.";
    const causes = [...new Set(entries.map((entry) => entry.cause))];
    const kinds = [...new Set(entries.map((entry) => entry.quality))];
    const decal = { symbol: "rect", symbolSize: 0.5, rotation: -0.8, dashArrayX: [1, 0], dashArrayY: [2, 4], color: colours.card };
    return {
      description: `Energy by cause: ${causes.map((cause) => `${CAUSES[cause] ?? cause} ${inWords(sums(entries.filter((entry) => entry.cause === cause)))}`).join(", ")}.`,
      grid: { left: 8, right: 28, top: 34, bottom: 46, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: legend(colours),
      xAxis: axis("energy", colours, { scale: false, axisLabel: { formatter: (value) => amount(value, "J") } }),
      yAxis: axis("", colours, { type: "category", scale: false, data: causes.map((cause) => CAUSES[cause] ?? cause), inverse: true }),
      tooltip: { confine: true, trigger: "item", formatter: ({ name, seriesName, value }) => tip(name, `${amount(value, "J")} (${seriesName})`) },
      series: kinds.map((quality) => ({
        type: "bar", stack: "energy", name: kind(quality), color: quality === "estimated" ? colours.other : colours.accent, barMaxWidth: 26, itemStyle: quality === "estimated" ? { decal } : {},
        data: causes.map((cause) => this.#sum(entries.filter((entry) => entry.quality === quality), cause) || null),
      })),
    };
  }

  #sum(entries, cause) {
    return entries.filter((entry) => entry.cause === cause).reduce((sum, entry) => sum + entry.joules, 0);
  }

  #facts() {
    const { entries } = this.ledger;
    const n = entries.reduce((sum, entry) => sum + entry.n_unknown, 0);
    const facts = [["the search has spent", figures(sums(entries), entries.length > 0 ? "unknown" : "nothing yet")]];
    if (n > 0) facts.push(["attempts of unknown energy", String(n)]);
    const best = this.#soonest();
    if (this.document?.default_joules != null) facts.push(["the default network, per inference", figure(this.document.default_joules, "J", this.document.quality, this.document.method)]);
    if (best) facts.push(["has paid for itself after", `${compact(best.n_inferences_to_pay)} inferences of ${best.trial_id}`]);
    fill(this.facts, tiles(facts));
  }

  #soonest() {
    return (this.document?.networks ?? []).filter((row) => row.n_inferences_to_pay !== null).sort((a, b) => a.n_inferences_to_pay - b.n_inferences_to_pay)[0];
  }

  #payback() {
    const networks = this.document?.networks ?? [];
    if (networks.length === 0) return fill(this.payback);
    const shown = [...networks].sort((a, b) => (a.n_inferences_to_pay ?? Infinity) - (b.n_inferences_to_pay ?? Infinity)).slice(0, MOST_NETWORKS);
    const rows = shown.map((row) => [
      make("a", { href: `/studies/${this.study.study_id}/trials/${encodeURIComponent(row.trial_id)}` }, row.trial_id),
      amount(row.joules_per_inference, "J"), row.saved_joules_per_inference === null ? "unknown" : row.saved_joules_per_inference <= 0 ? "nothing" : amount(row.saved_joules_per_inference, "J"), row.n_inferences_to_pay === null ? (row.saved_joules_per_inference <= 0 ? "never" : "unknown") : compact(row.n_inferences_to_pay),
    ]);
    const heads = ["trial", "per inference", "saved against the default", "inferences until the search is paid"].map((title, i) => ({ title, number: i > 0 }));
    const how = make("p", { className: "soft" }, `Energy per inference is ${kind(this.document.quality, this.document.method)} for shift-and-add hardware and not measured; what the search has spent is ${this.document.search_joules === null ? "unknown in part, so nobody can tell" : kind(this.document.search_quality, this.document.search_method)}.`);
    const more = networks.length > shown.length ? ` (the ${shown.length} of ${networks.length} that pay soonest)` : "";
    fill(this.payback, make("h3", {}, "When the search has paid for itself"), how, table(`Networks of the front${more}`, heads, rows));
  }
}
