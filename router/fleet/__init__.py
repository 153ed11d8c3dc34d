"""The workers: who they are, whether they are well, and how much each has to do."""
