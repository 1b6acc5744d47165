"""The files of a board in the folder of a site, as patterns: what is written, cleared and demanded."""

PLACES = ("*.html", "card.png", "badges/*.svg", "data/*.json", "encodings/*.html", "tasks/*.html")
