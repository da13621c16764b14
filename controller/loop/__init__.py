"""One tick: read, judge, decide, write, record; and what people do by hand."""
