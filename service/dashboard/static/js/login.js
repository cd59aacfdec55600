// The form for a token: kept for this tab alone, and tried before it is kept.

import { ApiError, get, keepToken } from "./api.js";
import { fill, make } from "./dom.js";

/** Runs `work`; where the service wants a token, asks for one first and runs it again. */
export async function withToken(work) {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      await form();
      location.reload();
      return new Promise(() => {});
    }
  }
}

function form() {
  return new Promise((done) => {
    const field = make("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
    const fault = make("p", { className: "note bad", role: "alert", hidden: true });
    const login = make(
      "form",
      { className: "card login" },
      make("h1", {}, "A token, please"),
      make("p", { className: "soft" }, "This service lets in who holds a token of `greenshift token create`. It is kept until this tab is closed."),
      make("label", { for: "token" }, "Token"),
      field,
      fault,
      make("p", { className: "row" }, make("button", { className: "main", type: "submit" }, "Let me in")),
    );
    login.addEventListener("submit", async (event) => {
      event.preventDefault();
      keepToken(field.value.trim());
      try {
        await get("/studies?limit=1");
        done();
      } catch (error) {
        keepToken(null);
        fault.hidden = false;
        fault.textContent = error.status === 401 ? "This is no valid token." : error.message;
        field.focus();
      }
    });
    fill(document.getElementById("main"), login);
    field.focus();
  });
}
