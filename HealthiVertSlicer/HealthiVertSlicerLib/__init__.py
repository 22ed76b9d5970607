"""The parts of the HealthiVert panel. Importing the package loads nothing: each module is imported where it is used."""
