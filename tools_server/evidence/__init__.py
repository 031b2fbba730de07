"""Where in a text an answer rests: values and their places, numbers and names of prose. No model takes part."""
