"""What a report shows, as frozen values: a module per figure, each with its tables. No matplotlib here.

- `report`       sections, doubts and facts: the whole
- `table`        typed tables, and how they become CSV and Markdown
- `speedup` `overview` `time_course` `roofline` `prediction` `front` `tuning` `health` `published` `comparison`
  `accuracy` `throughput`
"""
