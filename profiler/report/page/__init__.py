"""One HTML page that holds a whole report. The only place that knows Jinja.

- `page`         from a report and its figures to the page
- `table_view`   tables as the page shows them: text for people, and what to sort by
- ``page.html.j2`` ``page.css`` ``page.js``   the template, and what is inlined

The page works from ``file://`` and loads nothing: figures are data URIs, and a Content-Security-Policy refuses whatever
is not this style sheet and this script. Without JavaScript everything is there; the script adds sorting and filtering.
Light and dark are a matter of the style sheet alone.
"""
