// Whether a page gets news, said in the bar above it.

import { report } from "./actions.js";

/** Nothing is said while `isThere` is undefined: nobody has asked yet. */
export function showLink(isThere, hasEnded = false) {
  if (isThere === undefined) return;
  const element = document.getElementById("link");
  element.classList.toggle("lost", !isThere && !hasEnded);
  if (isThere) element.textContent = hasEnded ? "○ nothing more to come" : "● live";
  else if (report()) element.textContent = `The run has ended, and this page stays as it is. Report: ${report()}`;
  else element.textContent = "○ no connection; trying again";
}
