"""The files of a site's board, as patterns. A site writes and clears them, and a push demands them."""

PLACES = ("*.html", "card.png", "badges/*.svg", "data/*.json", "encodings/*.html", "tasks/*.html")
