from flask import Flask, redirect, session

from reve_middleware import ReveWSGIMiddleware, sign_out

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

app = Flask(__name__)
app.config.update(SECRET_KEY="for this tutorial only", SESSION_COOKIE_SAMESITE="Lax")


def current_user():
    return PEOPLE.get(session.get("user"))


def profile(request):
    return current_user()


app.wsgi_app = ReveWSGIMiddleware(app.wsgi_app, profile=profile, dev=True)


@app.get("/")
def page():
    user = current_user()
    return PAGE.replace("{hello}", f"Hello, {user['name']}" if user else "Hello, stranger")


@app.post("/login")
def login():
    session["user"] = "ada"
    return redirect("/", 303)


@app.post("/logout")
def logout():
    session.clear()
    sign_out()
    return redirect("/", 303)
