// One line that says what came of something, read aloud as well.

import { make } from "./dom.js";

export class Notice {
  constructor(parent) {
    this.element = make("p", { className: "note", role: "status", hidden: true });
    parent.append(this.element);
  }

  say(text, isGood = true) {
    this.element.hidden = !text;
    this.element.className = `note ${isGood ? "good" : "bad"}`;
    this.element.textContent = text;
  }
}
