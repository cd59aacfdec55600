// Something that is done again when there is news: not too often, one at a time, and only while it is seen.

export class Scheduled {
  #isWanted = false;
  #isBusy = false;
  #last = -Infinity;

  /** `work` is done at most once in `pause` ms; with an `element` only while that is near the screen. */
  constructor(work, pause, element = null) {
    this.work = work;
    this.pause = pause;
    this.isSeen = element === null;
    if (element === null) return;
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
    const wait = this.#last + this.pause - performance.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    this.#isWanted = false;
    this.#last = performance.now();
    try {
      await this.work();
    } catch (error) {
      if (error.status !== 0) console.warn(error.message);
    }
    this.#isBusy = false;
    this.#go();
  }
}
