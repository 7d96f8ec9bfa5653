"""Tests of starlette_site.py: does its bot know who is logged in? `pip install 'reve-middleware[testing]'`, `pytest`.

The site is built when it is imported, and finds the stand-in's address in the environment (see conftest.py)."""

import os

import pytest
from starlette.testclient import TestClient

os.environ.update(SITE_SECRET="a secret of the site, for tests", DEV="1")

from starlette_site import app

ADA = {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}


@pytest.fixture
def client():
    with TestClient(app) as client:
        yield client


def log_in(client):
    client.post("/login", data={"name": "ada", "password": "lovelace"})


def test_the_bot_greets_by_name(reve, client):
    log_in(client)
    visitor = reve.visitor(client)
    assert visitor.chat() == "queued"
    assert visitor.knows == ADA


def test_a_stranger_stays_one_until_the_login(reve, client):
    visitor = reve.visitor(client)
    assert visitor.chat() == "anonymous"
    assert visitor.knows is None
    log_in(client)
    assert visitor.knows == ADA


def test_a_profile_is_sent_once_for_each_chat(reve, client):
    log_in(client)
    visitor = reve.visitor(client)
    visitor.chat()
    client.get("/")
    assert visitor.chat() == "current"
    assert len(reve.pushes) == 1
    visitor.new_chat()
    assert [push.data for push in reve.pushes] == [ADA, ADA]


def test_who_logs_out_is_let_go(reve, client):
    visitor = reve.visitor(client)
    visitor.chat()
    client.post("/logout")
    log_in(client)
    assert reve.pushes == []


def test_the_legal_pages_have_no_chat(reve, client):
    with pytest.raises(AssertionError, match="left out"):
        reve.visitor(client, page="/legal/terms").chat()


def test_the_site_does_not_notice_when_reve_is_down(reve, client):
    reve.misbehave(status=503)
    log_in(client)
    visitor = reve.visitor(client)
    assert visitor.chat() == "queued"
    assert client.get("/").status_code == 200
    assert reve.pushes == []
    reve.behave()
    assert visitor.knows == ADA
