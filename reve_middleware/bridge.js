/* The bridge of reve-middleware: takes the ids of the chat from REVE's widget to this site's own server.
 *
 * The same bytes for everybody. What differs between sites stands in data-* attributes of the script's tag, and
 * nothing about a user is read, kept or written here: who the visitor is, the server knows by itself.
 */
(function () {
  "use strict";

  const MARK = Symbol.for("reve-middleware.bridge");
  const tag = document.currentScript;

  const said = new Set();
  function warn(text) {
    if (!said.has(text)) console.warn("reve-middleware: " + text);
    said.add(text);
  }

  if (window[MARK]) return; // loaded twice (by hand and by injection, say): the first one does it all
  if (!(tag instanceof HTMLScriptElement)) return warn("bridge.js works as a plain <script src>, not as a module");
  Object.defineProperty(window, MARK, { value: true });

  const name = tag.dataset.function || "identify";
  const bot = tag.dataset.bot;
  const capture = new URL("session", tag.src);
  const fetch = window.fetch.bind(window); // taken early: what later wraps fetch (session recorders) sees no ids

  // ---- Delivery: one request at a time, the newest wish wins ------------------------------------------------------

  const ATTEMPT = 15000; // ms an attempt may take, its answer's body included
  const LONGEST_WAIT = 60000;
  const BODY_LIMIT = 2048; // more the server refuses anyway; a keepalive request has a limit too

  let current = null; // the job whose attempt is under way, or (with a timer) the one that waits to be repeated
  let next = null; // the newest job that came while an attempt was under way

  async function attempt(body) { // → the outcome, or null: again
    const stop = new AbortController();
    const bound = setTimeout(() => stop.abort(), ATTEMPT);
    const headers = { "X-Reve-Bridge": "1" };
    if (body !== null) headers["Content-Type"] = "application/json";
    try {
      const answer = await fetch(capture.href, {
        method: body === null ? "DELETE" : "POST", headers, body, signal: stop.signal,
        mode: "same-origin", credentials: "same-origin", redirect: "error", cache: "no-store",
        keepalive: true, // the visitor may click a link in the chat: the request outlives the page
      });
      const code = answer.status;
      if (code === 408 || code === 429 || code >= 500) return null;
      const text = answer.ok ? await answer.text() : await answer.text().catch(() => "");
      let told = null;
      try { told = JSON.parse(text); } catch (e) { /* a login page or a proxy's error page */ }
      told = told || {};
      if (answer.ok && typeof told.status === "string") return { status: told.status };
      const reason = String(told.title || told.detail || "not reve-middleware's answer");
      warn("this site refused the chat (" + code + "): " + String(told.detail || reason));
      return { status: "refused", code, reason };
    } catch (e) {
      return null; // no network, a redirect, too slow
    } finally {
      clearTimeout(bound);
    }
  }

  async function run(job) {
    current = job;
    job.timer = 0;
    const outcome = await attempt(job.body);
    if (!outcome && job.tries === 2) warn("three tries to reach " + capture.pathname + " failed: does an ad blocker stop it?");
    if (!outcome && !next) {
      const wait = Math.min(LONGEST_WAIT, 1000 * 2 ** job.tries++);
      job.timer = setTimeout(run, wait * (0.5 + Math.random() / 2), job); // jitter: not all visitors at one moment
      return;
    }
    const newer = next;
    current = next = null;
    if (newer) run(newer); // before anybody hears of the outcome, for they may call us again
    finish(job, outcome);
  }

  function finish(job, outcome) {
    job.resolve(outcome || { status: "superseded" });
    if (outcome) document.dispatchEvent(new CustomEvent("reve:session", { detail: { status: outcome.status } }));
  }

  function submit(body) { // body null: forget. → promise of the outcome, never rejected
    if (next && next.body === body) return next.promise;
    if (next) finish(next, null);
    next = null;
    if (current && current.body === body) return current.promise;
    const job = { body, tries: 0, timer: 0 };
    job.promise = new Promise((resolve) => { job.resolve = resolve; });
    if (current && !current.timer) {
      next = job;
      return job.promise;
    }
    const waiting = current;
    run(job);
    if (waiting) {
      clearTimeout(waiting.timer);
      finish(waiting, null);
    }
    return job.promise;
  }

  window.addEventListener("online", () => {
    if (!current || !current.timer) return;
    clearTimeout(current.timer);
    current.tries = 0;
    run(current);
  });

  // ---- What the widget calls --------------------------------------------------------------------------------------

  function ignored(reason) {
    warn("chatbot." + name + " does nothing: " + reason);
    return Promise.resolve({ status: "ignored", reason });
  }

  // JSON numbers are taken as they are written: an id of twenty digits must not be rounded on its way.
  const exact = (key, value, context) => (typeof value === "number" && context ? context.source : value);

  function id(value) {
    if (typeof value === "string") return value;
    return typeof value === "bigint" || Number.isSafeInteger(value) ? String(value) : "";
  }

  function identify(param) {
    let session, chatbot;
    try {
      const ids = typeof param === "string" ? JSON.parse(param, exact) : param;
      session = id(ids.session_id);
      chatbot = id(ids.chatbot_id) || bot;
    } catch (e) { /* rubbish: no ids */ }
    if (!session) return ignored("no session_id");
    if (!chatbot) return ignored("no chatbot_id");
    if (capture.origin !== self.origin) return ignored("bridge.js is not from this page's origin");
    const body = JSON.stringify({ session_id: session, chatbot_id: chatbot });
    return body.length > BODY_LIMIT ? ignored("ids too long") : submit(body);
  }

  function forget() {
    return capture.origin === self.origin ? submit(null) : ignored("bridge.js is not from this page's origin");
  }

  // ---- window.chatbot: ours and the site's in one object, whoever comes first --------------------------------------

  const ours = [[name, identify], ["forget", forget]];
  const made = new WeakSet([identify, forget]); // every function of ours, so that none is ever chained to itself

  function chain(own, site) { // one function for two: ours answers, the site's own is called as well
    function both(...args) {
      const answer = own.apply(this, args);
      try {
        site.apply(this, args);
      } catch (error) {
        setTimeout(() => { throw error; }); // the site's fault goes to the site's error handler, not to the widget
      }
      return answer;
    }
    made.add(both);
    return both;
  }

  // An accessor: a later `chatbot.identify = …` joins ours instead of replacing it.
  function install(object, key, own) {
    const join = (site) => (made.has(site) ? site : typeof site === "function" ? chain(own, site) : own);
    let now = own;
    try { now = join(object[key]); } catch (e) { /* a getter or proxy that throws has nothing to keep */ }
    const set = (site) => { now = join(site); };
    Object.defineProperty(object, key, { get: () => now, set, configurable: true, enumerable: true });
  }

  // Stands behind an object of ours: whoever asks for what it has not may mean another name of `function=`.
  const absent = new Proxy({}, {
    get(target, key) {
      if (typeof key === "string" && !(key in target) && key !== name && !/^(forget|then|toJSON)$/.test(key)) {
        warn("chatbot." + key + " is asked for, and there is none: function= says chatbot." + name);
      }
      return target[key];
    },
  });

  function has(object) {
    try { return ours.every(([key]) => made.has(object[key])); } catch (e) { return false; }
  }

  // → the site's object with our functions in it, or a child of it where it is frozen; null when it is no object.
  function merge(site) {
    if (site === null || (typeof site !== "object" && typeof site !== "function")) return null;
    const add = (object) => ours.forEach(([key, own]) => install(object, key, own));
    try { add(site); } catch (e) { /* frozen, sealed, a proxy that throws */ }
    if (has(site)) return site;
    const child = Object.create(site);
    add(child);
    return child;
  }

  function ensure() {
    const slot = Object.getOwnPropertyDescriptor(window, "chatbot");
    if (!slot || (slot.configurable && "value" in slot)) {
      let held = merge(window.chatbot) || merge(Object.create(absent));
      Object.defineProperty(window, "chatbot", {
        get: () => held,
        set: (site) => { held = merge(site) || held; },
        configurable: true, // or a page's `const chatbot` would be a SyntaxError
        enumerable: true,
      });
    }
    // The bare name is what scripts see. It is not our accessor where the site has an accessor of its own, or declared
    // `function chatbot`, or `const`, `let` or `class`, or `var` before this script ran.
    try {
      if (!has(chatbot)) {
        const merged = merge(chatbot) || merge(Object.create(absent));
        if (merged !== chatbot) chatbot = merged; // eslint-disable-line no-global-assign
      }
      if (has(chatbot)) return;
    } catch (e) { /* a const, or a getter alone */ }
    warn("chatbot." + name + " could not be added to this page's own `chatbot`, which cannot be changed");
  }

  ensure();
  document.addEventListener("DOMContentLoaded", ensure);
  window.addEventListener("load", ensure);

  // ---- The widget, where account_id= asks for it -------------------------------------------------------------------

  const WIDGET = "https://static.revechat.com/widget/scripts/new-livechat.js";

  function address() {
    const url = WIDGET + "?" + Date.now();
    if (!window.trustedTypes) return url;
    const createScriptURL = (text) => {
      if (text.startsWith(WIDGET + "?")) return text;
      throw new TypeError("not REVE's widget");
    };
    return window.trustedTypes.createPolicy("reve-bridge", { createScriptURL }).createScriptURL(url);
  }

  function loadWidget() {
    if (window.__revechat_account) return; // the page has brought its own
    const script = document.createElement("script");
    try {
      script.src = address();
    } catch (e) {
      return warn("the widget is not loaded: the policy of this page has no `trusted-types reve-bridge`");
    }
    window.__revechat_account = tag.dataset.account;
    window.__revechat_version = 2;
    script.nonce = tag.nonce; // async it is anyway, as every element made by a script
    (document.head || document.documentElement).appendChild(script);
  }

  if (tag.dataset.account) {
    // REVE's queue at once, so that the page may use it; the widget when the page had its chance to bring its own.
    if (!window.$_REVECHAT_API) {
      const queue = (callback) => { queue._.push(callback); };
      queue._ = [];
      window.$_REVECHAT_API = queue;
    }
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", loadWidget);
    else loadWidget();
  }
})();
