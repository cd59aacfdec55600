// The colours of charts, read from the page's custom properties, so that both schemes have their own.

const NAMES = ["card", "text", "soft", "line", "grid", "accent", "mark", "pick", "warn", "low", "high", "other", "zero"];
const watchers = new Set();

export function palette() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Colours from `low` to `high`, the highest fidelity last. */
export function ramp(n) {
  const { low, high } = palette();
  return Array.from({ length: n }, (_, i) => mix(low, high, n === 1 ? 1 : i / (n - 1)));
}

/** Calls back when the scheme of the system changes. */
export function onScheme(callback) {
  watchers.add(callback);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => watchers.forEach((watcher) => watcher()));

function mix(from, to, share) {
  const [a, b] = [from, to].map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
  return `#${a.map((value, i) => Math.round(value + share * (b[i] - value)).toString(16).padStart(2, "0")).join("")}`;
}
