"""The OpenAPI document as a page: plain HTML, no script."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

_METHODS = ("get", "post", "put", "delete")
_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:0}
main{max-width:60rem;margin:0 auto;padding:1rem}
code{font:13px ui-monospace,monospace}
nav{margin:1rem 0}
details{border:1px solid #8884;border-radius:6px;margin:.4rem 0;padding:.4rem .8rem}
summary{cursor:pointer}
summary b{display:inline-block;width:4.2rem}
.get{color:#2a7ae2}.post{color:#2e9e4f}.put{color:#c98a1b}.delete{color:#d2453b}
table{border-collapse:collapse}
td{border-top:1px solid #8884;padding:.2rem .8rem .2rem 0;vertical-align:top}
h3{margin-bottom:0}
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; base-uri 'none'"
"""What the page may do: nothing but look as it does."""


def docs_page(document: dict[str, Any]) -> str:
    """All calls by subject, then the schemas that they refer to."""
    calls: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                calls.setdefault(item[method]["tags"][0], []).append(_call(method, path, item[method]))
    subjects = "".join(f'<h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(found)}' for tag, found in calls.items())
    schemas = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    links = " · ".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in calls)
    title = f"{escape(document['info']['title'])} {escape(document['info']['version'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}: REST</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style>"
        f'<main><h1>{title}</h1><p>All calls, as <a href="openapi.json">openapi.json</a> tells of them. Errors are'
        f' <a href="#schema-Error">Error</a>.</p><nav>{links}</nav>{subjects}<h2>Schemas</h2>{schemas}</main></html>'
    )


def _call(method: str, path: str, call: dict[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{escape(each['name'])}</code> in {each['in']}: {_words(each['schema'])}"
        f" {escape(each.get('description', ''))}</li>"
        for each in call["parameters"]
    )
    answers = "".join(
        f"<li><b>{status}</b> {_content(answer['content'])}</li>"
        for status, answer in call["responses"].items()
        if int(status) < 400
    )
    body = f"<p>Takes {_content(call['requestBody']['content'])}</p>" if "requestBody" in call else ""
    return (
        f'<details><summary><b class="{method}">{method.upper()}</b> <code>{escape(path)}</code>'
        f" {escape(call['summary'])}</summary><p>{escape(call.get('description', 'Open to everybody.'))}</p>"
        f"{f'<ul>{parameters}</ul>' if parameters else ''}{body}<ul>{answers}</ul></details>"
    )


def _content(content: dict[str, Any]) -> str:
    return ", ".join(f"<code>{escape(kind)}</code> {_words(each['schema'])}" for kind, each in content.items())


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{'' if field in required else '?'}</td><td>{_words(each)}</td></tr>"
        for field, each in schema.get("properties", {}).items()
    )
    about = escape(schema.get("description", ""))
    return f'<h3 id="schema-{escape(name)}">{escape(name)}</h3><p>{about}</p><table>{rows}</table>'


def _words(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_words, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_words(schema['items'])}"
    if schema.get("type") == "object" and "properties" in schema:
        return "; ".join(f"<code>{escape(name)}</code>: {_words(each)}" for name, each in schema["properties"].items())
    limits = [f"{word} {schema[key]}" for key, word in _LIMITS.items() if key in schema]
    return " ".join([escape(schema.get("type", "any JSON")), *limits])


_LIMITS = {
    "minimum": "from",
    "maximum": "to",
    "minLength": "of at least",
    "maxLength": "of at most",
    "maxItems": "of at most",
    "format": "as",
}
