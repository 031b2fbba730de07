"""Skills: folders of data become typed tools. This room reads, checks, watches and renders them; it runs none."""
