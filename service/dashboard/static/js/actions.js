// What can be asked of a study or a trial, each with a question first.

import { ofStudy, ofTrial, post } from "./api.js";
import { confirmed } from "./dialog.js";
import { make } from "./dom.js";

const ACTIVE = ["WAITING", "RUNNING", "PAUSED"];
const OF_STUDIES = {
  pause: ["Pause", "It gives all its slots back; what runs now goes on later.", (state) => ["WAITING", "RUNNING"].includes(state)],
  resume: ["Resume", "It goes on where it was.", (state) => ["PAUSED", "STOPPED", "FAILED"].includes(state)],
  stop: ["Stop", "What runs is cancelled; what has finished is kept.", (state) => ACTIVE.includes(state)],
};
const OF_TRIALS = {
  cancel: ["Cancel", "The trial is given up, and what it has done so far is lost.", (state) => ["WAITING", "RUNNING"].includes(state)],
  retry: ["Retry", "The trial is tried again; a study that has ended goes on for it.", (state) => ["FAILED", "STOPPED"].includes(state)],
};
const HARM = ["stop", "cancel"];

/** Whether the pages belong to one run, which ends with its study. */
export const report = () => document.querySelector("meta[name=greenshift-report]").content;

/** Buttons for what can be asked of a study in its state; `say` is told what came of it. */
export function studyButtons(study, name, state, say) {
  const possible = Object.entries(OF_STUDIES).filter(([kind, [, , isPossible]]) => isPossible(state) && !(report() && kind === "resume" && state !== "PAUSED"));
  return possible.map(([kind, [word, consequence]]) => button(kind, word, `${word} the study ${name}?`, consequence, ofStudy(study, `/${kind}`), say));
}

/** Likewise of a trial; in a run whose study has ended nothing is tried again. */
export function trialButtons(study, trial, state, say, hasEnded = false) {
  const possible = Object.entries(OF_TRIALS).filter(([kind, [, , isPossible]]) => isPossible(state) && !(report() && kind === "retry" && hasEnded));
  return possible.map(([kind, [word, consequence]]) => button(kind, word, `${word} trial ${trial}?`, consequence, ofTrial(study, trial, `/${kind}`), say));
}

function button(kind, word, question, consequence, path, say) {
  const made = make("button", { type: "button", className: HARM.includes(kind) ? "harm" : "", onclick: ask }, word);
  return made;

  async function ask() {
    if (!(await confirmed(question, consequence, `${word} it`, HARM.includes(kind)))) return;
    try {
      await post(path);
      say(`${word}: asked for. It happens within a second or two.`, true);
    } catch (error) {
      say(error.message, false);
    }
  }
}
