// The operator's page: asks for what is new, and has it drawn; sends what the operator orders.
import { conversation, find, request, sentence } from "./drawing.js";

const EVERY = 500; // ms
const AFTER_TROUBLE = 2000; // ms
const requests = new Map(); // number of a request: its element
const sessions = new Map(); // session id: its element, and what was drawn
const FIELDS = ["status", "retry_after", "seconds", "times"];
let version = -1;
let ordered = 0; // steps of orders: a look that one fell into has seen what is no more
let snippet = "";
let opened = null; // the request that was opened by itself

// ---- what is new ----

function drawRequests(records) {
  const list = find("requests");
  const newest = Math.max(0, ...requests.keys());
  const fresh = records.filter((each) => each.number > newest);
  for (const record of [...fresh].reverse()) {
    const made = request(record, version >= 0);
    requests.set(record.number, made);
    list.prepend(made);
  }
  if (fresh.length) openNewest(list);
  const kept = new Set(records.map((record) => record.number));
  for (const [number, made] of requests) {
    if (kept.has(number)) continue;
    made.remove();
    requests.delete(number);
  }
  find("no-requests").hidden = records.length > 0;
  if (fresh.length && version >= 0) tell(fresh);
}

// The newest is open, unless the one before it is being read.
function openNewest(list) {
  if (opened && opened.contains(document.activeElement)) return;
  if (opened) opened.open = false;
  opened = list.firstChild;
  opened.open = true;
}

function tell(fresh) {
  const [newest] = fresh;
  const more = fresh.length > 1 ? `${fresh.length} new requests; the newest: ` : "New request: ";
  find("news").textContent = `${more}${newest.endpoint || "the link itself"}, answered ${newest.status}. ${newest.why}`;
}

function drawSessions(states) {
  const list = find("sessions");
  for (const state of states) {
    const { version: _, ...lasting } = state;
    const now = JSON.stringify(lasting);
    const before = sessions.get(state.session_id);
    if (before && before.drawn === now) continue;
    const made = conversation(state);
    if (before) before.made.replaceWith(made);
    else list.prepend(made);
    sessions.set(state.session_id, { made, drawn: now });
  }
  const order = states.map((state) => sessions.get(state.session_id).made);
  if (order.length !== list.children.length || order.some((made, at) => made !== list.children[at])) {
    list.replaceChildren(...order);
  }
  find("no-sessions").hidden = states.length > 0;
}

function drawMisbehaviour(told) {
  find("alarm").hidden = told === null;
  find("alarm-text").textContent = told === null ? "" : sentence(told);
  for (const each of find("switches").children) each.setAttribute("aria-pressed", String(is(told, each.dataset)));
}

const is = (told, { status, retryAfter, seconds }) => told !== null
  && String(told.status ?? "") === (status || "")
  && (told.retry_after ?? "") === (retryAfter || "")
  && told.seconds === Number(seconds || 0);

function draw(state) {
  const webhook = find("webhook");
  const address = location.origin + state.bot.webhook_path;
  if (webhook.textContent && webhook.textContent !== address) location.reload(); // it was started anew
  webhook.textContent = address;
  find("chatbot").textContent = state.bot.chatbot_id;
  find("token").textContent = state.bot.token;
  snippet = state.bot.snippet;
  drawMisbehaviour(state.misbehaviour);
  drawRequests(state.requests);
  drawSessions(state.conversations);
  const refused = state.received - state.accepted;
  find("counts").textContent = state.received ? `${state.received} in all, ${state.accepted} taken, ${refused} refused` : "";
  version = state.version;
}

function live(well) {
  const mark = find("live");
  mark.textContent = well ? "Live" : "The stand-in has stopped";
  mark.className = well ? "on" : "off";
}

async function look() {
  let pause = EVERY;
  try {
    const before = ordered;
    const response = await fetch(`/operator/state?version=${version}`);
    const state = response.status === 200 ? await response.json() : null;
    if (state && ordered === before) draw(state);
    live(response.ok);
  } catch {
    live(false);
    version = -1;
    pause = AFTER_TROUBLE;
  }
  setTimeout(look, pause);
}

// ---- orders ----

// Send one; its answer, or nothing, with the reason shown in the element `where`.
async function order(what, where, values = null) {
  const options = { method: "POST" };
  if (values) Object.assign(options, { body: JSON.stringify(values), headers: { "Content-Type": "application/json" } });
  where.textContent = "";
  ordered += 1;
  try {
    const response = await fetch(`/operator/${what}`, options);
    const answer = await response.json();
    ordered += 1;
    if (response.ok) return answer;
    where.textContent = answer.error;
  } catch {
    where.textContent = "That did not work: the stand-in does not answer.";
  }
  return null;
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    find("told").textContent = `Copied the ${what}.`;
  } catch {
    find("told").textContent = "The browser does not let this page copy.";
  }
}

find("copy-webhook").addEventListener("click", () => copy(find("webhook").textContent, "webhook’s address"));
find("copy-snippet").addEventListener("click", () => copy(snippet, "widget’s HTML"));
find("copy-token").addEventListener("click", async () => {
  const answer = await order("token", find("told"));
  if (answer) await copy(answer.token, "token");
});
find("rotate").addEventListener("click", async () => {
  const answer = await order("rotate", find("told"));
  if (!answer) return;
  find("token").textContent = answer.token;
  find("told").textContent = "New token. The old one is refused from now on.";
});

const fault = find("fault");
const number = (text) => (text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text));

async function misbehave() {
  const [status, retry_after, seconds, times] = FIELDS.map((name) => fault.elements[name].value.trim());
  if (!status && (seconds === "" || Number(seconds) === 0)) {
    find("fault-wrong").textContent = "Nothing would go wrong: give a status, or seconds to stall.";
    return;
  }
  const values = { status: number(status), retry_after: retry_after || null, seconds: number(seconds) ?? 0, times: number(times) };
  const answer = await order("misbehave", find("fault-wrong"), values);
  if (answer) drawMisbehaviour(answer.misbehaviour);
}

async function behave() {
  const answer = await order("behave", find("fault-wrong"));
  if (answer) drawMisbehaviour(null);
}

fault.addEventListener("submit", (event) => {
  event.preventDefault();
  misbehave();
});
for (const each of document.querySelectorAll(".behave")) {
  each.addEventListener("click", () => {
    const leaves = find("alarm").contains(each); // and would take the focus with it
    behave();
    if (leaves) find("misbehave").focus();
  });
}
for (const each of find("switches").children) {
  each.addEventListener("click", () => {
    if (each.getAttribute("aria-pressed") === "true") {
      behave();
      return;
    }
    fault.elements.status.value = each.dataset.status || "";
    fault.elements.retry_after.value = each.dataset.retryAfter || "";
    fault.elements.seconds.value = each.dataset.seconds || "";
    misbehave();
  });
}

document.addEventListener("keydown", (event) => {
  const inside = event.key === "Escape" && document.activeElement.closest("details[open]");
  if (!inside) return;
  inside.open = false;
  inside.querySelector("summary").focus();
});

look();
