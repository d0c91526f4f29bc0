"""Differentiation: the graph, its engine, modes, and the recording of primitives."""
