// Asking the service: JSON, with the token of this tab where one is needed.

const KEY = "greenshift-token";
const ROOT = "/api/v1";

/** An answer that is no success; `status` 0 is no answer at all, `wait` how many seconds the service asks to wait. */
export class ApiError extends Error {
  constructor(status, detail, wait = null) {
    super(detail);
    Object.assign(this, { status, wait });
  }

  /** Whether the same question will be answered later. */
  get isPassing() {
    return [0, 429, 502, 503, 504].includes(this.status);
  }
}

export function keepToken(token) {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}

export function headers() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** The raw answer of a route below /api/v1. */
export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(ROOT + path, { cache: "no-store", ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service does not answer.");
  }
  if (!answer.ok) throw new ApiError(answer.status, await detail(answer), Number(answer.headers.get("Retry-After")) || null);
  return answer;
}

export const get = async (path, options) => (await ask(path, options)).json();
export const post = async (path) => (await ask(path, { method: "POST" })).json();

/** A path below a study, or below one of its trials. */
export const ofStudy = (study, rest = "") => `/studies/${encodeURIComponent(study)}${rest}`;
export const ofTrial = (study, trial, rest = "") => ofStudy(study, `/trials/${encodeURIComponent(trial)}${rest}`);

async function detail(answer) {
  try {
    return String((await answer.json()).detail);
  } catch {
    return `The service answered ${answer.status}.`;
  }
}
