// All trials of a study, a list a column; only what is new is fetched.

import { get, ofStudy } from "./api.js";
import { title, unitOf } from "./format.js";

// The first page is small, so that something is seen soon.
const FIRST = 1000;
const OTHERS = 4000;
const COLUMNS = ["trial_id", "state", "fidelity", "is_full", "is_default", "attempt", "promoted_from", "duration_seconds", "worker", "failure"];

export class Trials {
  constructor(study) {
    this.study = study;
    this.seq = 0;
    this.front = [];
    this.isWhole = false;
    this.place = new Map();
    this.columns = Object.fromEntries(COLUMNS.map((name) => [name, []]));
    this.figures = new Map();
    this.config = new Map();
  }

  get size() {
    return this.columns.trial_id.length;
  }

  /** Fetches the next page of what is new. */
  async page() {
    const limit = this.seq === 0 ? FIRST : OTHERS;
    const page = await get(ofStudy(this.study, `/points?after=${this.seq}&limit=${limit}`));
    this.#take(page);
    this.isWhole = page.is_whole;
    return page.trial_id.length;
  }

  /** Fetches all that is new; `onPage` is called after each page that had something. */
  async update(onPage) {
    do {
      if ((await this.page()) > 0) onPage();
    } while (!this.isWhole);
  }

  /** A figure of the trial at a place: value, deviation, uncertainty and origin, or null. */
  figure(name, i) {
    const column = this.figures.get(name);
    const value = column?.value[i] ?? null;
    return value === null ? null : { value, deviation: column.deviation[i], uncertainty: column.uncertainty[i], ...column.origin[i] };
  }

  /** Whether a figure is no measurement but an estimate. */
  isEstimated(name, i) {
    return this.figures.get(name)?.origin[i]?.quality === "estimated";
  }

  value(name, i) {
    return this.figures.get(name)?.value[i] ?? null;
  }

  /** Names of figures that trials have, the study's objectives first. */
  names(objectives) {
    return [...new Set([...objectives, ...this.figures.keys()])];
  }

  /** In which ways a figure was obtained, such as `≈ estimated, analytic`. */
  origins(name) {
    return [...new Set((this.figures.get(name)?.origin ?? []).filter(Boolean))];
  }

  /** Whether trials are counted with the default, said behind their name. */
  get withDefault() {
    return this.columns.is_default.some(Boolean) ? ", with the default" : "";
  }

  unit(name) {
    return this.origins(name)[0]?.unit ?? unitOf(name);
  }

  /** The unit of a hypervolume, which is not normalised: that of each objective, or its name where it has none. */
  volumeUnit(objectives) {
    return objectives.map((name) => this.unit(name) || title(name)).join(" × ");
  }

  /** The fidelities that trials have, from low to high. */
  fidelities() {
    return [...new Set(this.columns.fidelity)].filter((value) => value !== null).sort((a, b) => a - b);
  }

  #take(page) {
    const origins = page.origins.map((origin) => this.#same(origin));
    for (let row = 0; row < page.trial_id.length; row++) {
      const id = page.trial_id[row];
      const i = this.place.get(id) ?? this.size;
      this.place.set(id, i);
      for (const name of COLUMNS) this.columns[name][i] = page[name][row];
      for (const name of Object.keys(page.figures)) if (!this.figures.has(name)) this.figures.set(name, { value: [], deviation: [], uncertainty: [], origin: [] });
      for (const [name, column] of this.figures) {
        const from = page.figures[name];
        for (const part of ["value", "deviation", "uncertainty"]) column[part][i] = from?.[part][row] ?? null;
        const origin = from?.origin[row] ?? null;
        column.origin[i] = origin === null ? null : origins[origin];
      }
      for (const name of Object.keys(page.config)) if (!this.config.has(name)) this.config.set(name, []);
      for (const [name, column] of this.config) column[i] = page.config[name]?.[row] ?? null;
    }
    this.seq = page.seq;
    this.front = page.front ?? this.front;
  }

  #same(origin) {
    this.known ??= new Map();
    const key = JSON.stringify(origin);
    if (!this.known.has(key)) this.known.set(key, origin);
    return this.known.get(key);
  }
}
