// How the hypervolume of the front has grown: over trials, time or energy.

import { axis, ChartCard, steps, tip } from "./chart.js";
import { make } from "./dom.js";
import { amount, seconds, significant, title } from "./format.js";
import { inWords, qualities } from "./joules.js";

const OVER = {
  n_trials: ["trials", "finished trials", (value) => significant(value, 4)],
  seconds: ["time", "time since the study began", seconds],
  joules: ["energy", "energy spent", (value) => amount(value, "J")],
};

export class History {
  constructor(parent, study, trials) {
    Object.assign(this, { objectives: Object.keys(study.spec.objectives), trials });
    this.card = new ChartCard(parent, "Hypervolume");
    this.over = "n_trials";
    const choices = Object.entries(OVER).map(([name, [word]]) => {
      const input = make("input", { type: "radio", name: "over", value: name, checked: name === this.over, onchange: () => { this.over = name; this.card.show(); } });
      return make("label", {}, input, ` ${word}`);
    });
    this.card.controls.append(make("fieldset", {}, make("legend", {}, "over"), choices));
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => ({
      caption: "Each change of the front",
      columns: [{ title: `finished trials${this.trials.withDefault}`, number: true }, { title: "time", number: true }, { title: "energy spent", number: true }, { title: `hypervolume, ${this.#unit()}`, number: true }],
      rows: this.document.points.map((point) => [point.n_trials, seconds(point.seconds), inWords(point.joules_by_quality), significant(point.hypervolume, 4)]),
    });
  }

  show(document) {
    this.document = document;
    this.card.show();
  }

  #unit() {
    return this.trials.volumeUnit(this.objectives);
  }

  #options(colours) {
    const [, said, words] = OVER[this.over];
    const points = (this.document?.points ?? []).filter((point) => point[this.over] !== null);
    if (points.length === 0) return this.over === "joules" && this.document?.points.length ? "Some of the energy that was spent is unknown." : "There is no front yet: its first trial at full fidelity will begin this line.";
    const last = points.at(-1);
    const places = points.map((point) => [point[this.over], point.hypervolume]);
    const name = said + { n_trials: this.trials.withDefault, seconds: "", joules: ` (${qualities(last.joules_by_quality)})` }[this.over];
    const reference = Object.entries(this.document.reference_point ?? {}).map(([objective, value]) => `${title(objective)} ${amount(value, this.trials.unit(objective))}`).join(", ");
    this.card.say(`${significant(last.hypervolume, 4)} now, from the reference point ${reference || "of the study"}: a product of the objectives as they are (${this.#unit()}), not normalised. More is better.${this.over === "joules" ? ` Spent: ${inWords(last.joules_by_quality)}.` : ""}`);
    return {
      description: `The hypervolume of the front over ${name}: ${significant(last.hypervolume, 4)} now.`,
      grid: { left: 66, right: 24, top: 18, bottom: 48 },
      xAxis: axis(name, colours, { axisLabel: { formatter: words }, min: 0 }),
      yAxis: axis(`hypervolume, ${this.#unit()}`, colours, { nameGap: 48, axisLabel: { formatter: (value) => significant(value, 3) } }),
      tooltip: { confine: true, trigger: "axis", formatter: ([{ dataIndex }]) => this.#tip(points[dataIndex], words) },
      series: [
        { type: "line", name: "hypervolume", step: "end", showSymbol: points.length < 60, symbol: "circle", symbolSize: 5, data: places, color: colours.accent, lineStyle: { opacity: 0 } },
        steps(places, colours.accent, { name: "steps" }),
      ],
    };
  }

  #tip(point, words) {
    return tip(`hypervolume ${significant(point.hypervolume, 4)}`, this.over === "joules" ? inWords(point.joules_by_quality) : words(point[this.over]));
  }
}
