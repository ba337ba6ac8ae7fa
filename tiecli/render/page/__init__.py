"""Page: the parts of the HTML report: markup, tables, charts, style."""
