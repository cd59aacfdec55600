// What was spent, by how well it is known: joules that were measured and estimates stand side by side.

import { make } from "./dom.js";
import { amount, figure, kind } from "./format.js";

const BY_TRUST = ["measured", "integrated", "estimated"];

/** In words: `12 J measured + 3 J ≈ estimated`. */
export const inWords = (table) => known(table).map((quality) => `${amount(table[quality], "J")} ${kind(quality)}`).join(" + ") || "unknown";

/** The qualities alone: `measured + ≈ estimated`. */
export const qualities = (table) => known(table).map((quality) => kind(quality)).join(" + ");

/** The same as figures, each beside the way in which it is known; `none` is said where nothing is. */
export function figures(table, none) {
  const parts = known(table).flatMap((quality, i) => [i > 0 ? " + " : "", figure(table[quality], "J", quality)]);
  return make("span", {}, parts.length > 0 ? parts : none);
}

const known = (table) => BY_TRUST.filter((quality) => table[quality] !== undefined);

/** What the entries of a ledger come to, by quality; what is unknown counts as nothing. */
export function sums(entries) {
  const table = {};
  for (const { quality, joules } of entries) if (joules !== null) table[quality] = (table[quality] ?? 0) + joules;
  return table;
}
