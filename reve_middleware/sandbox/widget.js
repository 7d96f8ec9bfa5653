// The chat widget of the stand-in. It runs on the site's page, as REVE's does, and talks to the sandbox it came from.
(() => {
  "use strict";

  const queue = window.$_REVECHAT_API;
  if (queue && queue.Button) return; // loaded twice

  const API = new URL("..", document.currentScript.src);
  const STYLE = "the style sheet";
  const KEPT = "reve-stand-in";
  const EVERY = 300; // ms between two looks at the conversation
  const AFTER_TROUBLE = 3000; // ms, when the sandbox does not answer
  const PATIENCE = 1000; // ms that the page's function may take

  // ids: what the page's function is given, or null; name: of that function; open: the window is. Kept across pages.
  let kept = read();
  let seen = 0; // number of the newest message drawn
  let version = -1; // of the state drawn
  let timer = 0;
  const onClose = [];

  function read() {
    const nothing = { ids: null, name: "", open: false };
    try {
      return { ...nothing, ...JSON.parse(localStorage.getItem(KEPT)) };
    } catch {
      return nothing;
    }
  }

  function sessionOf(which) {
    return which.ids ? which.ids.session_id : "";
  }

  function keep(change) {
    kept = { ...kept, ...change };
    try {
      localStorage.setItem(KEPT, JSON.stringify(kept));
    } catch {
      // a page that may store nothing: the conversation lasts as long as the page
    }
  }

  // ---- the window ----

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const button = element("button", {
    type: "button", class: "launcher", "aria-expanded": "false", "aria-controls": "window", "data-testid": "chat-button",
  }, element("span", { class: "bubble", "aria-hidden": "true" }), "Chat");
  const status = element("span", { class: "status", "data-testid": "chat-status" }, "ready");
  const fresh = element("button", { type: "button", class: "fresh", "data-testid": "new-conversation" }, "New conversation");
  const close = element("button", { type: "button", class: "close", "aria-label": "Close the chat", "data-testid": "chat-close" }, "×");
  const messages = element("div", {
    class: "messages", role: "log", "aria-label": "Conversation", tabindex: "0", "data-testid": "messages",
  });
  const typing = element("div", { class: "typing", "aria-hidden": "true", hidden: "" }, ...[1, 2, 3].map(() => element("i")));
  const input = element("input", {
    type: "text", maxlength: "2000", autocomplete: "off", placeholder: "Write to the bot", "aria-label": "Your message",
    "data-testid": "chat-input",
  });
  const form = element("form", {}, input, element("button", { "data-testid": "chat-send" }, "Send"));
  const rows = element("tbody");
  const nothing = element("p", { class: "nothing", "data-testid": "knows-nothing" }, "Nothing yet.");
  const session = element("code", { "data-testid": "session-id" });
  const panel = element("section", {
    id: "window", class: "window", role: "dialog", "aria-label": "Chat with the bot", hidden: "", "data-testid": "chat-window",
  },
    element("header", {},
      element("span", { class: "face", "aria-hidden": "true" }, element("span", { class: "bubble" })),
      element("div", { class: "who" }, element("strong", {}, "Chat"), status), fresh, close),
    element("div", { class: "panes" },
      element("div", { class: "talk" }, messages, form),
      element("aside", {},
        element("h2", {}, "What the bot knows"), nothing,
        element("table", { "aria-label": "What the bot knows", "data-testid": "knows" }, rows),
        element("p", { class: "session" }, "Session ", session))));

  const host = element("reve-stand-in");
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  root.append(panel, button);

  function say(speaker, text) {
    const line = element("p", { class: speaker, "data-testid": "message", "data-speaker": speaker }, text);
    messages.insertBefore(line, typing);
  }

  function wipe() {
    messages.replaceChildren(typing);
    rows.replaceChildren();
    nothing.hidden = false;
    session.textContent = kept.ids ? sessionOf(kept).slice(0, 8) + "…" : "none";
    session.title = sessionOf(kept);
    seen = 0;
    version = -1;
  }

  function draw(state) {
    if (state.session_id !== sessionOf(kept) || state.version < version) return;
    version = state.version;
    const first = seen === 0;
    for (const message of state.messages) {
      if (message.number <= seen) continue;
      seen = message.number;
      say(message.speaker, message.text);
      if (!kept.open && !first) unread(true);
    }
    if (state.messages.length) messages.scrollTop = messages.scrollHeight;
    drawKnown(Object.entries(state.knows), state.changed, first);
    tell("online");
  }

  function drawKnown(entries, changed, first) {
    const before = new Map([...rows.children].map((row) => [row.dataset.field, row]));
    const allNew = entries.every(([field]) => changed[field] === null); // then none stands out
    const after = entries.map(([field, value]) => {
      const old = before.get(field);
      const row = old && old.lastChild.textContent === value ? old : known(field, value, first);
      const is = field in changed && !allNew;
      row.classList.toggle("changed", is);
      row.firstChild.dataset.mark = !is ? "" : changed[field] === null ? "new" : "changed"; // drawn by the style
      return row;
    });
    if (after.length !== rows.children.length || after.some((row, at) => row !== rows.children[at])) {
      rows.replaceChildren(...after);
    }
    nothing.hidden = entries.length > 0;
  }

  function known(field, value, first) {
    const attributes = { "data-field": field, "data-testid": "knows-" + field, class: first ? "" : "new" };
    return element("tr", attributes, element("th", { scope: "row" }, field), element("td", {}, value));
  }

  function tell(how) {
    status.textContent = how;
    status.dataset.is = how;
  }

  function unread(is) {
    button.classList.toggle("unread", is);
    if (is) button.setAttribute("aria-label", "Chat, with a new message");
    else button.removeAttribute("aria-label");
  }

  // ---- the conversation ----

  async function call(path, body) {
    const options = { method: body === undefined ? "GET" : "POST", cache: "no-store", credentials: "omit" };
    if (body) Object.assign(options, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
    const response = await fetch(new URL(path, API), options);
    if (!response.ok) throw Object.assign(new Error("the sandbox said no"), { status: response.status });
    return response.json();
  }

  function about(what = "") {
    return `session/${sessionOf(kept)}${what}${what.includes("?") ? "&" : "?"}after=${seen}`;
  }

  // Do one thing with the sandbox; whatever goes wrong is shown, and tried again with the next look.
  async function attempt(work) {
    try {
      await work();
      return true;
    } catch (error) {
      if (error.status === 404) {
        // The sandbox was started anew and knows nothing of this session.
        forget();
        return true;
      }
      tell("no answer");
      return false;
    }
  }

  // The bot's browser script: call the page's function, once in a conversation, then let the bot speak.
  async function begin() {
    wipe();
    tell("…");
    busy(true);
    await attempt(async () => {
      const { session_id, chatbot_id, function: name } = await call("session", null);
      keep({ ids: { session_id, chatbot_id }, name });
      wipe();
      const outcome = await callPage();
      draw(await call(about(`/begin?outcome=${outcome}`), null));
    });
    busy(false);
    look();
  }

  function busy(is) {
    typing.hidden = !is;
    fresh.disabled = is;
  }

  async function callPage() {
    const page = window.chatbot;
    if (!page || typeof page[kept.name] !== "function") return "missing";
    try {
      await Promise.race([page[kept.name]({ ...kept.ids }), new Promise((done) => setTimeout(done, PATIENCE))]);
      return "called";
    } catch {
      return "failed";
    }
  }

  async function look() {
    clearTimeout(timer);
    if (!kept.ids) return;
    const well = await attempt(async () => {
      const state = await call(about());
      draw(state);
      // A page that was left between its function and the bot's first words: nothing is called twice.
      if (!state.begun && kept.ids && typing.hidden) draw(await call(about("/begin"), null));
    });
    clearTimeout(timer);
    timer = setTimeout(look, well ? EVERY : AFTER_TROUBLE);
  }

  function forget() {
    keep({ ids: null });
    wipe();
    if (kept.open) begin();
  }

  // ---- what the visitor and the page can do ----

  function maximize() {
    keep({ open: true });
    panel.hidden = false;
    button.setAttribute("aria-expanded", "true");
    unread(false);
    if (!kept.ids && typing.hidden) begin();
    messages.scrollTop = messages.scrollHeight;
  }

  function minimize() {
    keep({ open: false });
    panel.hidden = true;
    button.setAttribute("aria-expanded", "false");
  }

  button.addEventListener("click", () => {
    if (panel.hidden) {
      maximize();
      input.focus();
    } else {
      minimize();
    }
  });
  close.addEventListener("click", () => {
    minimize();
    button.focus();
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close.click();
  });
  fresh.addEventListener("click", () => {
    for (const told of onClose) told();
    forget();
    input.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text || !kept.ids) return;
    attempt(async () => {
      draw(await call(about("/say"), { text }));
      input.value = "";
    });
  });
  window.addEventListener("storage", (event) => {
    const other = read();
    if (event.key !== KEPT || sessionOf(other) === sessionOf(kept)) return;
    kept = { ...other, open: kept.open }; // another tab's conversation is ours too, its window is not
    wipe();
    look();
  });

  const api = (fn) => fn();
  api.Button = {
    show: () => { host.hidden = false; },
    hide: () => { host.hidden = true; },
    maximize,
    minimize,
  };
  api.isVisitorChatting = () => Boolean(kept.ids);
  api.attach_chat_close_callback = (fn) => { onClose.push(fn); };

  function start() {
    document.body.append(host);
    wipe();
    if (kept.open) maximize();
    look();
    window.$_REVECHAT_API = api;
    for (const fn of (queue && queue._) || []) fn();
  }

  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);
})();
