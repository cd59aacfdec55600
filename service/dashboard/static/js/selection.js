// The trials that are picked: what one chart picks, the others highlight.

export class Selection {
  #ids = new Set();
  #watchers = new Set();

  has(id) {
    return this.#ids.has(id);
  }

  get size() {
    return this.#ids.size;
  }

  ids() {
    return [...this.#ids];
  }

  set(ids) {
    const next = new Set(ids);
    if (next.size === this.#ids.size && [...next].every((id) => this.#ids.has(id))) return;
    this.#ids = next;
    this.#watchers.forEach((watcher) => watcher());
  }

  toggle(id) {
    const next = new Set(this.#ids);
    if (!next.delete(id)) next.add(id);
    this.set(next);
  }

  onChange(watcher) {
    this.#watchers.add(watcher);
  }
}
