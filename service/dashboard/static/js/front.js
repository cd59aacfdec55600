// The Pareto front: one figure against another, fidelity as colour, the default as a mark of its own.

import { axis, ChartCard, legend, tip, whiskers } from "./chart.js";
import { make } from "./dom.js";
import { amount, kind, significant, title, unitOf } from "./format.js";
import { ramp } from "./palette.js";

const MOST_COLOURS = 8;
const LARGE = 2000;
// Spans of more than this are drawn on a logarithmic axis.
const WIDE = 30;

export class Front {
  constructor(parent, study, trials, selection) {
    Object.assign(this, { study, trials, selection });
    this.objectives = Object.keys(study.spec.objectives);
    this.card = new ChartCard(parent, "Pareto front", { wide: true, size: "tall" });
    this.choices = [this.objectives[1], this.objectives[0]];
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => this.#table();
    this.card.onMade = (chart) => this.#listen(chart);
    selection.onChange(() => this.card.show());
  }

  show() {
    this.#choose();
    this.card.show();
  }

  #choose() {
    const names = this.trials.names(this.objectives);
    if (this.known === names.join()) return;
    this.known = names.join();
    const controls = ["across", "up"].map((way, place) => {
      const options = names.map((name) => make("option", { value: name, selected: name === this.choices[place] }, title(name)));
      const select = make("select", { onchange: () => { this.choices[place] = select.value; this.card.show(); } }, options);
      return make("label", {}, `${way} `, select);
    });
    const clear = make("button", { className: "small", type: "button", onclick: () => this.selection.set([]) }, "Pick nothing");
    this.card.controls.replaceChildren(...controls, clear);
  }

  #listen(chart) {
    chart.on("click", ({ data }) => {
      const i = data?.[2];
      if (i !== undefined) this.selection.toggle(this.trials.columns.trial_id[i]);
    });
  }

  #options(colours) {
    const { columns, front, place } = this.trials;
    const [x, y] = this.choices;
    const points = [];
    for (let i = 0; i < this.trials.size; i++) {
      const [a, b] = [this.trials.value(x, i), this.trials.value(y, i)];
      if (a !== null && b !== null) points.push([a, b, i]);
    }
    if (points.length === 0) return "No trial has finished with both of these figures yet.";
    const onFront = new Set(front.map((id) => place.get(id)));
    const best = points.filter(([, , i]) => onFront.has(i)).sort((a, b) => a[0] - b[0]);
    const defaults = points.filter(([, , i]) => columns.is_default[i]);
    const others = points.filter(([, , i]) => !onFront.has(i) && !columns.is_default[i]);
    const picked = points.filter(([, , i]) => this.selection.has(columns.trial_id[i]));
    const series = [
      ...this.#byFidelity(others),
      ...this.#stairs(best, colours),
      ...this.#errors(best, colours),
      { type: "scatter", name: "front", data: best.map((point) => this.#marked(point, "circle", "emptyCircle")), symbolSize: 10, color: colours.accent, z: 5 },
      { type: "scatter", name: "the default", data: defaults.map((point) => this.#marked(point, "diamond", "emptyDiamond")), symbolSize: 17, color: colours.mark, z: 6,
        label: { show: true, position: "left", color: colours.mark, formatter: ({ data }) => columns.trial_id[data.value[2]], textBorderWidth: 0 } },
      { type: "scatter", name: "picked", data: picked, symbol: "emptyCircle", symbolSize: 20, itemStyle: { borderWidth: 3 }, color: colours.pick, z: 7, silent: true },
    ];
    this.card.say(...this.#words(points.length, best, defaults));
    return {
      description: `${points.length} trials, ${title(y)} against ${title(x)}; ${best.length} of them are the Pareto front.`,
      grid: { left: 64, right: 22, top: 44, bottom: 52 },
      legend: legend(colours, { data: series.map(({ name }) => name).filter((name) => !["spread", "attained"].includes(name)) }),
      xAxis: this.#axis(x, points.map(([value]) => value), colours),
      yAxis: { ...this.#axis(y, points.map(([, value]) => value), colours), nameGap: 46 },
      series,
      tooltip: { confine: true, trigger: "item", formatter: ({ data }) => this.#tip((data.value ?? data)[2]) },
    };
  }

  /** The trials that are not on the front, a series for each fidelity: thousands of points of one colour are cheap. */
  #byFidelity(points) {
    const all = this.trials.fidelities();
    const limits = all.length <= MOST_COLOURS ? all : Array.from({ length: MOST_COLOURS }, (_, i) => all[Math.ceil(((i + 1) * all.length) / MOST_COLOURS) - 1]);
    const groups = limits.map(() => []);
    const rest = [];
    for (const point of points) {
      const fidelity = this.trials.columns.fidelity[point[2]];
      if (fidelity === null) rest.push(point);
      else groups[limits.findIndex((limit) => fidelity <= limit)].push(point);
    }
    const colours = ramp(limits.length);
    const isExact = limits.length === all.length;
    const named = groups.map((data, i) => this.#group(`fidelity ${isExact ? "" : "to "}${significant(limits[i])}`, data, colours[i]));
    return rest.length > 0 ? [...named, this.#group("other trials", rest, colours.at(-1) ?? ramp(1)[0])] : named;
  }

  #group(name, data, color) {
    return { type: "scatter", name, data, color, symbolSize: 5, large: data.length > LARGE, largeThreshold: LARGE, z: 2 };
  }

  /** A point of a mark that is filled where both figures were measured, and hollow where one is an estimate. */
  #marked(point, filled, hollow) {
    const isEstimate = this.choices.some((name) => this.trials.figure(name, point[2]).quality === "estimated");
    return { value: point, symbol: isEstimate ? hollow : filled, itemStyle: isEstimate ? { borderWidth: 3 } : {} };
  }

  /** The edge of what is dominated, where both objectives of the study are shown and there is no third. */
  #stairs(best, colours) {
    const { objectives } = this.study.spec;
    if (this.objectives.length !== 2 || this.choices[0] === this.choices[1] || !this.choices.every((name) => name in objectives)) return [];
    const step = objectives[this.choices[0]] === "minimize" ? "end" : "start";
    return [{ type: "line", name: "attained", data: best.map(([a, b]) => [a, b]), step, showSymbol: false, silent: true, lineStyle: { color: colours.accent, width: 1.5 }, z: 3 }];
  }

  #errors(points, colours) {
    const [x, y] = this.choices;
    const rows = (name, at) => points.map((point) => [point, this.#spread(name, point[2])]).filter(([, spread]) => spread).map(([point, spread]) => [point[1 - at], point[at] - spread, point[at] + spread]);
    return [whiskers(rows(y, 1), colours.accent), whiskers(rows(x, 0), colours.accent, { horizontal: true })];
  }

  /** Half the length of an error bar: deviation over seeds where several were trained, else what the meter says. */
  #spread(name, i) {
    const { deviation, uncertainty } = this.trials.figure(name, i);
    return deviation ?? uncertainty;
  }

  #axis(name, values, colours) {
    const origins = this.trials.origins(name);
    const unit = origins[0]?.unit ?? unitOf(name);
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
    const spread = this.#spread(name, i);
    const around = spread === null ? "" : ` ± ${amount(spread, figure.unit)}`;
    return `${amount(figure.value, figure.unit)}${around} (${kind(figure.quality, figure.method)})`;
  }

  #words(n, best, defaults) {
    const hollow = "A hollow mark has a figure that is ≈ estimated, a filled one only measured figures.";
    const bars = best.some(([, , i]) => this.choices.some((name) => this.#spread(name, i) !== null)) ? " Bars: deviation over seeds, or uncertainty of the meter (k = 2)." : "";
    const said = `${best.length} of ${n} finished trials are on the front${defaults.length ? "; the default is the diamond and never counted in it" : ""}. `;
    return [`${said}${hollow}${bars} Click a point to pick it.`];
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
