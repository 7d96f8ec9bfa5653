from flask import Flask, redirect, session

PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}
PAGE = """<!doctype html>
<html lang="en">
<head>
<title>Shop</title>
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
    return redirect("/", 303)
