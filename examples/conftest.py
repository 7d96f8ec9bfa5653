"""Switches the test kit on for the tests in this folder: `cd examples && pytest`."""

pytest_plugins = ["reve_middleware.testing"]
