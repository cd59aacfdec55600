// The marks of the front's chart, each series with the places of its trials: thousands of points of one colour are cheap.

import { steps, whiskers } from "./chart.js";
import { significant } from "./format.js";
import { ramp } from "./palette.js";

const MOST_COLOURS = 8;
// More points than this are small squares, which a browser fills in a fraction of the time that outlines of circles take.
const MANY = 2000;
// The side of a square and of the hole in a hollow one, in pixels; ECharts fills squares at once that are below 4.
const [SIDE, HOLE] = [3.9, 1.9];

export class Marks {
  /** The trials that have the figures `x` and `y`, all or those at full fidelity, sorted into series. */
  constructor(trials, selection, [x, y], isFullOnly = false) {
    Object.assign(this, { trials, x, y });
    const { columns, front, place } = trials;
    const onFront = new Set(front.map((id) => place.get(id)));
    this.best = [];
    this.defaults = [];
    this.others = [];
    for (let i = 0; i < trials.size; i++) {
      if (trials.value(x, i) === null || trials.value(y, i) === null || (isFullOnly && !columns.is_full[i])) continue;
      (onFront.has(i) ? this.best : columns.is_default[i] ? this.defaults : this.others).push(i);
    }
    this.best.sort((a, b) => trials.value(x, a) - trials.value(x, b));
    this.all = [...this.others, ...this.best, ...this.defaults];
    this.picked = selection.ids().map((id) => place.get(id)).filter((i) => i !== undefined && trials.value(x, i) !== null && trials.value(y, i) !== null);
    this.fidelities = this.#byFidelity();
    this.groups = this.fidelities.flatMap((group, shade) => this.#byQuality({ ...group, shade }));
    // The places of the points of each series, by its id.
    this.sets = Object.fromEntries([...this.groups.flatMap(({ id, places }) => [[id, places], [holes(id), places]]), ["front", this.best], ["default", this.defaults], ["picked", this.picked]]);
  }

  /** All series, or those of which `isWanted`. */
  series(colours, step, isWanted = () => true) {
    const shades = ramp(Math.max(1, this.fidelities.length));
    const name = this.trials.columns.trial_id;
    const groups = this.groups.filter(({ id }) => isWanted(id)).flatMap((group) => this.#cloud(group, shades[group.shade], colours));
    const others = [
      { id: "attained", ...steps(step ? this.best.map((i) => this.#point(i)) : [], colours.accent, { step, name: "attained", z: 3 }) },
      { id: "up", ...whiskers(this.#bars(this.y, this.x), colours.accent) },
      { id: "along", ...whiskers(this.#bars(this.x, this.y).map(([at, low, high]) => [at, low, high]), colours.accent, { horizontal: true }) },
      { id: "front", type: "scatter", name: "front", symbol: "circle", ...this.#filling(this.best, colours.accent, colours), symbolSize: 11, color: colours.accent, z: 5 },
      { id: "default", type: "scatter", name: "the default", symbol: "diamond", ...this.#filling(this.defaults, colours.mark, colours), symbolSize: 17, color: colours.mark, z: 6,
        label: { show: true, position: "left", color: colours.mark, formatter: ({ dataIndex }) => name[this.defaults[dataIndex]] } },
      { id: "picked", type: "scatter", name: "picked", data: this.picked.map((i) => this.#point(i)), symbol: "circle", symbolSize: 21, itemStyle: { color: "transparent", borderColor: colours.pick, borderWidth: 3 }, color: colours.pick, z: 7, silent: true },
    ];
    return [...groups, ...others.filter(({ id }) => isWanted(id))];
  }

  /** Whether points are drawn as many are. */
  get isMany() {
    return this.others.length > MANY;
  }

  /** Half the length of an error bar: deviation over seeds where several were trained, else what the meter says. */
  spread(name, i) {
    const { deviation, uncertainty } = this.trials.figure(name, i);
    return deviation ?? uncertainty;
  }

  get hasBars() {
    return this.best.some((i) => this.spread(this.x, i) !== null || this.spread(this.y, i) !== null);
  }

  /** The series of points of one colour. */
  #cloud({ id, name, places, isHollow }, shade, colours) {
    const shared = { type: "scatter", id, name, data: this.#typed(places), dimensions: ["x", "y"], large: true, largeThreshold: 0, z: 2 };
    if (!this.isMany) return [{ ...shared, color: shade, itemStyle: style(isHollow, shade, colours, 1.2), symbolSize: 5 }];
    const squares = (color, symbolSize) => ({ ...shared, symbol: "rect", symbolSize, color, itemStyle: { color } });
    return [squares(shade, SIDE), ...(isHollow ? [{ ...squares(colours.card, HOLE), id: holes(id), silent: true }] : [])];
  }

  #point(i) {
    return [this.trials.value(this.x, i), this.trials.value(this.y, i)];
  }

  #typed(places) {
    const data = new Float64Array(2 * places.length);
    for (let row = 0; row < places.length; row++) {
      data[2 * row] = this.trials.value(this.x, places[row]);
      data[2 * row + 1] = this.trials.value(this.y, places[row]);
    }
    return data;
  }

  #byFidelity() {
    const all = this.trials.fidelities();
    const isExact = all.length <= MOST_COLOURS;
    const limits = isExact ? all : Array.from({ length: MOST_COLOURS }, (_, i) => all[Math.ceil(((i + 1) * all.length) / MOST_COLOURS) - 1]);
    const groups = limits.map((limit, i) => ({ id: `fidelity ${limit}`, name: `fidelity ${isExact ? "" : "to "}${significant(limit)}`, places: [] }));
    const rest = { id: "rest", name: "other trials", places: [] };
    const found = new Map();
    for (const i of this.others) {
      const fidelity = this.trials.columns.fidelity[i];
      if (!found.has(fidelity)) found.set(fidelity, fidelity === null ? rest : groups[limits.findIndex((limit) => fidelity <= limit)]);
      found.get(fidelity).places.push(i);
    }
    return rest.places.length > 0 ? [...groups, rest] : groups;
  }

  /** A mark is filled where no figure of its two is an estimate, else hollow; many points of one series are alike. */
  #byQuality(group) {
    const parts = [false, true].map((isHollow) => ({ ...group, isHollow, places: group.places.filter((i) => this.#isHollow(i) === isHollow) }));
    parts[1].id += ", estimated";
    return parts.filter(({ places }) => places.length > 0);
  }

  #isHollow(i) {
    return this.trials.isEstimated(this.x, i) || this.trials.isEstimated(this.y, i);
  }

  #filling(places, colour, colours) {
    const [of, isAnyHollow] = [(isHollow) => style(isHollow, colour, colours, 2.5), places.some((i) => this.#isHollow(i))];
    return { data: places.map((i) => ({ value: this.#point(i), itemStyle: of(this.#isHollow(i)) })), itemStyle: of(isAnyHollow) };
  }

  #bars(name, across) {
    return this.best.filter((i) => this.spread(name, i) !== null).map((i) => {
      const [value, spread] = [this.trials.value(name, i), this.spread(name, i)];
      return [this.trials.value(across, i), value - spread, value + spread];
    });
  }
}

const holes = (id) => `${id}, holes`;
const style = (isHollow, colour, { card }, borderWidth) => (isHollow ? { color: card, borderColor: colour, borderWidth } : { color: colour });
