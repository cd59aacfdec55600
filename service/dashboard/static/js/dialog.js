// A question that wants an answer before anything happens.

import { make } from "./dom.js";

let number = 0;

/** Whether the user says yes; Escape and the first button say no. */
export function confirmed(question, consequence, yes, isHarm = false) {
  return new Promise((done) => {
    const id = `dialog-${++number}`;
    const no = make("button", { type: "button", autofocus: true, onclick: () => dialog.close("no") }, "No, go back");
    const go = make("button", { type: "button", className: isHarm ? "harm" : "main", onclick: () => dialog.close("yes") }, yes);
    const dialog = make("dialog", { "aria-labelledby": id }, make("h2", { id }, question), make("p", {}, consequence), make("p", { className: "row" }, no, go));
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
