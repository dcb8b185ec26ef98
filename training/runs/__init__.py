"""Run directories made, evaluated and combined."""
