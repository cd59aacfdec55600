// The Pareto front: one figure against another, fidelity as colour, the default as a mark of its own.

import { axis, ChartCard, legend, tip } from "./chart.js";
import { make } from "./dom.js";
import { amount, kind, significant, title } from "./format.js";
import { Marks } from "./marks.js";
import { palette } from "./palette.js";

// Spans of more than this are drawn on a logarithmic axis.
const WIDE = 10;

export class Front {
  constructor(parent, study, trials, selection) {
    Object.assign(this, { study, trials, selection });
    this.objectives = Object.keys(study.spec.objectives);
    this.card = new ChartCard(parent, "Pareto front", { wide: true, size: "tall" });
    this.choices = [this.objectives[1], this.objectives[0]];
    this.isFullOnly = false;
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => this.#table();
    this.card.onMade = (chart) => this.#listen(chart);
    selection.onChange(() => this.#redraw());
  }

  show() {
    this.#choose();
    this.#redraw();
  }

  #choose() {
    const names = this.trials.names(this.objectives);
    if (this.known === names.join()) return;
    this.known = names.join();
    const controls = ["horizontal", "vertical"].map((way, place) => {
      const options = names.map((name) => make("option", { value: name, selected: name === this.choices[place] }, title(name)));
      const select = make("select", { onchange: () => { this.choices[place] = select.value; this.card.show(); } }, options);
      return make("label", {}, `${way} `, select);
    });
    const clear = make("button", { className: "small", type: "button", onclick: () => this.selection.set([]) }, "Pick nothing");
    const full = make("input", { type: "checkbox", checked: this.isFullOnly, onchange: () => { this.isFullOnly = full.checked; this.card.show(); } });
    this.card.controls.replaceChildren(make("label", {}, full, " full fidelity only"), ...controls, clear);
  }

  #listen(chart) {
    chart.on("click", ({ seriesId, dataIndex }) => {
      const i = this.marks.sets[seriesId]?.[dataIndex];
      if (i !== undefined) this.selection.toggle(this.trials.columns.trial_id[i]);
    });
  }

  /** Draws anew what differs from what is drawn; everything where axes or series are others. */
  #redraw() {
    const marks = new Marks(this.trials, this.selection, this.choices, this.isFullOnly);
    const shape = JSON.stringify([this.choices, this.isFullOnly, marks.all.length > 0, marks.isMany, marks.groups.map(({ id }) => id), ...this.choices.map((name) => this.trials.origins(name))]);
    if (shape !== this.shape || marks.all.length === 0) {
      this.shape = shape;
      return this.card.show();
    }
    const [before, now] = [this.marks.sets, marks.sets];
    this.marks = marks;
    const isNew = (id) => now[id].length !== before[id]?.length || now[id].some((place, row) => place !== before[id][row]);
    const changed = marks.series(palette(), this.#step(), (id) => isNew(id in now ? id : "front"));
    if (changed.length > 0) this.card.patch(changed, this.#description());
    this.card.say(this.#words());
  }

  #options(colours) {
    const marks = new Marks(this.trials, this.selection, this.choices, this.isFullOnly);
    if (marks.all.length === 0) return "No trial has finished with both of these figures yet: each will be a point here.";
    const [x, y] = this.choices;
    const series = marks.series(colours, this.#step());
    this.marks = marks;
    this.card.say(this.#words());
    return {
      description: this.#description(),
      grid: { left: 64, right: 22, top: 44, bottom: 52 },
      legend: legend(colours, { data: [...new Set(series.map(({ name }) => name))].filter((name) => !["spread", "attained"].includes(name)) }),
      xAxis: this.#axis(x, marks.all.map((i) => this.trials.value(x, i)), colours),
      yAxis: { ...this.#axis(y, marks.all.map((i) => this.trials.value(y, i)), colours), nameGap: 46 },
      series,
      tooltip: { confine: true, trigger: "item", formatter: ({ seriesId, dataIndex }) => this.#tip(this.marks.sets[seriesId][dataIndex]) },
    };
  }

  #description() {
    const [x, y] = this.choices.map(title);
    return `${this.marks.all.length} trials, ${y} against ${x}; ${this.marks.best.length} of them are the Pareto front.`;
  }

  /** How the edge of what is dominated goes, where both objectives of the study are shown and there is no third. */
  #step() {
    const { objectives } = this.study.spec;
    const isOwn = this.objectives.length === 2 && this.choices[0] !== this.choices[1] && this.choices.every((name) => name in objectives);
    return !isOwn ? null : objectives[this.choices[0]] === "minimize" ? "end" : "start";
  }

  #axis(name, values, colours) {
    const origins = this.trials.origins(name);
    const unit = this.trials.unit(name);
    const kinds = [...new Set(origins.map((origin) => kind(origin.quality, origin.method)))].join(" or ");
    const [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
    const isLog = low > 0 && high / low > WIDE;
    const more = { type: isLog ? "log" : "value", axisLabel: { formatter: (value) => (unit === "ratio" || !unit ? significant(value, 3) : amount(value, unit.split(" ")[0])) } };
    return axis(`${title(name)} (${kinds || "unknown"})`, colours, more);
  }

  #tip(i) {
    const { columns } = this.trials;
    const lines = this.trials.names(this.objectives).map((name) => `${title(name)}: ${this.#said(name, i)}`);
    const fidelity = columns.fidelity[i] === null ? "" : `, fidelity ${significant(columns.fidelity[i])}`;
    return tip(`${columns.is_default[i] ? "the default, " : ""}trial ${columns.trial_id[i]}${fidelity}`, ...lines);
  }

  #said(name, i) {
    const figure = this.trials.figure(name, i);
    if (figure === null) return "unknown";
    const spread = figure.deviation ?? figure.uncertainty;
    const around = spread === null ? "" : ` ± ${amount(spread, figure.unit)}`;
    return `${amount(figure.value, figure.unit)}${around} (${kind(figure.quality, figure.method)})`;
  }

  #words() {
    const { all, best, defaults, hasBars } = this.marks;
    const hollow = "A hollow mark has a figure that is ≈ estimated, a filled one none.";
    const bars = hasBars ? " Bars: deviation over seeds, or uncertainty of the meter (k = 2)." : "";
    const others = defaults.length ? "; the default is the diamond and counted in neither" : "";
    return `${best.length} of ${all.length - defaults.length} finished trials are on the front${this.#ties(best)}${others}. ${hollow}${bars} Click a point to pick it.`;
  }

  /** Trials that are equal in every objective are all on the front. */
  #ties(best) {
    const n = new Set(best.map((i) => this.objectives.map((name) => this.trials.value(name, i)).join())).size;
    return n === best.length ? "" : ` (${n} distinct point${n === 1 ? "" : "s"})`;
  }

  #table() {
    const names = this.trials.names(this.objectives);
    const { columns, front, place } = this.trials;
    const defaults = columns.trial_id.filter((_, i) => columns.is_default[i]);
    const rows = [...front, ...defaults].map((id) => {
      const i = place.get(id);
      const pick = make("button", { className: "small", type: "button", "aria-pressed": String(this.selection.has(id)), onclick: () => this.selection.toggle(id) }, "pick");
      const link = make("a", { href: `/studies/${this.study.study_id}/trials/${encodeURIComponent(id)}` }, id);
      return [link, ...names.map((name) => this.#said(name, i)), pick];
    });
    const heads = [{ title: "trial" }, ...names.map((name) => ({ title: title(name) })), { title: "highlight" }];
    return { caption: "The front, and behind it what it is compared with", columns: heads, rows };
  }
}
