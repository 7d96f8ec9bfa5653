"""Tests of flask_site.py: does its bot know who is logged in? `pip install 'reve-middleware[testing]'`, `pytest`.

The site is built when it is imported, and finds the stand-in's address in the environment (see conftest.py)."""

import os

import pytest

os.environ.update(SITE_SECRET="a secret of the site, for tests", DEV="1")

from flask_site import app

ADA = {"id": "7", "name": "Ada Lovelace", "email": "ada@example.com"}


@pytest.fixture
def client():
    return app.test_client()


def log_in(client):
    client.post("/login", data={"name": "ada", "password": "lovelace"})


def test_the_bot_greets_by_name(reve, client):
    log_in(client)
    visitor = reve.visitor(client)
    assert visitor.chat() == "queued"
    assert visitor.knows == {**ADA, "id": 7}


def test_a_stranger_stays_one_until_the_login(reve, client):
    visitor = reve.visitor(client)
    assert visitor.chat() == "anonymous"
    log_in(client)
    assert len(reve.pushes) == 1


def test_the_bot_forgets_who_logs_out(reve, client):
    log_in(client)
    visitor = reve.visitor(client)
    visitor.chat()
    client.post("/logout")
    assert visitor.chat() == "anonymous"
    assert len(reve.pushes) == 1


def test_press_pages_have_no_chat(reve, client):
    with pytest.raises(AssertionError, match="left out"):
        reve.visitor(client, page="/press").chat()


def test_a_busy_bot_is_tried_again_when_it_says(reve, client):
    reve.misbehave(status=429, retry_after=120, times=1)
    log_in(client)
    visitor = reve.visitor(client)
    assert visitor.chat() == "queued"
    assert visitor.knows is not None  # the two minutes are skipped
    assert [request.status for request in reve.requests] == [429, 200]
