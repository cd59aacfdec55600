// What the weights of each layer became: how often each power of two, and how many zeros.

import { axis, ChartCard, tip } from "./chart.js";
import { compact, significant } from "./format.js";

export class Layers {
  constructor(parent) {
    this.card = new ChartCard(parent, "Weights of each layer", { wide: true, size: "tall" });
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => ({
      caption: "Layers from the input to the output",
      columns: ["layer", "kind", "weight bits", "weights", "zeros", "powers of two"].map((title, i) => ({ title, number: i > 1 && i < 5 })),
      rows: this.layers.map((layer) => [layer.name, layer.is_shift ? "shift" : "not shift", layer.weight_bits ?? "–", layer.n_weights, percent(layer.n_zeros / layer.n_weights), Object.entries(layer.exponents).map(([exponent, n]) => `2^${exponent}: ${n}`).join(", ")]),
    });
  }

  show({ layers }, isOpen) {
    Object.assign(this, { layers, isOpen });
    this.card.show();
  }

  #options(colours) {
    const shift = (this.layers ?? []).filter((layer) => layer.is_shift);
    if (shift.length === 0) return this.layers?.length ? "No layer of this network is a shift layer." : this.isOpen ? "Its layers are not known yet: they are told when the trial ends." : "Its worker told nothing of its layers.";
    const exponents = [...new Set(shift.flatMap((layer) => Object.keys(layer.exponents).map(Number)))].sort((a, b) => a - b);
    const heads = ["zero", ...exponents.map((exponent) => `2^${exponent}`)];
    const names = this.layers.map((layer) => layer.name);
    const cells = this.layers.flatMap((layer, y) => (layer.is_shift ? heads.map((head, x) => ({ value: [x, y, (x === 0 ? layer.n_zeros : layer.exponents[exponents[x - 1]] ?? 0) / layer.n_weights] })) : []));
    const zeros = shift.reduce((sum, layer) => sum + layer.n_zeros, 0) / shift.reduce((sum, layer) => sum + layer.n_weights, 0);
    const most = Math.max(...cells.map(({ value }) => value[2]));
    for (const cell of cells) cell.label = { color: cell.value[2] > 0.55 * most ? colours.card : colours.text, textBorderWidth: 0 };
    this.card.say(`${shift.length} of ${this.layers.length} layers are shift layers; ${percent(zeros)} of their weights are zero. Each cell is a share of a layer's weights; an empty row is a layer that was not converted.`);
    return {
      description: `Share of weights of ${shift.length} shift layers by power of two; ${percent(zeros)} are zero.`,
      grid: { left: 8, right: 16, top: 8, bottom: 86, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      xAxis: { type: "category", data: heads, axisLabel: { color: colours.soft, interval: "auto" }, axisLine: { lineStyle: { color: colours.line } }, name: "zero and powers of two", nameLocation: "middle", nameGap: 26, nameTextStyle: { color: colours.soft } },
      yAxis: axis("", colours, { type: "category", data: names, inverse: true, scale: false, axisLabel: { interval: 0, width: 120, overflow: "truncate" } }),
      visualMap: { min: 0, max: most, calculable: false, orient: "horizontal", left: "center", bottom: 0, itemHeight: 110, itemWidth: 12, text: [percent(most), "0 %"], textStyle: { color: colours.soft }, inRange: { color: [colours.grid, colours.low, colours.high] } },
      tooltip: { confine: true, trigger: "item", formatter: ({ value: [x, y, share] }) => tip(names[y], `${heads[x]}: ${percent(share)} of ${compact(this.layers[y].n_weights)} weights`) },
      series: [{ type: "heatmap", name: "share", data: cells, itemStyle: { borderColor: colours.card, borderWidth: 1 }, label: { show: heads.length <= 12 && this.card.plot.clientWidth > 700, formatter: ({ value }) => (value[2] >= 0.005 ? percent(value[2]) : ""), fontSize: 10 } }],
    };
  }
}

const percent = (share) => `${significant(100 * share, 2)} %`;
