"""How values look where they are asked: a chart and a table for a notebook."""
