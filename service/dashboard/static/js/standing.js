// Where a trial stands, in a sentence: what it waits for, how far it is, or how it ended.

const ENDED = ["COMPLETED", "FAILED", "STOPPED"];

/** Whether a trial may still bring something. */
export const isPending = (trial, studyState) => !ENDED.includes(trial.state) && !ENDED.includes(studyState);

/** A sentence for all states but COMPLETED, which needs none, and FAILED, which has its reason. */
export function standing(trial, studyState, epochs, nSeeds) {
  const { state, attempt } = trial;
  if (state === "STOPPED") return attempt === 0 ? "It was given up before it began." : "It was given up before it ended; nothing of it counts in the front.";
  if (state !== "WAITING" && state !== "RUNNING") return null;
  if (!isPending(trial, studyState)) return state === "RUNNING" ? "It was cut off when its study ended." : attempt === 0 ? "It never began: its study ended first." : "It was to be tried again when its study ended.";
  if (studyState === "PAUSED") return "It waits: its study is paused.";
  if (state === "WAITING") return attempt === 0 ? "It has not begun: it waits for a free worker." : `It waits for a free worker to be tried again, after ${attempt} ${attempt === 1 ? "attempt" : "attempts"}.`;
  // Where an earlier attempt left its training, this one goes on from there; epochs are counted through all seeds.
  const goesOn = typeof trial.result?.rescued === "number";
  const done = Math.max(0, ...epochs.filter((epoch) => goesOn || epoch.attempt === attempt).map(({ epoch }) => epoch));
  return `It runs${trial.epochs === null ? "" : `: ${done} of ${trial.epochs * nSeeds} epochs have ended`}. What it comes to is shown when it ends.`;
}
