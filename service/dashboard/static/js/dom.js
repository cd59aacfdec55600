// Elements from plain values: what comes from users is only ever text.

/** An element with properties, attributes (those with a dash, `role`, `for`, `scope`) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A table that scrolls by itself; cells are text or elements, numbers stand right. */
export function table(caption, columns, rows) {
  const head = columns.map((column) => make("th", { scope: "col", className: column.number ? "number" : "" }, column.title));
  const body = rows.map((row) => make("tr", {}, row.map((cell, i) => make("td", { className: columns[i].number ? "number" : columns[i].text ? "text" : "" }, cell ?? ""))));
  const made = make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, head)), make("tbody", {}, body));
  return make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption }, made);
}

/** Names and values side by side. */
export function tiles(entries) {
  return make("dl", { className: "tiles" }, entries.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

/** The state of a study or trial, in words. */
export function badge(state) {
  return make("span", { className: `state ${/^[A-Z]+$/.test(state) ? state : ""}` }, state);
}

/** Puts children in the place of what an element holds; who was in there by keyboard is there again. */
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? likeness(document.activeElement) : null;
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
  if (focused !== null) [...element.querySelectorAll(REACHABLE)].find((each) => likeness(each) === focused)?.focus({ preventScroll: true });
  return element;
}

const REACHABLE = "a, button, input, select, summary, [tabindex]";

/** What makes an element the same for people: its kind, its words and its row. */
const likeness = (element) => [element.tagName, element.textContent, element.ariaLabel, element.closest("tr")?.cells[0].textContent].join();

/** The path of a page, as links above it. */
export function path(...links) {
  fill(document.getElementById("path"), links.map(([text, href]) => (href ? make("a", { href }, text) : make("span", {}, text))));
}
