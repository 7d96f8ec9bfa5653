from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

from reve_middleware import ReveMiddleware, sign_out

PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}
PAGE = """<!doctype html>
<html lang="en">
<head>
<title>Shop</title>
<script>
(function (page) {
  var queue = page.$_REVECHAT_API = page.$_REVECHAT_API || function (fn) { queue._.push(fn); };
  queue._ = queue._ || [];
  page.__revechat_account = "sandbox-account";
  page.__revechat_version = 2;
  var widget = document.createElement("script");
  widget.async = true;
  widget.src = "http://127.0.0.1:8001/widget/scripts/new-livechat.js?" + Date.now();
  document.head.appendChild(widget);
})(window);
</script>
</head>
<body>
<h1>{hello}</h1>
<form method="post" action="/login"><button>Log in as Ada</button></form>
<form method="post" action="/logout"><button>Log out</button></form>
</body>
</html>
"""

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key="for this tutorial only")


def user_of(request: Request):
    return PEOPLE.get(request.session.get("user"))


app.add_middleware(ReveMiddleware, profile=user_of, dev=True)  # added last: outermost


@app.get("/", response_class=HTMLResponse)
def page(request: Request):
    user = user_of(request)
    return PAGE.replace("{hello}", f"Hello, {user['name']}" if user else "Hello, stranger")


@app.post("/login")
def login(request: Request):
    request.session["user"] = "ada"
    return RedirectResponse("/", 303)


@app.post("/logout")
def logout(request: Request):
    request.session.clear()
    sign_out()
    return RedirectResponse("/", 303)
