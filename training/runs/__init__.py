"""One whole training, and run directories made, evaluated and combined."""
