// Configs and figures as lines over parallel axes, linked to the front by what is picked.

import { ChartCard } from "./chart.js";
import { make } from "./dom.js";
import { amount, plain, significant, title } from "./format.js";

// Lines behind the front; more of them are a grey wall.
const MOST_LINES = 250;
// An axis beside others needs so many pixels; where there are fewer, axes lie above each other.
const [AXIS, MARGINS, WIDE] = [72, 98, 900];
// Names break into lines of so many letters.
const LETTERS = 13;
const FONT = "11px system-ui, sans-serif";

export class Parallel {
  constructor(parent, study, trials, selection) {
    Object.assign(this, { study, trials, selection });
    this.objectives = Object.keys(study.spec.objectives);
    this.card = new ChartCard(parent, "Configurations", { wide: true, size: "tall" });
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => this.#table();
    this.card.onMade = (chart) => this.#listen(chart);
    this.card.controls.append(make("button", { className: "small", type: "button", onclick: () => this.#clear() }, "Clear ranges"));
    selection.onChange(() => this.#isPicking || this.card.show());
  }

  #isPicking = false;

  show() {
    this.card.show();
  }

  #clear() {
    this.card.chart?.clear();
    this.selection.set([]);
    this.card.show();
  }

  /** Drawing a range on an axis picks the lines in it. */
  #listen(chart) {
    chart.on("axisareaselected", () => {
      const found = chart.getModel().getSeries().flatMap((series, s) => series.getRawIndicesByActiveState("active").map((row) => this.shown[s]?.[row]));
      this.#isPicking = true;
      this.selection.set(found.filter((i) => i !== undefined).map((i) => this.trials.columns.trial_id[i]));
      this.#isPicking = false;
    });
    chart.on("click", ({ seriesIndex, dataIndex }) => {
      const i = this.shown[seriesIndex]?.[dataIndex];
      if (i !== undefined) this.selection.toggle(this.trials.columns.trial_id[i]);
    });
  }

  #options(colours) {
    const { columns, front, place } = this.trials;
    const best = front.map((id) => place.get(id));
    const isBest = new Set(best);
    const others = [];
    for (let i = this.trials.size - 1; i >= 0 && others.length < MOST_LINES; i--) {
      if (columns.is_full[i] && columns.state[i] === "COMPLETED" && !isBest.has(i) && !columns.is_default[i]) others.push(i);
    }
    const picked = this.selection.ids().map((id) => place.get(id)).filter((i) => i !== undefined);
    const defaults = [...columns.is_default.keys()].filter((i) => columns.is_default[i] && columns.state[i] === "COMPLETED");
    const all = [...new Set([...others, ...best, ...defaults, ...picked])];
    if (all.length < 2) return "No two trials have finished at full fidelity yet: each will be a line over its hyperparameters and figures.";
    this.axes = this.#axes(all);
    this.shown = [others, best, defaults, picked];
    const width = this.card.plot.clientWidth;
    const isNarrow = width > 0 && width < Math.min(WIDE, MARGINS + AXIS * this.axes.length);
    const styles = [[colours.zero, 1, 0.6, "others"], [colours.accent, 2, 0.9, "front"], [colours.mark, 2, 1, "the default"], [colours.pick, 3, 1, "picked"]];
    this.card.say(`Front and default, and of all others at full fidelity the newest ${others.length}. Draw along an axis to pick a range; the front highlights what is picked.`);
    return {
      description: `Hyperparameters and figures of ${all.length} trials over ${this.axes.length} parallel axes.`,
      legend: { top: 0, textStyle: { color: colours.text }, inactiveColor: colours.zero, data: styles.map(([, , , name]) => name) },
      parallel: { left: isNarrow ? Math.min(18 + longest(this.axes), width / 2) : 44, right: isNarrow ? 22 : 54, top: isNarrow ? 62 : 76, bottom: isNarrow ? 26 : 18, layout: isNarrow ? "vertical" : "horizontal", axisExpandable: false,
        parallelAxisDefault: { nameLocation: "start" } },
      parallelAxis: this.axes.map((found, dim) => this.#axis(found, dim, colours, isNarrow)),
      series: styles.map(([color, width, opacity, name], s) => ({
        type: "parallel", name, color, lineStyle: { color, width, opacity }, z: 2 + s, data: this.shown[s].map((i) => this.axes.map((found) => found.at(i))),
        inactiveOpacity: 0.08, activeOpacity: 1, smooth: false, tooltip: { show: false },
      })),
    };
  }

  /** Figures, and hyperparameters that differ between these trials. */
  #axes(all) {
    const figures = this.objectives.map((name) => ({ name: title(name), at: (i) => this.trials.value(name, i) ?? "-", unit: this.trials.unit(name).split(" ")[0] }));
    const knobs = [...this.trials.config].map(([name, column]) => ({ name: name.replaceAll("_", " "), at: (i) => column[i] ?? "-" }));
    return [...figures, ...knobs].filter((found) => {
      found.values = [...new Set(all.map(found.at))].filter((value) => value !== "-");
      return found.values.length > 1;
    });
  }

  #axis({ name, values, unit }, dim, colours, isNarrow) {
    const shared = {
      dim, name: broken(name), nameTextStyle: { color: colours.text, fontSize: 11, lineHeight: 13, align: isNarrow ? "right" : "center" }, nameLocation: isNarrow ? "start" : "end", nameGap: isNarrow ? 8 : 10,
      axisLabel: { color: colours.text, fontSize: 10, hideOverlap: true, textBorderColor: colours.card, textBorderWidth: 3 }, axisLine: { lineStyle: { color: colours.soft } }, axisTick: { lineStyle: { color: colours.soft } },
      areaSelectStyle: { color: colours.pick, opacity: 0.25, borderColor: colours.pick, width: 22 },
    };
    if (values.some((value) => typeof value !== "number")) return { ...shared, type: "category", data: values.map(String).sort() };
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const formatter = (value) => (unit && unit !== "ratio" ? amount(value, unit) : significant(value, 2));
    const type = low > 0 && high / low > 50 ? "log" : "value";
    const minInterval = values.every(Number.isInteger) ? 1 : undefined;
    return { ...shared, type, scale: true, minInterval, axisLabel: { ...shared.axisLabel, formatter } };
  }

  #table() {
    const rows = this.shown.slice(1).flat().map((i) => [this.trials.columns.trial_id[i], ...this.axes.map((found) => plain(found.at(i)))]);
    return { caption: "Front, default and what is picked", columns: [{ title: "trial" }, ...this.axes.map(({ name }) => ({ title: name }))], rows };
  }
}

/** A name in short lines; a long word stays whole. */
function broken(name) {
  const lines = [];
  for (const word of name.split(" ")) {
    if (lines.length > 0 && `${lines.at(-1)} ${word}`.length <= LETTERS) lines.push(`${lines.pop()} ${word}`);
    else lines.push(word);
  }
  return lines.join("\n");
}

/** How many pixels the longest line of the names takes. */
function longest(axes) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = FONT;
  return Math.ceil(Math.max(...axes.flatMap(({ name }) => broken(name).split("\n").map((line) => context.measureText(line).width))));
}
