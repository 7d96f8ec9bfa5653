"""A Django site whose REVE Chat bot knows who is logged in: `uvicorn django_site:asgi`.

Or `waitress-serve django_site:wsgi`. Before it `python django_site.py migrate` and `… createsuperuser`. Environment:
SITE_SECRET (any long text), SITE_HOST, the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.shortcuts import render
from django.urls import path

from reve_middleware import enabled

DEV = os.environ.get("DEV") == "1"
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>Hello {{ user.first_name }}</h1>
<form method="post" action="/login">{% csrf_token %}<input name="username"><input name="password" type="password">
<button>Log in</button></form><form method="post" action="/logout">{% csrf_token %}<button>Log out</button></form>"""
APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
DATABASE = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SITE_DATABASE", "site.sqlite3")}
LOADERS = [("django.template.loaders.locmem.Loader", {"page.html": PAGE})]


def profile(request):  # what the bot may know
    user = request.user
    return {"id": user.pk, "name": user.first_name, "email": user.email} if user.is_authenticated else None


def page(request):
    return render(request, "page.html", {"user": request.user})


settings.configure(
    ALLOWED_HOSTS=[os.environ.get("SITE_HOST", "127.0.0.1")],
    DATABASES={"default": DATABASE},
    INSTALLED_APPS=[*APPS, "reve_middleware.django.ReveConfig"],  # whose checks `python django_site.py check` shows
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "reve_middleware.django.ReveMiddleware",  # outside of sessions and login
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    REVE={"PROFILE": f"{__name__}.profile", "EXCLUDE": ["/legal/*"], "DEV": DEV},
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ["SITE_SECRET"],
    SESSION_COOKIE_SECURE=not DEV,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": LOADERS}}],
)
asgi, wsgi = get_asgi_application(), get_wsgi_application()
from django.contrib.auth.views import LoginView, LogoutView  # noqa: E402, they need the settings

urlpatterns = [path("", page), path("legal/terms", page), path("legal/contact", enabled(page))]
urlpatterns += [path("login", LoginView.as_view(template_name="page.html", next_page="/"))]
urlpatterns += [path("logout", LogoutView.as_view(next_page="/"))]  # Django's logout: the bot hears no more
if __name__ == "__main__":
    execute_from_command_line()
