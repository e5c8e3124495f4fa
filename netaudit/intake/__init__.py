"""From a target to a graph: what stands between the user's files and the analysis."""
