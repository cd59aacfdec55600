// Which hyperparameters matter for each objective, and how far the model behind the figures can be trusted.

import { axis, ChartCard, tip, whiskers } from "./chart.js";
import { fill, make } from "./dom.js";
import { significant, title } from "./format.js";

const MOST = 10;
const LOW_SCORE = 0.3;

export class Importance {
  constructor(parent) {
    this.card = new ChartCard(parent, "Importance of hyperparameters");
    this.objective = null;
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => ({
      caption: `Importance for ${title(this.objective)}`,
      columns: [{ title: "hyperparameter" }, { title: "share", number: true }, { title: "deviation", number: true }],
      rows: this.of().parameters.map((row) => [row.name, significant(row.importance, 2), significant(row.std, 2)]),
    });
  }

  show(document) {
    this.document = document;
    const names = Object.keys(document.objectives ?? {});
    if (!names.includes(this.objective)) this.objective = names[0] ?? null;
    const select = make("select", { onchange: () => { this.objective = select.value; this.card.show(); } }, names.map((name) => make("option", { value: name, selected: name === this.objective }, title(name))));
    fill(this.card.controls, names.length > 1 ? make("label", {}, "for ", select) : null);
    this.card.show();
  }

  of() {
    return this.document.objectives[this.objective];
  }

  #options(colours) {
    const found = this.objective === null ? null : this.of();
    if (!found?.parameters?.length) return `Nothing to tell yet: ${found?.reason ?? "too few trials have finished"}.`;
    const shown = [...found.parameters].sort((a, b) => b.importance - a.importance).slice(0, MOST).reverse();
    const trust = found.score === null ? "" : ` The model explains R² = ${significant(found.score, 2)} of what it has not seen${found.score < LOW_SCORE ? ": the figures mean little" : ""}.`;
    this.card.say(`≈ Estimated by a model (${found.method}) over ${found.n_trials} trials.${trust}`);
    return {
      description: `Importance for ${title(this.objective)}: ${shown.at(-1).name} first.`,
      grid: { left: 8, right: 24, top: 8, bottom: 46, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      xAxis: axis("share of the variation", colours, { min: 0, scale: false }),
      yAxis: axis("", colours, { type: "category", data: shown.map((row) => row.name.replaceAll("_", " ")), scale: false, axisLabel: { interval: 0 } }),
      tooltip: { confine: true, trigger: "item", formatter: ({ dataIndex }) => tip(shown[dataIndex].name, `${significant(shown[dataIndex].importance, 2)} ± ${significant(shown[dataIndex].std, 1)}`) },
      series: [
        { type: "bar", name: "importance", color: colours.high, barMaxWidth: 18, data: shown.map((row) => row.importance) },
        whiskers(shown.map((row, i) => [i, Math.max(0, row.importance - row.std), row.importance + row.std]), colours.text, { horizontal: true }),
      ],
    };
  }
}
