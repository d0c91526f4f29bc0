"""The mathematics: primitives and what is composed of them, against an array namespace that is handed in."""
