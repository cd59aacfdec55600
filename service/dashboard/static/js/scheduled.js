// Something that is done again when there is news: not too often, one at a time, and only while it is seen.

// Of a view that takes long: so many times its own duration passes before it is asked for again, up to a limit.
const REST = 8;
const LONGEST_REST = 20000;

export class Scheduled {
  #isWanted = false;
  #isBusy = false;
  #last = -Infinity;

  /** `work` is done at most once in `pause` ms; with an `element` only while that is near the screen. */
  constructor(work, pause, element = null) {
    this.work = work;
    this.pause = this.rest = pause;
    this.isView = element !== null;
    this.isSeen = !this.isView;
    if (!this.isView) return;
    const watcher = new IntersectionObserver(([entry]) => {
      this.isSeen = entry.isIntersecting;
      this.#go();
    }, { rootMargin: "300px" });
    watcher.observe(element);
  }

  ask() {
    this.#isWanted = true;
    this.#go();
  }

  async #go() {
    if (!this.#isWanted || this.#isBusy || !this.isSeen) return;
    this.#isBusy = true;
    // Also without a wait: what is done at once by several would be one long task.
    await new Promise((done) => setTimeout(done, this.#last + this.rest - performance.now()));
    this.#isWanted = false;
    const begin = performance.now();
    try {
      await this.work();
    } catch (error) {
      if (error.status !== 0) console.warn(error.message);
      // Who is told to come again later does; a service that is gone is noticed by who follows its events.
      if (error.wait) setTimeout(() => this.ask(), 1000 * error.wait);
    }
    this.#last = performance.now();
    if (this.isView) this.rest = Math.max(this.pause, Math.min(LONGEST_REST, REST * (this.#last - begin)));
    this.#isBusy = false;
    this.#go();
  }
}
