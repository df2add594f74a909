"""Reads an Atom feed as feed readers do, with feedparser; prints what it found as JSON.

read_feed.py FILE ADDRESS: the address is where the feed came from.
"""

import json
import sys

import feedparser

path, address = sys.argv[1:]
with open(path, "rb") as file:
    feed = feedparser.parse(
        file.read(),
        response_headers={"content-type": "application/atom+xml; charset=utf-8", "content-location": address},
        sanitize_html=False,
    )


def links(element, relation):
    return [link for link in element.get("links", []) if link.rel == relation]


print(
    json.dumps(
        {
            "bozo": str(feed.get("bozo_exception", "")),
            "version": feed.version,
            "title": feed.feed.title,
            "id": feed.feed.id,
            "next": [link.href for link in links(feed.feed, "next")],
            "self": [link.href for link in links(feed.feed, "self")],
            "entries": [
                {
                    "id": entry.id,
                    "title": entry.title,
                    "summary": entry.get("summary", ""),
                    "published": entry.published,
                    "enclosures": [[link.href, link.type, link.length] for link in links(entry, "enclosure")],
                }
                for entry in feed.entries
            ],
        }
    )
)
