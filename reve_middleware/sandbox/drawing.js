// Makes the page's elements. Whatever a website sent goes in as text.
"use strict";

export const find = (id) => document.getElementById(id);
const SAID = 4; // newest messages of a conversation
const JSON_PARTS = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d[\d.eE+-]*/g;

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const span = (kind, text) => element("span", { class: kind }, text);

function table(label, rows) {
  return element("table", { "aria-label": label }, element("tbody", {}, ...rows));
}

const row = (key, ...value) => element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, ...value));

// JSON with its keys and values told apart; anything else as it is.
function body(text) {
  const drawn = element("pre", { tabindex: "0", role: "region", "aria-label": "Body" });
  let at = 0;
  for (const part of /^[[{]/.test(text) ? text.matchAll(JSON_PARTS) : []) {
    const [whole, string, colon] = part;
    drawn.append(text.slice(at, part.index), span(colon ? "key" : string ? "string" : "atom", string || whole));
    at = part.index + (string || whole).length;
  }
  drawn.append(text.slice(at) || "(no body)");
  return drawn;
}

// ---- one request ----

function answered({ status, phrase, why, misbehaviour }) {
  const rows = [row("Status", `${status} ${phrase}`)];
  if (why) rows.push(row("Because", why));
  if (misbehaviour && misbehaviour.retry_after) rows.push(row("Retry-After", misbehaviour.retry_after));
  if (misbehaviour && misbehaviour.seconds) rows.push(row("Held back", `up to ${misbehaviour.seconds} s`));
  return table("Answer", rows);
}

export function request(record, isNew) {
  const time = new Date(record.time * 1000);
  const told = record.misbehaviour;
  const late = told && told.seconds ? [span("badge odd", `${told.seconds} s late`)] : [];
  const kind = record.status < 300 ? "badge good" : told && told.status ? "badge odd" : "badge bad";
  return element("details", { "data-testid": "request", "data-number": record.number, class: isNew ? "new" : null },
    element("summary", {},
      span(kind, String(record.status)),
      element("strong", {}, record.endpoint || "the link itself"),
      ...late,
      span("why", record.why),
      element("time", { datetime: time.toISOString() }, time.toLocaleTimeString())),
    element("div", { class: "inside" },
      element("p", { class: "path" }, element("code", {}, `${record.method} ${record.path}`)),
      element("h3", {}, "Body ", span("why", `${record.size} bytes`)), body(record.body),
      element("h3", {}, "Answer"), answered(record),
      element("h3", {}, "Headers"), table("Headers", record.headers.map(([name, value]) => row(name, value)))));
}

// ---- one conversation ----

function known(field, value, changed, allNew) {
  if (allNew || !(field in changed)) return row(field, value);
  const was = changed[field];
  const mark = span("mark", was === null ? "new" : "changed");
  const before = was === null ? [] : [element("s", { "aria-label": `before: ${was}` }, was), " "];
  const made = row(field, ...before, element("span", { class: "value" }, value), " ", mark);
  made.className = "changed";
  return made;
}

export function conversation(state) {
  const fields = Object.entries(state.knows);
  const allNew = fields.every(([field]) => state.changed[field] === null); // then none stands out
  const pushes = state.pushes === 1 ? "1 push" : `${state.pushes} pushes`;
  const origin = state.from_widget ? "" : state.session_id.startsWith("reve-middleware-check-")
    ? ", from reve-middleware check" : ", not opened by the widget";
  const about = fields.length && allNew ? `${pushes}, all of it new` : pushes;
  const said = state.messages.filter((message) => message.speaker !== "hint").slice(-SAID);
  return element("article", { class: "card", "data-testid": "session", "data-session": state.session_id },
    element("h3", {}, "Session ", element("code", { title: state.session_id }, state.session_id.slice(0, 12)),
      span("why", about + origin)),
    element("div", { class: "both" },
      fields.length
        ? table("What the bot knows", fields.map(([field, value]) => known(field, value, state.changed, allNew)))
        : element("p", { class: "empty" }, "Knows nothing."),
      ...(said.length ? [talk(said)] : [])));
}

function talk(said) {
  return element("div", { class: "talk", role: "group", "aria-label": "Last messages" },
    ...said.map(({ speaker, text }) => element("p", { class: speaker }, span("unseen", `${speaker}: `), text)));
}

// ---- how it goes wrong ----

export function sentence({ status, retry_after, seconds, times }) {
  const late = seconds ? `after ${seconds} s` : "";
  const what = status === null ? `answers rightly, but ${late}` : `answers ${[status, late].filter(Boolean).join(" ")}`;
  const header = retry_after === null ? "" : `, with Retry-After: ${retry_after}`;
  const often = times === null ? "" : times === 1 ? ", once" : `, ${times} times more`;
  return `The webhook ${what}${header}${often}.`;
}
