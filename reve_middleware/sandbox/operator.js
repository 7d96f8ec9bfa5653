// The operator's page: asks for what is new, and draws it. Text only goes in as text.
"use strict";

const EVERY = 500; // ms
const AFTER_TROUBLE = 2000; // ms
const find = (id) => document.getElementById(id);
const drawn = new Map(); // number of a request: its element
let version = -1;
let opened = null; // the request that was opened by itself

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function pairs(entries, label) {
  const rows = entries.map(([key, value]) =>
    element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, value)));
  return element("table", { "aria-label": label }, element("tbody", {}, ...rows));
}

function request(record) {
  const good = record.status < 300;
  const summary = element("summary", {},
    element("span", { class: good ? "badge good" : "badge bad" }, String(record.status)),
    element("strong", {}, record.endpoint || "no endpoint"),
    element("span", { class: "why" }, record.why),
    element("time", {}, new Date(record.time * 1000).toLocaleTimeString()));
  return element("details", { "data-testid": "request", "data-number": record.number, class: version < 0 ? "" : "new" },
    summary,
    element("p", { class: "line" }, element("code", {}, `${record.method} ${record.path}`)),
    element("pre", { tabindex: "0", "aria-label": "Body" }, record.body || "(no body)"),
    pairs(record.headers, "Headers"));
}

function drawRequests(records) {
  const list = find("requests");
  const newest = Math.max(0, ...drawn.keys());
  for (const record of records.filter((each) => each.number > newest).reverse()) {
    const made = request(record);
    drawn.set(record.number, made);
    list.prepend(made);
  }
  if (list.firstChild && list.firstChild !== opened) {
    if (opened) opened.open = false;
    opened = list.firstChild;
    opened.open = true;
  }
  const kept = new Set(records.map((record) => record.number));
  for (const [number, made] of drawn) {
    if (kept.has(number)) continue;
    made.remove();
    drawn.delete(number);
  }
  find("no-requests").hidden = records.length > 0;
}

function conversation(state) {
  const known = Object.entries(state.knows);
  const last = state.messages.filter((message) => message.speaker !== "hint").at(-1);
  const where = state.from_widget ? "" : "not opened by the widget";
  return element("article", { "data-testid": "session", "data-session": state.session_id },
    element("h3", {}, element("code", { title: state.session_id }, state.session_id.slice(0, 12)), " ",
      element("span", { class: "why" }, where)),
    known.length ? pairs(known, "What the bot knows") : element("p", { class: "empty" }, "Knows nothing."),
    ...(last ? [element("p", { class: "last" }, `${last.speaker}: ${last.text}`)] : []));
}

function draw(state) {
  const webhook = find("webhook");
  const address = location.origin + state.bot.webhook_path;
  if (webhook.textContent && webhook.textContent !== address) location.reload(); // it was started anew
  webhook.replaceChildren(element("code", {}, address));
  find("chatbot").textContent = state.bot.chatbot_id;
  find("token").textContent = state.bot.token;
  drawRequests(state.requests);
  find("sessions").replaceChildren(...state.conversations.map(conversation));
  find("no-sessions").hidden = state.conversations.length > 0;
  version = state.version;
}

function live(is) {
  const mark = find("live");
  mark.textContent = is ? "Live" : "The stand-in has stopped";
  mark.className = is ? "on" : "off";
}

async function look() {
  let pause = EVERY;
  try {
    const response = await fetch(`/operator/state?version=${version}`);
    if (response.status === 200) draw(await response.json());
    live(true);
  } catch {
    live(false);
    version = -1;
    pause = AFTER_TROUBLE;
  }
  setTimeout(look, pause);
}

find("rotate").addEventListener("click", async () => {
  const told = find("told");
  try {
    const response = await fetch("/operator/rotate", { method: "POST" });
    const { token } = await response.json();
    find("token").textContent = token;
    told.textContent = "New token. The old one is refused from now on.";
  } catch {
    told.textContent = "That did not work: the stand-in does not answer.";
  }
});

look();
