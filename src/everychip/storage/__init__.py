"""Files that appear whole or not at all, and tables of results in them."""
