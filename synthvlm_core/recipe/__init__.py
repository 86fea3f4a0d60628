"""The recipe: one YAML file that determines a data set and its models completely."""
