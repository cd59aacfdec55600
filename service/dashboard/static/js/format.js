// Figures in words, so that an estimate is never taken for a measurement.

import { make } from "./dom.js";

const TITLES = {
  error: "validation error", energy: "energy", emissions: "emissions", deployment_energy: "deployment energy",
  inference_energy: "energy per inference", model_bytes: "model size", peak_memory_bytes: "peak memory",
};
const SCALES = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];
const UNITS = { energy: "J", inference_energy: "J / image", deployment_energy: "J / image", emissions: "g", latency: "s / image", model_bytes: "B", peak_memory_bytes: "B", error: "ratio" };

export const title = (name) => TITLES[name] ?? name.replaceAll("_", " ");
export const unitOf = (name) => UNITS[name] ?? "";

/** A value with its unit, such as `0.80 µJ / image`. */
export function amount(value, unit = "") {
  if (value === null || value === undefined) return "unknown";
  if (!Number.isFinite(value)) return "unknown";
  if (unit === "ratio") return value.toFixed(4);
  if (!unit) return significant(value, 4);
  if (value === 0) return `0 ${unit}`;
  const rounded = Number(value.toPrecision(3));
  const [scale, prefix] = SCALES.find(([least]) => Math.abs(rounded) >= least) ?? SCALES.at(-1);
  return `${significant(rounded / scale, 3)} ${prefix}${unit}`;
}

/** A number of few digits, without an exponent where it reads well. */
export function significant(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return compact(value);
  if (size < 1e-4) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
}

/** Large counts in words: 5.6 billion. */
export function compact(value) {
  return new Intl.NumberFormat("en", { notation: "compact", compactDisplay: "long", maximumSignificantDigits: 3 }).format(value);
}

/** How a figure is known, as words and mark: `≈ estimated`, `measured`. */
export function kind(quality, method = null) {
  if (!quality || quality === "none") return "unknown";
  const word = quality === "estimated" ? "≈\u00a0estimated" : quality;
  return method ? `${word}, ${method}` : word;
}

/** `kind` as a small frame: drawn through for what was measured, dashed for an estimate. */
export function kindMark(quality, method = null) {
  return make("span", { className: `kind ${quality === "estimated" ? "estimated" : !quality || quality === "none" ? "none" : ""}` }, kind(quality, method));
}

/** A value beside the way in which it is known. */
export function figure(value, unit, quality, method = null) {
  if (value === null || value === undefined) return make("span", {}, "unknown");
  return make("span", {}, amount(value, unit), kindMark(quality, method));
}

export function seconds(value) {
  if (value === null || value === undefined) return "unknown";
  if (value < 120) return `${significant(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${significant(value / 3600)} h` : `${significant(value / 86400)} d`;
}

/** A moment in the time of who looks, which is said. */
export const moment = (iso) => new Date(iso).toLocaleString(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" });

/** The zone of these times, such as `GMT+2`. */
export const zone = () => new Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts(new Date()).find(({ type }) => type === "timeZoneName").value;

/** A hyperparameter's value for people. */
export function plain(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" && !Number.isInteger(value) ? significant(value) : String(value);
}
