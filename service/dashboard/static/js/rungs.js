// How many trials are at each fidelity, in which state, and how many were promoted.

import { axis, ChartCard, legend, tip } from "./chart.js";
import { significant } from "./format.js";

const STATES = [["n_completed", "completed", "accent"], ["n_running", "running", "high"], ["n_waiting", "waiting", "zero"], ["n_failed", "failed", "mark"], ["n_stopped", "stopped", "other"]];

export class Rungs {
  constructor(parent, { spec }) {
    this.hasFidelities = Boolean(spec.fidelity || spec.task);
    this.card = new ChartCard(parent, "Rungs and promotions");
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => ({
      caption: "Trials at each fidelity",
      columns: ["fidelity", ...this.#states().map(([, word]) => word), "promoted"].map((title) => ({ title, number: true })),
      rows: this.rungs.map((rung) => [significant(rung.fidelity), ...STATES.map(([key]) => rung[key]), rung.n_promoted]),
    });
  }

  show({ rungs }, hasEnded) {
    Object.assign(this, { rungs, hasEnded });
    this.card.show();
  }

  /** In a study that has ended nothing runs any more. */
  #states() {
    return STATES.map(([key, word, colour]) => [key, this.hasEnded && key === "n_running" ? "cut off" : word, colour]);
  }

  #options(colours) {
    if (!this.rungs?.length) return this.hasFidelities ? "No trial has begun yet: the trials at each fidelity will be a bar." : "This study has no fidelities: every trial is a full one.";
    this.card.say("Each bar is a fidelity: cheap trials below, full ones on top, without the default. A diamond says how many of them were promoted to the rung above.");
    const bars = this.#states().filter(([key]) => this.rungs.some((rung) => rung[key] > 0)).map(([key, name, colour]) => ({ type: "bar", name, stack: "trials", color: colours[colour], barMaxWidth: 34, data: this.rungs.map((rung) => rung[key]) }));
    const promoted = { type: "scatter", name: "promoted", symbol: "diamond", symbolSize: 13, color: colours.pick, z: 5, itemStyle: { borderColor: colours.card, borderWidth: 1.5, opacity: 1 }, data: this.rungs.map((rung, i) => (i + 1 < this.rungs.length ? rung.n_promoted : null)),
      label: { show: true, position: "right", color: colours.text, backgroundColor: colours.card, padding: [2, 4, 1, 4], lineHeight: 14, borderRadius: 3, textBorderWidth: 0, formatter: ({ value }) => String(value) } };
    return {
      description: `Trials on ${this.rungs.length} rungs.`,
      grid: { left: 58, right: 28, top: 36, bottom: 46 },
      legend: legend(colours),
      tooltip: { confine: true, trigger: "axis", axisPointer: { type: "shadow" }, formatter: (items) => tip(`fidelity ${items[0].name}`, ...items.filter(({ value }) => value !== null && value !== undefined).map(({ value, seriesName }) => `${value} ${seriesName}`)) },
      yAxis: axis("fidelity", colours, { type: "category", data: this.rungs.map((rung) => significant(rung.fidelity)), nameGap: 40, scale: false }),
      xAxis: axis("trials", colours, { minInterval: 1, scale: false }),
      series: [...bars, promoted],
    };
  }
}
