// Who worked on what and when: a bar an attempt, gaps where a worker was idle.

import { axis, ChartCard, legend, tip } from "./chart.js";
import { moment, seconds, significant, zone } from "./format.js";

// Bars that are drawn, and all that is asked for; the newest are the ones that matter.
export const MOST = 600;
// A worker is known by its results: of what has none, the row says what became of it.
const [NOW, CUT_OFF] = ["running now", "cut off"];
const STYLES = { COMPLETED: ["accent", "completed"], RUNNING: ["high", "running"], FAILED: ["mark", "failed"] };

export class Timeline {
  constructor(parent, trials) {
    this.trials = trials;
    this.card = new ChartCard(parent, "Workers over time", { wide: true });
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => ({
      caption: "What each worker did",
      columns: ["worker", "attempts", "failed", "busy", "idle"].map((title, i) => ({ title, number: i > 0 })),
      rows: this.document.workers.map((worker) => [worker.worker, worker.n_attempts, worker.n_failed, seconds(worker.busy_seconds), seconds(worker.idle_seconds)]),
    });
  }

  /** In a study that has ended nothing runs any more: what had no end by then was cut off. `crew` is of the service. */
  show(document, hasEnded, now, crew) {
    Object.assign(this, { document, hasEnded, now, crew });
    this.card.show();
  }

  /** Who is there for all studies of the service, and since when it is known. */
  #there() {
    const { is_current, workers, age_seconds } = this.crew;
    if (this.hasEnded || !is_current) return "";
    const [n, verb] = workers.length === 1 ? ["1 worker", "is"] : [`${workers.length} workers`, "are"];
    return ` ${n} of the service ${verb} there, as it saw ${Math.round(age_seconds)} s ago.`;
  }

  #isCutOff({ state, ended }) {
    return ended === null ? this.hasEnded : !["COMPLETED", "FAILED"].includes(state);
  }

  #row(attempt) {
    return attempt.worker ?? (this.#isCutOff(attempt) ? CUT_OFF : NOW);
  }

  #options(colours) {
    const attempts = this.document?.attempts ?? [];
    if (attempts.length === 0) return "No attempt has begun yet: each will be a bar beside its worker.";
    const moments = attempts.flatMap(({ started, ended }) => [started, ended]).filter(Boolean).map(Date.parse);
    const now = this.hasEnded ? moments.reduce((a, b) => Math.max(a, b)) : this.now;
    const workers = [...new Set(attempts.map((attempt) => this.#row(attempt)))].sort();
    const all = this.trials.columns.attempt.reduce((sum, n) => sum + n, 0);
    const idle = this.document.idle_share;
    this.card.say(`${idle === null ? "" : `Workers were idle ${significant(100 * idle, 2)} % of the time. `}${all > attempts.length ? `The newest ${attempts.length} of ${all} attempts. ` : ""}A cross marks a failure, a number an attempt after the first.${this.#there()}`);
    const groups = Object.groupBy(attempts, (attempt) => (this.#isCutOff(attempt) ? CUT_OFF : STYLES[attempt.state][1]));
    return {
      description: `${attempts.length} attempts of ${workers.length} workers.`,
      grid: { left: 8, right: 20, top: 36, bottom: 46, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: legend(colours),
      xAxis: axis(`time (${zone()})`, colours, { type: "time", scale: true, axisLabel: { hideOverlap: true } }),
      yAxis: axis("", colours, { type: "category", data: workers, scale: false, axisLabel: { interval: 0, width: 110, overflow: "truncate" } }),
      tooltip: { confine: true, trigger: "item", formatter: ({ data }) => described(data[3], this.#isCutOff(data[3])) },
      dataZoom: [{ type: "inside", xAxisIndex: 0, filterMode: "weakFilter", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false }],
      series: Object.entries(groups).map(([name, found]) => ({
        type: "custom", name, clip: true, color: colour(name, colours), encode: { x: [1, 2], y: 0 }, dimensions: ["worker", "from", "to"],
        data: found.map((attempt) => [workers.indexOf(this.#row(attempt)), Date.parse(attempt.started), attempt.ended ? Date.parse(attempt.ended) : now, attempt]),
        renderItem: (parameters, api) => bar(parameters, api, found[parameters.dataIndex], colour(name, colours), colours),
      })),
    };
  }
}

function colour(name, colours) {
  const style = Object.values(STYLES).find(([, word]) => word === name);
  return style ? colours[style[0]] : colours.warn;
}

function bar(parameters, api, attempt, fillColour, colours) {
  const [left, middle] = api.coord([api.value(1), api.value(0)]);
  const right = api.coord([api.value(2), api.value(0)])[0];
  const height = Math.min(24, api.size([0, 1])[1] * 0.6);
  const width = Math.max(right - left, 2);
  const shape = echarts.graphic.clipRectByRect({ x: left, y: middle - height / 2, width, height }, parameters.coordSys);
  if (!shape) return undefined;
  const hasFailed = attempt.failure !== null && attempt.failure !== undefined;
  const mark = hasFailed ? "×" : attempt.attempt > 1 ? String(attempt.attempt) : "";
  const children = [{ type: "rect", shape: { ...shape, r: 2 }, style: { fill: fillColour, stroke: colours.card, lineWidth: 0.7 } }];
  if (mark && width > 8) children.push({ type: "text", style: { text: mark, x: left + width / 2, y: middle, fill: colours.card, align: "center", verticalAlign: "middle", font: "bold 13px system-ui" }, silent: true });
  return { type: "group", children };
}

function described(attempt, isCutOff) {
  const state = isCutOff ? `${CUT_OFF}${attempt.ended ? `, ${attempt.state}` : " when its study ended"}` : attempt.state;
  const took = attempt.ended ? seconds((Date.parse(attempt.ended) - Date.parse(attempt.started)) / 1000) : isCutOff ? "" : "still running";
  const fidelity = attempt.fidelity === null ? "" : `fidelity ${significant(attempt.fidelity)}`;
  return tip(`trial ${attempt.trial_id}, attempt ${attempt.attempt}`, `${state}${attempt.failure ? `: ${attempt.failure}` : ""}`, `begun ${moment(attempt.started)}`, took, fidelity, attempt.worker === null ? "" : `worker ${attempt.worker}`);
}
