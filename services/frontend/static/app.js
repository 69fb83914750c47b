// The forms of the page.
import { call, session } from "/static/api.js";
import { visit } from "/static/ids.js";

const TABLE = "visits";
const POLL_EVERY = 500;
const POLLS = 20;

const byId = (id) => document.getElementById(id);

function element(name, text, dataset = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  Object.assign(made.dataset, dataset);
  return made;
}

function say(form, text, tone = "") {
  const notice = form.querySelector(".notice");
  notice.textContent = text;
  notice.dataset.tone = tone;
}

function row(cells) {
  const made = document.createElement("tr");
  made.append(...cells.map((cell) => (cell instanceof Node ? cell : element("td", cell))));
  return made;
}

/** Do `work` when a form is sent, with its fields; its buttons wait until it is done. */
function onSubmit(id, work) {
  const form = byId(id);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(form, event.submitter));
    const buttons = form.querySelectorAll("button");
    buttons.forEach((button) => { button.disabled = true; });
    say(form, "Working …");
    try {
      await work(fields, form);
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  });
}

function speak(from, text, remark) {
  const line = element("li", text, { from });
  if (remark) line.append(element("small", remark));
  byId("talk").append(line);
  byId("talk").scrollTop = byId("talk").scrollHeight;
}

onSubmit("chat", async (fields, form) => {
  speak("you", fields.message);
  const asked = performance.now();
  const answer = await call("POST", "/chat", fields);
  const seconds = ((performance.now() - asked) / 1000).toFixed(1);
  if (answer.ok) speak(fields.model, answer.body.answer, `${fields.model}, ${seconds} s${answer.body.cached ? ", from the cache" : ""}`);
  say(form, answer.message, answer.ok ? "" : "bad");
});

async function showRecords() {
  const answer = await call("GET", `/records?table=${TABLE}`);
  if (!answer.ok) return say(byId("records"), answer.message, "bad");
  const records = answer.body.records.toReversed();
  byId("rows").replaceChildren(...records.map(({ id, fields }) => row([id, fields.name ?? "", fields.note ?? ""])));
  return undefined;
}

onSubmit("records", async (fields, form) => {
  const answer = await call("POST", `/records?table=${TABLE}`, { fields });
  say(form, answer.ok ? `Added ${answer.body.id}.` : answer.message, answer.ok ? "good" : "bad");
  if (answer.ok) {
    form.reset();
    await showRecords();
  }
});
byId("reload").addEventListener("click", showRecords);

function finished(job) {
  return ["succeeded", "failed", "cancelled", "dead"].includes(job.state);
}

async function watch(id, state, result) {
  for (let polls = 0; polls < POLLS; polls += 1) {
    await new Promise((resolve) => { setTimeout(resolve, POLL_EVERY); });
    const answer = await call("GET", `/jobs/${id}`);
    // 410 has the state as well; only the result is gone.
    if (answer.ok || answer.status === 410) {
      state.textContent = answer.body.state;
      state.dataset.state = answer.body.state;
      if (finished(answer.body)) {
        result.textContent = answer.ok ? JSON.stringify(answer.body.result) : answer.message;
        return;
      }
    }
  }
  result.textContent = "still not done";
}

onSubmit("jobs", async (fields, form) => {
  const [kind, name] = fields.work.split("/");
  const answer = await call("POST", "/jobs", { kind, name, content: fields.content });
  if (!answer.ok) return say(form, answer.message, "bad");
  say(form, "Queued.", "good");
  const state = element("td", answer.body.state, { state: answer.body.state });
  const result = element("td", "");
  byId("started").prepend(row([answer.body.id.slice(0, 8), name, state, result]));
  watch(answer.body.id, state, result);
  return undefined;
});

onSubmit("orders", async (fields, form) => {
  const answer = await call("POST", "/orders", { item: fields.item, amount: Number(fields.amount) });
  const outcome = answer.body?.outcome;
  if (!outcome) return say(form, answer.message, "bad");
  say(form, answer.ok ? "Placed." : `Not placed: the step ${answer.body.failed_step} failed.`, answer.ok ? "good" : "bad");
  byId("placed").prepend(row([answer.body.id.slice(0, 8), fields.item, fields.amount, element("td", outcome, { state: outcome })]));
  return undefined;
});

async function showAccount() {
  if (!session.token) return;
  const answer = await call("GET", "/session");
  if (answer.status === 401) session.token = null;
  byId("who").textContent = answer.ok ? answer.body.email : "Log in";
}

onSubmit("account", async (fields, form) => {
  const credentials = { email: fields.email, password: fields.password };
  if (fields.do === "register") {
    const made = await call("POST", "/users", credentials);
    return say(form, made.ok ? "Registered: now log in." : made.message, made.ok ? "good" : "bad");
  }
  const answer = await call("POST", "/session", credentials);
  if (!answer.ok) return say(form, answer.message, "bad");
  session.token = answer.body.token;
  form.reset();
  say(form, "Logged in.", "good");
  return showAccount();
});
byId("logout").addEventListener("click", async () => {
  if (session.token) await call("DELETE", "/session");
  session.token = null;
  byId("who").textContent = "Log in";
  say(byId("account"), "Logged out.", "good");
});

byId("visit").textContent = visit().id;
showAccount();
if (document.body.dataset.page === "records") showRecords();
