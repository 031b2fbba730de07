"""Data: recipes of public sets and users' own files, read as samples of calls. Knows nothing of models or tensors."""
