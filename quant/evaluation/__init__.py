"""How good enhanced speech is: metrics, their means over a set of clips, and reports."""
