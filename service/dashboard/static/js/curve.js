// The learning curve of a trial, an attempt a line, while it trains as well.

import { axis, ChartCard, legend, tip } from "./chart.js";
import { seconds, significant } from "./format.js";

export class Curve {
  constructor(parent) {
    this.card = new ChartCard(parent, "Learning curve");
    this.card.draw = (colours) => this.#options(colours);
    this.card.tabulate = () => ({
      caption: "Each epoch",
      columns: ["attempt", "epoch", "training loss", "took"].map((title) => ({ title, number: true })),
      rows: this.epochs.map((epoch) => [epoch.attempt, epoch.epoch, significant(epoch.training_loss, 4), seconds(epoch.seconds)]),
    });
  }

  show(epochs, trial, isOpen) {
    this.isOpen = isOpen;
    // What came by the way may have been lost; the result has all of it.
    const losses = trial.result?.training_loss ?? [];
    this.epochs = epochs.length ? epochs : losses.map((training_loss, i) => ({ attempt: trial.result.attempt, epoch: i + 1, training_loss, seconds: null }));
    this.card.show();
  }

  #options(colours) {
    if (!this.epochs.length) return this.isOpen ? "No epoch has ended yet." : "No epoch ended.";
    const attempts = [...new Set(this.epochs.map((epoch) => epoch.attempt))];
    const hues = [colours.accent, colours.high, colours.pick, colours.warn];
    const last = this.epochs.at(-1);
    this.card.say(`Training loss after each epoch; ${significant(last.training_loss, 3)} after epoch ${last.epoch}.`);
    return {
      description: `Training loss of ${this.epochs.length} epochs: ${significant(last.training_loss, 3)} in the end.`,
      grid: { left: 62, right: 22, top: attempts.length > 1 ? 36 : 16, bottom: 46 },
      legend: attempts.length > 1 ? legend(colours) : { show: false },
      xAxis: axis("epoch", colours, { minInterval: 1, min: 1, scale: false }),
      yAxis: axis("training loss", colours, { nameGap: 42, axisLabel: { formatter: (value) => significant(value, 3) } }),
      tooltip: { confine: true, trigger: "axis", formatter: (items) => tip(`epoch ${items[0].data[0]}`, ...items.map(({ seriesName, data }) => `${seriesName}: ${significant(data[1], 4)}`)) },
      series: attempts.map((attempt, i) => ({
        type: "line", name: `attempt ${attempt}`, color: hues[i % hues.length], symbol: "circle", symbolSize: 5, lineStyle: { type: i ? "dashed" : "solid", width: 2 },
        data: this.epochs.filter((epoch) => epoch.attempt === attempt).map((epoch) => [epoch.epoch, epoch.training_loss]),
      })),
    };
  }
}
