"""Reports, to be looked at. The only room that knows matplotlib and Jinja.

- `content`  what a report shows, as values, and its tables
- `figures`  the figures
- `page`     one HTML page that holds everything
- `files`    all files of a report
"""
