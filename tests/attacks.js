// What a page of another origin can try against `address`, all of it at once. Each try has its own label, which stands
// in the query, so that the site can tell what arrived. Returns what each fetch, XHR and beacon was told.
async (address) => {
  const ids = '{"session_id":"theirs","chatbot_id":"bot"}';
  const at = (label) => `${address}?${encodeURIComponent(label)}`;
  const told = {};
  const waiting = [];

  // ---- fetch, XMLHttpRequest, beacons -----------------------------------------------------------------------------

  const json = {"Content-Type": "application/json"};
  const bridge = {...json, "X-Reve-Bridge": "1"};
  const tries = {
    "no-cors": {mode: "no-cors"},
    "no-cors JSON": {mode: "no-cors", headers: json},
    "no-cors bridge": {mode: "no-cors", headers: bridge},
    "no-cors blob": {mode: "no-cors", body: new Blob([ids], {type: "application/json"})},
    "no-cors keepalive": {mode: "no-cors", keepalive: true},
    "no-cors HEAD": {mode: "no-cors", method: "HEAD", body: undefined},
    "no-cors DELETE": {mode: "no-cors", method: "DELETE"},
    "cors": {mode: "cors"},
    "cors without cookies": {mode: "cors", credentials: "omit"},
    "cors JSON": {mode: "cors", headers: json},
    "cors bridge": {mode: "cors", headers: bridge},
    "cors GET": {mode: "cors", method: "GET", body: undefined},
    "cors DELETE": {mode: "cors", method: "DELETE", body: undefined},
    "cors DELETE bridge": {mode: "cors", method: "DELETE", body: undefined, headers: {"X-Reve-Bridge": "1"}},
    "cors PUT": {mode: "cors", method: "PUT"},
    "same-origin": {mode: "same-origin", headers: bridge},
  };
  const send = (url, options) => fetch(url, {method: "POST", body: ids, credentials: "include", ...options});
  const note = (label, promise) => waiting.push(promise.then(
    (answer) => { told[label] = `${answer.type} ${answer.status}`; }, (error) => { told[label] = error.name; }));
  for (const [label, options] of Object.entries(tries)) note(label, send(at(label), options));
  // By the site's own open redirect:
  const by = (label) => `${new URL(address).origin}/go?${encodeURIComponent(at(label))}`;
  note("no-cors by the site", send(by("no-cors by the site"), {mode: "no-cors"}));
  note("no-cors by a redirect", send(`/307?${at("no-cors by a redirect")}`, {mode: "no-cors"}));
  note("cors by a redirect", send(`/307?${at("cors by a redirect")}`, {mode: "cors"}));

  for (const [label, headers] of [["XHR", {}], ["XHR bridge", bridge]]) {
    waiting.push(new Promise((resolve) => {
      const request = new XMLHttpRequest();
      request.open("POST", at(label));
      request.withCredentials = true;
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.onloadend = () => { told[label] = `XHR ${request.status}`; resolve(); };
      request.send(ids);
    }));
  }
  const fields = new FormData();
  fields.append("session_id", "theirs");
  const beacons = {
    "beacon text": ids,
    "beacon blob": new Blob([ids], {type: "text/plain"}),
    "beacon JSON": new Blob([ids], {type: "application/json"}),
    "beacon form": fields,
    "beacon parameters": new URLSearchParams({session_id: "theirs"}),
  };
  for (const [label, body] of Object.entries(beacons)) told[label] = navigator.sendBeacon(at(label), body);

  // ---- What is loaded ---------------------------------------------------------------------------------------------

  const put = (name, attributes, where = document.body) => {
    const element = Object.assign(document.createElement(name), attributes);
    where.append(element);
    return element;
  };
  put("img", {src: at("img")});
  put("script", {src: at("script")});
  put("script", {src: at("script, module"), type: "module"});
  put("script", {src: at("script, crossorigin"), crossOrigin: "use-credentials"});
  put("link", {href: at("stylesheet"), rel: "stylesheet"});
  put("link", {href: at("prefetch"), rel: "prefetch"});
  put("video", {src: at("video")});
  put("embed", {src: at("embed")});
  put("object", {data: at("object")});
  put("iframe", {src: at("iframe")});
  put("iframe", {srcdoc: `<meta http-equiv=refresh content="0;url='${at("iframe, meta refresh")}'">`});
  put("iframe", {srcdoc: `<script>location = "${at("iframe, location")}"</script>`});
  put("iframe", {src: at("iframe, no credentials"), credentialless: true});
  new EventSource(at("EventSource"), {withCredentials: true}).onerror = (event) => event.target.close();
  new Worker(URL.createObjectURL(new Blob([`importScripts("${at("importScripts")}")`])));
  put("a", {href: "#ping", ping: at("ping")}).click();

  // ---- Forms ------------------------------------------------------------------------------------------------------

  const form = (label, enctype, action = at(label), target = put("iframe", {name: label}).name) => {
    const made = put("form", {action, enctype, method: "post", target});
    put("input", {name: '{"session_id":"theirs","chatbot_id":"bot","x":"', value: '"}'}, made);
    made.submit();
  };
  form("form, urlencoded", "application/x-www-form-urlencoded");
  form("form, multipart", "multipart/form-data");
  form("form, text", "text/plain");
  form("form, by the site", "text/plain", by("form, by the site"));

  // ---- Documents in frames: one without an origin, one with the page's own ----------------------------------------

  const inside = (label) => `<body><script>
    const send = (label, mode, headers) => fetch("${address}?" + encodeURIComponent(label),
      {method: "POST", body: '${ids}', credentials: "include", mode, headers}).catch(() => 0);
    const sent = [
      send("${label}, no-cors", "no-cors", {}),
      send("${label}, cors", "cors", {"Content-Type": "application/json", "X-Reve-Bridge": "1"}),
    ];
    const form = document.createElement("form");
    Object.assign(form, {action: "${at(`${label}, form`)}", method: "post", enctype: "text/plain"});
    document.body.append(form);
    Promise.all(sent).then(() => form.submit());
  </script>`;
  put("iframe", {sandbox: "allow-scripts allow-forms", srcdoc: inside("sandboxed")});
  put("iframe", {src: URL.createObjectURL(new Blob([inside("blob:")], {type: "text/html"}))});

  // ---- New windows ------------------------------------------------------------------------------------------------

  window.open(at("window.open"));
  window.open(at("window.open, noopener"), "_blank", "noopener");
  put("a", {href: at("link"), target: "_blank"}).click();
  put("a", {href: at("link, noreferrer"), target: "_blank", rel: "noreferrer"}).click();
  form("form, new window", "text/plain", at("form, new window"), "_blank");

  await Promise.all(waiting);
  return told;
}
