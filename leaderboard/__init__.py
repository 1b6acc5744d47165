"""Records in, rankings, tables and the app out."""
