// A card with a chart, what it says in words, and its figures as a table behind a disclosure.

import { fill, make, table } from "./dom.js";
import { onScheme, palette } from "./palette.js";

/** When ECharts is there: it comes behind the page's own script, which asks for data meanwhile. */
export const library = new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));

const MOST_ROWS = 200;
let number = 0;

export class Card {
  /** A part of a page; `wide` takes the whole width. */
  constructor(parent, heading, { wide = false } = {}) {
    const id = `card-${++number}`;
    this.controls = make("div", { className: "controls" });
    this.lead = make("p", { className: "lead" });
    this.body = make("div");
    const head = make("div", { className: "card-head" }, make("h2", { id }, heading), this.controls);
    this.element = make("section", { className: wide ? "card wide" : "card", "aria-labelledby": id }, head, this.lead, this.body);
    parent.append(this.element);
  }

  say(...parts) {
    fill(this.lead, ...parts);
  }

  /** Says why there is nothing to see. */
  fail(text) {
    this.say(text);
  }
}

export class ChartCard extends Card {
  /** A card whose `draw(colours)` gives the options of a chart, or a text where there is nothing to draw. */
  constructor(parent, heading, { wide = false, size = "" } = {}) {
    super(parent, heading, { wide });
    this.plot = make("div", { className: `plot ${size}`, role: "img", "aria-label": heading });
    this.message = make("p", { className: "soft", role: "status" }, "Loading …");
    this.details = make("details", { hidden: true }, make("summary", {}, "The figures as a table"));
    this.rows = make("div");
    this.details.append(this.rows);
    this.body.append(this.message, this.plot, this.details);
    this.details.addEventListener("toggle", () => this.#fillTable());
    this.chart = null;
    this.draw = () => "Nothing yet.";
    this.tabulate = null;
    onScheme(() => this.show());
    new ResizeObserver(() => this.chart?.resize()).observe(this.plot);
  }

  /** Draws anew what `draw` says. */
  show() {
    const options = this.draw(palette());
    const isText = typeof options === "string";
    this.message.hidden = !isText;
    this.plot.hidden = isText;
    this.details.hidden = isText || this.tabulate === null;
    if (isText) return this.fail(options);
    const { description, ...rest } = options;
    this.chart ??= this.#made();
    this.chart.setOption({ ...basics(description), ...rest }, { replaceMerge: ["series", "legend", "grid", "xAxis", "yAxis", "parallelAxis"], lazyUpdate: false });
    if (this.details.open) this.#fillTable();
  }

  /** Draws only these series anew, where a chart is drawn already. */
  patch(series, description) {
    this.chart.setOption({ series, aria: { label: { description } } });
    if (this.details.open) this.#fillTable();
  }

  fail(text) {
    this.message.hidden = false;
    this.plot.hidden = this.details.hidden = true;
    this.message.textContent = text;
  }

  #made() {
    const chart = echarts.init(this.plot, null, { renderer: "canvas" });
    this.onMade?.(chart);
    return chart;
  }

  #fillTable() {
    if (!this.details.open || this.tabulate === null) return;
    const { caption, columns, rows } = this.tabulate();
    const cut = rows.length > MOST_ROWS ? `${caption} (the first ${MOST_ROWS} of ${rows.length}; \`greenshift export\` writes all)` : caption;
    fill(this.rows, table(cut, columns, rows.slice(0, MOST_ROWS)));
  }
}

/** What all charts share; a tooltip is an element, as text from users must not become markup. */
function basics(description) {
  const colours = palette();
  return {
    animation: false,
    textStyle: { fontFamily: "system-ui, sans-serif", color: colours.text },
    aria: { enabled: true, label: { description } },
    tooltip: { confine: true, backgroundColor: colours.card, borderColor: colours.line, textStyle: { color: colours.text } },
  };
}

/** A tooltip of lines, the first one strong. */
export function tip(first, ...lines) {
  return make("div", { className: "tip" }, make("b", {}, first), lines.map((line) => make("div", {}, line)));
}

/** An axis in the page's colours. */
export function axis(name, colours, more = {}) {
  return {
    name, nameLocation: "middle", nameGap: 28, nameTextStyle: { color: colours.soft },
    axisLabel: { color: colours.soft, hideOverlap: true, ...more.axisLabel }, axisLine: { lineStyle: { color: colours.line } },
    splitLine: { lineStyle: { color: colours.grid } }, scale: true,
    ...Object.fromEntries(Object.entries(more).filter(([key]) => key !== "axisLabel")),
  };
}

/** A legend in the page's colours, above the plot. */
export const legend = (colours, more = {}) => ({ top: 0, type: "scroll", textStyle: { color: colours.text }, pageTextStyle: { color: colours.soft }, pageIconColor: colours.text, inactiveColor: colours.zero, ...more });

/** Steps through `points`, each level up to the next point (`end`) or from the one before (`start`); a line series of ECharts leaves out low steps. */
export function steps(points, colour, { step = "end", ...more } = {}) {
  const corners = points.flatMap(([x, y], i) => (i === 0 ? [[x, y]] : [step === "end" ? [x, points[i - 1][1]] : [points[i - 1][0], y], [x, y]]));
  const polyline = (api) => ({ type: "polyline", shape: { points: corners.map((corner) => api.coord(corner)) }, style: { stroke: colour, lineWidth: 1.5, fill: "none" } });
  return { type: "custom", silent: true, data: points, color: colour, encode: { x: 0, y: 1 }, tooltip: { show: false }, renderItem: ({ dataIndex }, api) => (dataIndex === 0 ? polyline(api) : undefined), ...more };
}

/** The bars of an error, from `low` to `high` at each place. */
export function whiskers(rows, colour, { horizontal = false, name = "spread" } = {}) {
  return {
    type: "custom", name, silent: true, data: rows, z: 4, encode: horizontal ? { x: [1, 2], y: 0 } : { x: 0, y: [1, 2] },
    renderItem(_, api) {
      const ends = [1, 2].map((i) => (horizontal ? api.coord([api.value(i), api.value(0)]) : api.coord([api.value(0), api.value(i)])));
      const [across, along] = horizontal ? [[0, 4], "y"] : [[4, 0], "x"];
      const caps = ends.map(([x, y]) => line(x - across[0], y - across[1], x + across[0], y + across[1]));
      return { type: "group", children: [line(...ends[0], ...ends[1]), ...caps], along };
      function line(x1, y1, x2, y2) {
        return { type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: colour, lineWidth: 1.5 } };
      }
    },
  };
}
