// Whether cheap trials say what full ones will: the rank correlation between fidelities, for each objective.

import { axis, ChartCard, legend, tip } from "./chart.js";
import { significant, title } from "./format.js";

export class Correlation {
  constructor(parent) {
    this.card = new ChartCard(parent, "Rank correlation between fidelities");
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => ({
      caption: "Spearman's rank correlation over configurations that were evaluated at both fidelities",
      columns: [{ title: "objective" }, { title: "low", number: true }, { title: "high", number: true }, { title: "configurations", number: true }, { title: "correlation", number: true }],
      rows: this.found.map((row) => [title(row.objective), significant(row.low), significant(row.high), row.n, row.spearman === null ? "too few" : significant(row.spearman, 2)]),
    });
  }

  show({ correlations }) {
    this.found = correlations;
    this.card.show();
  }

  #options(colours) {
    const known = (this.found ?? []).filter((row) => row.spearman !== null);
    if (known.length === 0) return "Fewer than five configurations have been evaluated at two fidelities yet: how alike these rank them will be a bar.";
    const pairs = [...new Set(known.map(pair))];
    const objectives = [...new Set(known.map((row) => row.objective))];
    const hues = [colours.accent, colours.high, colours.pick];
    this.card.say("1: the order at the low fidelity is that at the high one, so cheap trials can be trusted; 0: they say nothing.");
    return {
      description: `Rank correlations of ${objectives.map(title).join(" and ")} between ${pairs.length} pairs of fidelities.`,
      grid: { left: 84, right: 22, top: 36, bottom: 46 },
      legend: legend(colours),
      xAxis: axis("Spearman's ρ", colours, { min: -1, max: 1 }),
      yAxis: axis("", colours, { type: "category", data: pairs, scale: false }),
      tooltip: { confine: true, trigger: "item", formatter: ({ data }) => tip(`${data.name}: ${significant(data.value, 2)}`, `over ${data.n} configurations`) },
      series: objectives.map((objective, i) => ({
        type: "bar", name: title(objective), color: hues[i % hues.length], barMaxWidth: 18, itemStyle: i % 2 ? { decal: { symbol: "rect", symbolSize: 0.6, rotation: -0.8, dashArrayX: [1, 0], dashArrayY: [3, 3], color: colours.card } } : {},
        data: pairs.map((name) => {
          const row = known.find((each) => each.objective === objective && pair(each) === name);
          return row ? { value: row.spearman, n: row.n, name: `${title(objective)}, ${name}` } : null;
        }),
      })),
    };
  }
}

const pair = (row) => `${significant(row.low)} → ${significant(row.high)}`;
