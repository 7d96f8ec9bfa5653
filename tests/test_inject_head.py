"""Where a page's head begins (contract §2)."""

import pytest

from reve_middleware.inject import HELD_BACK, HeadFinder

NONE = HeadFinder.NONE


def find(page: bytes) -> int:
    return HeadFinder().feed(page, last=True)


# `|` stands where the tag goes in.
FOUND = [
    "<head>|",
    "<HEAD>|<title>",
    "<!doctype html><head>|</head>",
    "<!DOCTYPE\tHTML\n>\r\n<html\f><head>|",
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/x.dtd"><html><head>|',
    '<?xml version="1.0"?>\n<!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head>|',
    " \t\r\n\f<html lang=en><head>|",
    "<!-- <head> --><head>|",
    "<!-- <!-- --><head>|",
    "<!--><head>|-->",
    "<!---><head>|-->",
    "<!----><head>|",
    "<!--x--!><head>|",
    "<!-- a -- b - > --><html><!--c--><head>|",
    "<!--" + "-" * 9 + "><head>|",
    '<html data-x="<head>" class=\'a>b\' lang = en async><head data-y = "1">|',
    "<html/><head>|",
    "<head\n>|",
    "<head a=b/ >|",
    "<html><html><head>|",
    "<!doctype html " + " " * 100 + "><head>|",
    "<!doctype" + " " * 100 + "html><head>|",
]
NOT_FOUND = [
    "",
    " ",
    "hello",
    "hello<head>",
    "<header>",
    "<header><head>",
    "<!doctype html><header></header><head>",
    "<head/>",
    "<head />",
    "<head a=b/>",
    '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head/><body/></html>',
    "<!--x--><head/><head>",
    "<headx>",
    "<head-x>",
    "<head\x0b>",
    "<head\xa0>",
    "<html\x0b><head>",
    "<head a=\x0b\"x>y\">",
    "<head",
    "<head ",
    "<head a='>",
    '<head a="b"c="d">',
    "<head <head>",
    "<hea",
    "<html>",
    "<html><body><head>",
    "<html>text<head>",
    "<html></html><head>",
    "<html></head><head>",
    "<script><head></script>",
    "<title></title><head>",
    "<meta><head>",
    "<!-- <head>",
    "<!-- <head> -- >",
    "<!-- <head> ->",
    "<!--",
    "<!doctype html",
    "<!doctype svg><head>",
    "<!doctypehtml><head>",
    "<![CDATA[<head>]]>",
    "<!ELEMENT><head>",
    "</html><head>",
    "<?xml",
    "<?php echo '<head'; ?>text<head>",
    "<\0head>",
    "\0<head>",
    "\xa0<head>",
    "\x0b<head>",
    '{"html": "<head>"}',
]  # fmt: skip


@pytest.mark.parametrize("marked", FOUND)
def test_where_the_head_begins(marked: str) -> None:
    """The tag goes right behind the head's own tag: after blanks, comments, a doctype and `<html>`, in any case."""
    page = marked.replace("|", "").encode()
    for before in (b"", b"\xef\xbb\xbf"):
        assert find(before + page) == len(before) + marked.index("|")
        assert HeadFinder().feed(before + page, last=False) == len(before) + marked.index("|")


@pytest.mark.parametrize("marked", FOUND)
def test_cut_in_two_anywhere_it_begins_at_the_same_place(marked: str) -> None:
    """Wherever a page is cut in two, its head is found at the same place, and as soon as it is complete."""
    page, place = marked.replace("|", "").encode(), marked.index("|")
    for cut in range(len(page) + 1):
        finder = HeadFinder()
        first = finder.feed(page[:cut], last=False)
        assert first == (place if cut >= place else HeadFinder.MORE)
        if first == HeadFinder.MORE:
            assert finder.feed(page[cut:], last=False) == place


@pytest.mark.parametrize("page", NOT_FOUND)
def test_what_is_no_head(page: str) -> None:
    """Nothing is put into what only looks like a head, stands in a comment, or follows the body's first content."""
    assert find(page.encode("latin-1")) == NONE
    assert find(b"\xef\xbb\xbf" + page.encode("latin-1")) == NONE


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("over", [0, 1, 5, 100])
def test_at_most_64_kib_are_held_back(over: int, last: bool) -> None:
    """A head whose tag ends within the first 64 KiB is found; one byte later it is not, however the page is cut."""
    page = b"<!--" + b"x" * (HELD_BACK + over - 13) + b"--><head><title>"
    assert page.index(b"<title>") == HELD_BACK + over
    expected = HELD_BACK if over == 0 else NONE
    assert HeadFinder().feed(page, last=last) == expected
    finder = HeadFinder()
    assert finder.feed(page[: HELD_BACK - 1], last=False) == HeadFinder.MORE
    assert finder.feed(page[HELD_BACK - 1 :], last=last) == expected
    finder = HeadFinder()
    first = finder.feed(page[:HELD_BACK], last=False)
    assert first == expected, "what is held back is let go at 64 KiB"


def test_more_is_waited_for_only_while_it_may_help() -> None:
    """A page that can have no head any more is let go at once; one that still can is held back until it ends."""
    for start in (
        b"",
        b"\xef",
        b"\xef\xbb",
        b" ",
        b"<",
        b"<!",
        b"<!-",
        b"<!-- x",
        b"<!doct",
        b"<html",
        b"<html ",
        b"<h",
    ):
        finder = HeadFinder()
        assert finder.feed(start, last=False) == HeadFinder.MORE
        assert finder.feed(b"", last=True) == NONE
    for start in (b"x", b"<p", b"<hx", b"<!d ", b"\xef\xbbx", b"<title", b"\xff", b"</", b"<header", b"<htmlx>"):
        assert HeadFinder().feed(start, last=False) == NONE
